"""``--model package.module:factory`` whose network is odd: what each command does with it, in one line or none."""

import json

import pytest

pytestmark = pytest.mark.usefixtures("one_thread")

MODULE = """
import torch
from torch import nn


class Small(nn.Module):
    def __init__(self, num_outputs):
        super().__init__()
        self.first, self.last = nn.Linear(64, 16), nn.Linear(16, num_outputs)

    def forward(self, inputs):
        return self.last(torch.relu(self.first(inputs.flatten(1))))


class Ending(Small):
    def forward(self, inputs):
        raise SystemExit(0)


class Speechless(Exception):
    def __str__(self):
        raise ValueError("no text")


class Raising(Small):
    def forward(self, inputs):
        raise Speechless


class Whole(Small):
    def forward(self, inputs):
        return super().forward(inputs).long()


def lazy(num_outputs):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(16), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(num_outputs))


def without_gradients(num_outputs):
    torch.set_grad_enabled(False)
    return Small(num_outputs)
"""


@pytest.fixture
def own(workplace, monkeypatch, policy_file):
    """The name of the module in the current folder, and what every command needs beside `--model`."""
    name = f"own_{workplace.name}".replace("-", "_")
    (workplace / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(workplace)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    return name


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("Ending", "SystemExit: 0"),
        ("Raising", "Speechless: its message cannot be made"),
        ("Whole", "the network returns torch.int64, expected tensors of floating point numbers"),
    ],
)
@pytest.mark.parametrize("command", [("search", "--dry-run"), ("train", "policy.yaml"), ("inspect",)], ids=" ".join)
def test_whatever_a_network_raises_is_one_line(command, factory, said, own, refused):
    model = [f"{own}:{factory}"] if command == ("inspect",) else ["--model", f"{own}:{factory}"]
    assert said in refused(*command, *model, "--dataset", "digits")


def test_the_end_of_the_program_from_elsewhere_is_an_error(autogrow, monkeypatch):
    def ends(*_, **__):
        raise SystemExit(0)

    monkeypatch.setattr("autogrow.cli.main.cli.main", ends)
    code, out, err = autogrow("list")
    assert (code, out) == (2, "")
    assert err == "autogrow: error: SystemExit: 0, raised by a model or a library; see --debug\n"


@pytest.mark.parametrize("factory", ["lazy", "without_gradients"])
def test_a_network_that_is_trained_saved_and_read_again(factory, own, autogrow):
    model = ("--model", f"{own}:{factory}")
    assert autogrow("search", "--dry-run", "--quiet", *model)[0] == 0
    code, out, err = autogrow("train", "policy.yaml", *model, "--dataset", "digits", "--train-size", 60, "--json")
    assert code == 0, err
    code, read, err = autogrow("evaluate", "model", *model, "--json")
    assert code == 0, err
    assert json.loads(read)["test_loss"] == pytest.approx(json.loads(out)["test_loss"])


def test_lazy_layers_draw_their_weights_from_the_seed(own):
    from autogrow.models.building import ModelSpec, build_model

    spec = ModelSpec(f"{own}:lazy").given_by_caller()
    first, again, other = (build_model(spec, (1, 8, 8), 10, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all((again[name] == value).all() for name, value in first.items())
    assert not (other["1.weight"] == first["1.weight"]).all()
