"""Size limits on the command line: what is trained keeps to them, records them, and says which one ended its growth."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import autogrow as library
from autogrow.models.building import ModelSpec, build_model
from autogrow.network.measuring.size import training_memory_bytes
from autogrow.policy.limits import SizeLimits

from .test_commands import one_document

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

SHAPE = (1, 8, 8)
MODELS = {"mlp": {"hidden": (64, 64)}, "resnet": {"depth": 8, "width": 8}}
SMALLEST = ModelSpec("mlp", {"hidden": (1, 1)})
POLICY = "format: autogrow-policy/1\ninitial_fraction: 0.25\ntrigger: {kind: schedule, every: 2}\n"


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def training_flops(network):
    """Of one example: what PyTorch counts in a forward and a backward pass, divided by the number of examples."""
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(4, *SHAPE)).sum().backward()
    return counter.get_total_flops() / 4


def step_memory(network, batch_size=128):
    return training_memory_bytes(network, torch.zeros(batch_size, *SHAPE))


def latency_ms(network, batch=None):
    """A clock is not to be relied on: here a network takes a microsecond per parameter."""
    return parameters(network) / 1000


@pytest.fixture(autouse=True)
def latency_by_parameters(monkeypatch):
    monkeypatch.setattr("autogrow.network.measuring.size.latency_ms", latency_ms)


LIMITS = {
    "--max-params": ("max_parameters", parameters),
    "--max-flops": ("max_flops", training_flops),
    "--max-memory": ("max_memory_bytes", step_memory),
    "--max-latency-ms": ("max_latency_ms", latency_ms),
}
"""What each flag is called in a policy, and what it bounds."""


def built(spec):
    return build_model(spec, SHAPE, 10, seed=0)


def recorded(**limits):
    """The limits as a configuration holds them: all of them, most open."""
    return SizeLimits(**limits).model_dump()


@pytest.fixture
def growing_policy(workplace):
    path = workplace / "growing.yaml"
    path.write_text(POLICY)
    return path


@pytest.fixture
def train(autogrow, growing_policy, workplace):
    """Trains a small network for two epochs; gives it as it was saved, and its configuration."""

    def command(*limits, model="mlp", policy="training: {epochs: 2}\n"):
        growing_policy.write_text(POLICY + policy)
        options = [f"--model-option={name}={json.dumps(value)}" for name, value in MODELS[model].items()]
        data = ("--dataset", "digits", "--train-size", 600)
        arguments = (growing_policy, *data, "--model", model, *options, "--out", "network", "--json", *limits)
        code, out, err = autogrow("train", *arguments)
        assert (code, err) == (0, "")
        config = json.loads((workplace / "network" / "config.json").read_text())
        assert one_document(out) == {"out": "network", **config["metrics"]}
        return library.load("network"), config

    return command


@pytest.mark.parametrize(("flag", "model"), [*((flag, "mlp") for flag in LIMITS), ("--max-flops", "resnet")])
def test_a_trained_network_keeps_to_its_limit(flag, model, train):
    field, size = LIMITS[flag]
    limit = int(size(built(ModelSpec(model, MODELS[model]))) * 0.6)
    network, config = train(flag, limit, model=model)
    assert 0.75 * limit < size(network) <= limit
    assert config["policy"]["limits"] == recorded(**{field: limit})
    assert config["metrics"]["growth_ended_by"].startswith(f"{field} {limit:,}: would be ")
    assert config["metrics"]["parameters"] == parameters(network)


@pytest.mark.parametrize("flag", LIMITS)
def test_a_limit_that_nothing_meets_changes_nothing(flag, train, workplace):
    free, config = train()
    assert config["policy"]["limits"] == recorded()
    (workplace / "network").rename(workplace / "free")
    limited, config = train(flag, 10**9)
    assert config["metrics"]["growth_ended_by"] == "everything is at its maximum"
    weights = limited.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in free.state_dict().items())


def test_the_tighter_of_two_limits_counts(train):
    network, config = train("--max-params", 5000, "--max-flops", 9000)
    assert training_flops(network) <= 9000
    assert config["policy"]["limits"] == recorded(max_parameters=5000, max_flops=9000.0)
    assert config["metrics"]["growth_ended_by"].startswith("max_flops 9,000: would be ")


@pytest.mark.parametrize(("given", "limit"), [(3000, 3000), (9000, 5000)])
def test_a_flag_only_tightens_the_limits_of_a_policy(given, limit, train):
    network, config = train("--max-params", given, policy="limits: {max_parameters: 5000}\ntraining: {epochs: 2}\n")
    assert parameters(network) <= limit
    assert config["policy"]["limits"] == recorded(max_parameters=limit)


def test_memory_is_that_of_the_batches_it_trains_on(train):
    network, _ = train("--max-memory", "600K", policy="training: {epochs: 6, batch_size: 512}\n")
    assert step_memory(network, batch_size=512) <= 600 * 1024


def test_latency_is_of_128_examples(train, monkeypatch):
    batch_sizes = set()

    def noted_latency(network, batch):
        batch_sizes.add(len(batch))
        return latency_ms(network)

    monkeypatch.setattr("autogrow.network.measuring.size.latency_ms", noted_latency)
    train("--max-latency-ms", 5, policy="training: {epochs: 2, batch_size: 64, sample_size: 32}\n")
    assert batch_sizes == {128}


@pytest.mark.parametrize("flag", LIMITS)
class TestTheSmallestNetwork:
    """One unit per group: the least that a limit may ask for."""

    @pytest.fixture
    def smallest(self, flag):
        return LIMITS[flag][1](built(SMALLEST))

    def test_is_trained_where_nothing_larger_fits(self, flag, smallest, train):
        network, config = train(flag, smallest)
        assert parameters(network) == parameters(built(SMALLEST))
        assert config["metrics"]["num_events"] == 0

    def test_below_it_training_is_refused(self, flag, smallest, refused, growing_policy):
        limit = type(smallest)(smallest * 0.99)
        message = refused("train", growing_policy, "--dataset", "digits", "--model", "mlp", flag, limit)
        assert f"too large even with one unit per group: {LIMITS[flag][0]} " in message
        assert f": would be {smallest:,.6g}" in message

    def test_below_it_a_search_is_refused_before_it_starts(self, flag, smallest, refused):
        message = refused("search", "--dry-run", "--model", "mlp", flag, type(smallest)(smallest * 0.02))
        assert f"too large even with one unit per group: {LIMITS[flag][0]} " in message


@pytest.fixture
def planned(autogrow):
    """The limits of a search that is not started."""

    def check(*limits):
        code, out, _ = autogrow("search", "--dry-run", "--json", *limits)
        assert code == 0
        return one_document(out)["limits"]

    return check


def test_a_search_plans_with_its_limits(planned):
    assert planned() == recorded()
    limits = ("--max-params", 5000, "--max-flops", "3e4", "--max-memory", "2M", "--max-latency-ms", 4.5)
    assert planned(*limits) == recorded(
        max_parameters=5000, max_flops=3e4, max_memory_bytes=2 * 1024**2, max_latency_ms=4.5
    )


@pytest.mark.parametrize(
    ("size", "num_bytes"),
    [
        ("900000", 900_000),
        ("900K", 900 * 1024),
        ("900 kb", 900 * 1024),
        ("1.5M", 3 * 2**19),
        ("800MiB", 800 * 2**20),
        ("4G", 4 * 2**30),
        ("2T", 2 * 2**40),
    ],
)
def test_sizes_of_memory(size, num_bytes, planned):
    assert planned("--max-memory", size) == recorded(max_memory_bytes=num_bytes)


def test_limits_do_not_change_in_a_resumed_search(refused, finished_run):
    message = refused("search", "--resume", "--name", "done", "--dry-run", "--max-params", 5000)
    assert "limits.max_parameters cannot change in a resumed run: it is None, not 5000" in message


NOT_SIZES = ["0", "0M", "-3M", "5X", "M", "1,5M", "lots", "nan", "", "0.4", "0.0001K"]
BAD_LIMITS = [
    *(("--max-params", value) for value in ("0", "-4", "many", "1.5", "nan", "")),
    *(("--max-flops", value) for value in ("0", "-1", "many", "nan", "inf", "")),
    *(("--max-latency-ms", value) for value in ("0", "-1", "slow", "nan", "inf", "")),
    *(("--max-memory", value) for value in NOT_SIZES),
]


@pytest.mark.parametrize(("flag", "value"), BAD_LIMITS)
class TestBadLimits:
    def test_of_a_search(self, flag, value, refused):
        self.check(refused("search", "--dry-run", flag, value), flag, value)

    def test_of_training(self, flag, value, refused, growing_policy):
        self.check(refused("train", growing_policy, "--dataset", "digits", flag, value), flag, value)

    @staticmethod
    def check(message, flag, value):
        assert flag in message
        assert value in message
