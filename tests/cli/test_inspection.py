"""What `autogrow inspect` says of built-in networks and of a user's own, and that it agrees with what can grow."""

import sys

import pytest
import torch

from autogrow.models.building import ModelSpec, automatic_model, build_model
from autogrow.network.expandable import ExpandableNetwork

from .test_commands import one_document

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

BLOCKS = """
import torch
from torch import nn


class Residual(nn.Module):
    def __init__(self, num_outputs, width=8, hidden=(12,)):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.body = nn.Conv2d(width, hidden[0], 3, padding=1)
        self.back = nn.Conv2d(hidden[0], width, 1)
        self.head = nn.Linear(width, num_outputs)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        return self.head((x + self.back(torch.relu(self.body(x)))).mean((2, 3)))


class Concatenated(nn.Module):
    def __init__(self, num_outputs):
        super().__init__()
        self.left = nn.Conv2d(3, 4, 3, padding=1)
        self.right = nn.Conv2d(3, 6, 1)
        self.mix = nn.Conv2d(10, 5, 1)
        self.head = nn.Linear(5, num_outputs)

    def forward(self, x):
        x = torch.cat([self.left(x), self.right(x)], 1).relu()
        return self.head(self.mix(x).relu().mean((2, 3)))


class Depthwise(nn.Module):
    def __init__(self, num_outputs):
        super().__init__()
        self.expand = nn.Conv2d(3, 8, 1)
        self.filter = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.project = nn.Conv2d(8, 6, 1)
        self.head = nn.Linear(6, num_outputs)

    def forward(self, x):
        return self.head(self.project(self.filter(self.expand(x).relu()).relu()).relu().mean((2, 3)))


class Normed(nn.Module):
    def __init__(self, num_outputs):
        super().__init__()
        self.stem = nn.Linear(5, 8)
        self.norm = nn.LayerNorm(8)
        self.up = nn.Linear(8, 16)
        self.down = nn.Linear(16, 8)
        self.head = nn.Linear(8, num_outputs)

    def forward(self, x):
        x = self.stem(x)
        return self.head(x + self.down(self.up(self.norm(x)).relu()))


class Embedded(nn.Module):
    def __init__(self, num_outputs):
        super().__init__()
        self.words = nn.Embedding(50, 6)
        self.hidden = nn.Linear(6, 9)
        self.head = nn.Linear(9, num_outputs)

    def forward(self, x):
        return self.head(self.hidden(self.words(x).mean(1)).relu())


class Crashing(nn.Linear):
    def __init__(self, num_outputs):
        super().__init__(5, num_outputs)

    def forward(self, x):
        if x.abs().sum() > 0:
            raise LookupError("no entry\\nfor this sum")
        return super().forward(x)


class Deciding(nn.Linear):
    def __init__(self, num_outputs):
        super().__init__(5, num_outputs)

    def forward(self, x):
        return super().forward(x).argmax(1)


def linear(num_outputs):
    return nn.Linear(5, num_outputs)


def negative():
    raise ValueError("a width of\\n-1")


def unfinished():
    return {}["width"]


def unread():
    return open("weights.pt")


def forgetful():
    linear(3)


number = 7
"""

OUTPUT = "it is the network's output"
OWN = {
    "residual": (
        ["Residual"],
        {"stem": (8, "stem (out), body (in), back (out), head (in)"), "body": (12, "body (out), back (in)")},
        {"head": (10, OUTPUT)},
    ),
    "options": (
        ["Residual", "--model-option", "width=6", "--model-option", "hidden=[7]", "--outputs", 3],
        {"stem": (6, "stem (out), body (in), back (out), head (in)"), "body": (7, "body (out), back (in)")},
        {"head": (3, OUTPUT)},
    ),
    "concatenation": (
        ["Concatenated", "--input-shape", "3,8,8"],
        {
            "left": (4, "left (out), mix (in)"),
            "right": (6, "right (out), mix (in)"),
            "mix": (5, "mix (out), head (in)"),
        },
        {"head": (10, OUTPUT)},
    ),
    "depthwise": (
        ["Depthwise", "--input-shape", "3,8,8"],
        {"expand": (8, "expand (out), filter (out), project (in)"), "project": (6, "project (out), head (in)")},
        {"head": (10, OUTPUT)},
    ),
    "layer norm": (
        ["Normed", "--input-shape", 5],
        {"up": (16, "up (out), down (in)")},
        {"stem": (8, "norm (LayerNorm): statistics are taken over all its units"), "head": (10, OUTPUT)},
    ),
    "embedding": (
        ["Embedded", "--input-shape", 4, "--tokens", 50],
        {"words": (6, "words (out), hidden (in)"), "hidden": (9, "hidden (out), head (in)")},
        {"head": (10, OUTPUT)},
    ),
    "nothing can grow": (["linear", "--input-shape", 5], {}, {"weight": (10, OUTPUT)}),
}
"""Arguments after ``own_networks.blocks:``, groups with widths and members, fixed ones with widths and reasons."""


@pytest.fixture
def own(workplace, monkeypatch):
    """Gives the name of a factory in ``own_networks.blocks``, which lies in the current folder."""
    package = workplace / "own_networks"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "blocks.py").write_text(BLOCKS)
    (package / "unfinished.py").write_text("def factory(:\n")
    (package / "crashing.py").write_text("sizes = {}['sizes']\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in [name for name in sys.modules if name.partition(".")[0] == "own_networks"]:
        monkeypatch.delitem(sys.modules, name)
    return "own_networks.blocks:{}".format


@pytest.fixture
def inspected(autogrow):
    """Runs `inspect`, which must succeed; gives what it printed."""

    def check(*arguments):
        code, out, err = autogrow("inspect", *arguments)
        assert (code, err) == (0, "")
        return out

    return check


def sections(out):
    """The first line; then the entries under each heading of the listing, by the heading."""
    first, *rest = out.rstrip("\n").split("\n\n")
    return first, {lines[0]: lines[1:] for lines in map(str.splitlines, rest)}


def entries(lines):
    """Name, number and note of every entry."""
    return [tuple(line.split(maxsplit=2)) for line in lines]


@pytest.mark.parametrize(("arguments", "groups", "fixed"), OWN.values(), ids=OWN.keys())
def test_a_users_own_network(arguments, groups, fixed, own, inspected):
    found = one_document(inspected(own(arguments[0]), *arguments[1:], "--json"))
    assert {group["name"]: (group["width"], ", ".join(group["members"])) for group in found["groups"]} == groups
    assert {group["name"]: (group["width"], group["reason"]) for group in found["fixed"]} == fixed
    assert found["model"] == own(arguments[0])


def test_a_group_that_cannot_grow_is_listed_with_its_reason(own, inspected):
    first, listing = sections(inspected(own("Normed"), "--input-shape", 5))
    assert first == f"{own('Normed')}: input 5, 434 parameters"
    can, cannot = listing.values()
    assert entries(can) == [("up", "16", "2 layers")]
    assert entries(cannot) == [
        ("stem", "8", "norm (LayerNorm): statistics are taken over all its units"),
        ("head", "10", OUTPUT),
    ]


def test_members_are_listed_on_demand(own, inspected):
    without = inspected(own("Normed"), "--input-shape", 5)
    lines = inspected(own("Normed"), "--input-shape", 5, "--members").splitlines()
    listed = [line for line in lines if line not in without.splitlines()]
    assert [line for line in lines if line not in listed] == without.splitlines()
    assert [line.strip() for line in listed] == [
        *("up (out)", "down (in)"),
        *("stem (out)", "norm (out)", "up (in)", "down (out)", "head (in)"),
        "head (out)",
    ]


BUILT_IN = {
    "resnet": (["resnet", "--model-option", "depth=8"], ModelSpec("resnet", {"depth": 8}), (3, 32, 32), 10),
    "stages": (
        ["resnet", "--model-option", "depth=14", "--model-option", "width=4", "--input-shape", "1,8,8"],
        ModelSpec("resnet", {"depth": 14, "width": 4}),
        (1, 8, 8),
        10,
    ),
    "mlp": (
        ["mlp", "--input-shape", "20", "--outputs", 3, "--model-option", "hidden=[30, 40]"],
        ModelSpec("mlp", {"hidden": (30, 40)}),
        (20,),
        3,
    ),
    "convnet": (["convnet", "--input-shape", "1,28,28"], ModelSpec("convnet"), (1, 28, 28), 10),
    "data set": (["mlp", "--dataset", "digits"], ModelSpec("mlp"), (1, 8, 8), 10),
    "regression": (["mlp", "--dataset", "sine"], ModelSpec("mlp"), (1,), 1),
}


def test_auto_is_the_network_that_fits_the_data(inspected):
    arguments = ("--dataset", "digits", "--json")
    found = one_document(inspected("auto", *arguments))
    spec = automatic_model((1, 8, 8), "classification")
    assert found["groups"] == one_document(inspected(spec.name, *arguments))["groups"]


@pytest.mark.parametrize(("arguments", "spec", "shape", "num_outputs"), BUILT_IN.values(), ids=BUILT_IN.keys())
class TestBuiltIn:
    @pytest.fixture
    def network(self, spec, shape, num_outputs):
        return ExpandableNetwork(build_model(spec, shape, num_outputs, seed=0), torch.randn(2, *shape))

    def test_the_document_is_what_can_grow(self, arguments, shape, network, inspected):
        found = one_document(inspected(*arguments, "--json"))
        assert found == {
            "model": arguments[0],
            "input_shape": list(shape),
            "parameters": network.num_parameters,
            "groups": [
                {"name": group.name, "width": group.width, "members": list(map(str, group.members))}
                for group in network.groups
            ],
            "fixed": [
                {
                    "name": group.name,
                    "width": group.width,
                    "reason": group.reason,
                    "members": list(map(str, group.members)),
                }
                for group in network.fixed
            ],
            **({"problem_with_data": None} if "--dataset" in arguments else {}),
            "stages": [{"name": stage.name, "blocks": stage.num_blocks} for stage in network.stages],
        }

    def test_the_listing_says_the_same(self, arguments, shape, network, inspected):
        first, listing = sections(inspected(*arguments))
        size = " x ".join(map(str, shape))
        assert first == f"{arguments[0]}: input {size}, {network.num_parameters:,} parameters"
        (can, growing), (cannot, fixed), *deeper = listing.items()
        assert can.startswith(f"{len(network.groups)} channel groups can grow")
        assert cannot == f"{len(network.fixed)} cannot:"
        assert entries(growing) == [(g.name, str(g.width), f"{len(g.members)} layers") for g in network.groups]
        assert entries(fixed) == [(g.name, str(g.width), g.reason) for g in network.fixed]
        stages = [(stage.name, str(stage.num_blocks), "blocks") for stage in network.stages]
        assert [entries(lines) for _, lines in deeper] == ([stages] if stages else [])


@pytest.mark.parametrize("shape", ["3,x,3", "3;8;8", "3,8.5,8", "3,,8", "-3,8", "3,0,8", ",", ""])
def test_an_input_shape_that_is_not_whole_numbers(shape, refused):
    message = refused("inspect", "mlp", "--input-shape", shape)
    assert f"--input-shape {shape!r} is not whole numbers above 0" in message
    assert "write for example 3,32,32" in message


BAD_INPUT = {
    "image too small": (["resnet", "--input-shape", "3,4,4"], "images of at least 8 x 8", "(3, 4, 4); use 'mlp'"),
    "not an image": (["convnet", "--input-shape", 7], "images of at least 4 x 4", "(7,); use 'mlp'"),
    "model": (["resnt"], "unknown model 'resnt': known are autoencoder, convnet, gpt, mlp,", "did you mean 'resnet'"),
    "data set": (["mlp", "--dataset", "digit"], "unknown dataset 'digit'", "did you mean 'digits'"),
    "shape given twice": (
        ["mlp", "--dataset", "digits", "--input-shape", "1,8,8"],
        "--dataset and --input-shape both",
        "leave one out",
    ),
    "outputs given twice": (["mlp", "--dataset", "digits", "--outputs", 3], "--dataset", "--outputs"),
    "option": (["resnet", "--model-option", "dept=8"], "no option 'dept'", "did you mean 'depth'"),
    "option without a value": (["resnet", "--model-option", "depth"], "'depth' is not NAME=VALUE", "depth=62"),
    "value of an option": (["resnet", "--model-option", "depth=9"], "6n + 2 (8, 14, 20", "not 9"),
    "option of another type": (["mlp", "--model-option", "hidden=wide"], "cannot be built with", "'hidden': 'wide'"),
    "no outputs": (["mlp", "--outputs", 0], "'--outputs': 0", "1<=x<="),
    "no tokens": (["mlp", "--tokens", 0], "'--tokens': 0", "1<=x<="),
}


@pytest.mark.parametrize(("arguments", "value", "fix"), BAD_INPUT.values(), ids=BAD_INPUT.keys())
def test_a_bad_value(arguments, value, fix, refused):
    message = refused("inspect", *arguments)
    assert value in message
    assert fix in message


BAD_FACTORIES = {
    "misspelt": ("blocks:Residul", "unknown factory 'Residul': known are", "did you mean 'Residual'"),
    "not a factory": ("blocks:number", "unknown factory 'number': known are", "Residual"),
    "in no module": ("block:Residual", "cannot import 'own_networks.block'", "No module named"),
    "in a module with a syntax error": ("unfinished:factory", "own_networks.unfinished", "SyntaxError"),
    "in a module that raises": ("crashing:factory", "own_networks.crashing", "KeyError: 'sizes'"),
    "of no network": ("blocks:forgetful", "returned a NoneType", "expected a torch.nn.Module"),
    "that raises a ValueError": ("blocks:negative", "cannot be built", "a width of -1"),
    "that raises a KeyError": ("blocks:unfinished", "cannot be built", "'width'"),
    "that raises an OSError": ("blocks:unread", "cannot be built", "weights.pt"),
}


@pytest.mark.parametrize(("name", "value", "fix"), BAD_FACTORIES.values(), ids=BAD_FACTORIES.keys())
def test_a_factory_that_cannot_be_used(name, value, fix, refused, own):
    message = refused("inspect", f"own_networks.{name}")
    assert f"own_networks.{name}" in message
    assert value in message
    assert fix in message


def test_a_module_by_a_relative_name(refused, own):
    assert "'.own_networks:linear'" in refused("inspect", ".own_networks:linear")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("Crashing", "cannot be traced with an input of shape (2, 5)", "LookupError: no entry for this sum"),
        ("Deciding", "the network returns torch.", "expected tensors of floating point numbers"),
    ],
)
def test_a_network_that_cannot_be_traced(name, value, reason, refused, own):
    message = refused("inspect", own(name), "--input-shape", 5)
    assert value in message
    assert reason in message


@pytest.mark.parametrize(
    ("name", "arguments", "shape", "option"),
    [
        ("Residual", ["--input-shape", "1,8,8"], "(2, 1, 8, 8)", "--input-shape"),
        ("Normed", [], "(2, 3, 32, 32)", "--input-shape"),
        ("Embedded", ["--input-shape", 4], "(2, 4)", "--tokens"),
        ("Embedded", ["--input-shape", 4, "--tokens", 5000], "(2, 4)", "--tokens"),
    ],
)
def test_an_input_that_does_not_fit_names_the_option_that_gives_it(name, arguments, shape, option, refused, own):
    message = refused("inspect", own(name), *arguments)
    assert f"cannot be traced with an input of shape {shape}" in message
    assert option in message
