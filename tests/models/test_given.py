"""Networks given in Python as an object: functions with and without an import path, and modules as they are."""

import pickle
import subprocess
import sys

import pytest
import torch
from torch import nn

from autogrow.errors import NetworkError
from autogrow.models.building import ModelSpec, build_model, given_model
from autogrow.models.given import hand_over, handed_over

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def make(num_outputs, width=5):
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, num_outputs))


def closure(width):
    return lambda num_outputs: make(num_outputs, width)


def weights(module):
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def built(spec, seed):
    return weights(build_model(spec, (4,), 3, seed))


def test_a_function_is_called_for_every_seed():
    spec = given_model(closure(7), (4,), 3)
    assert torch.equal(built(spec, 1), built(spec, 1)) and not torch.equal(built(spec, 1), built(spec, 2))
    assert spec.name.startswith("<given>:lambda-") and not spec.is_built_in
    assert build_model(spec, (4,), 3, 0)[0].out_features == 7


def test_a_function_that_can_be_imported_goes_by_its_name():
    spec = given_model(make, (4,), 3, {"width": 6})
    assert spec == ModelSpec(f"{__name__}:make", {"width": 6}) and spec.given is None
    assert torch.equal(built(spec, 1), built(given_model(closure(6), (4,), 3), 1))


def test_a_module_keeps_its_weights_whatever_the_seed_and_is_not_touched():
    module = make(3)
    before = weights(module).clone()
    spec = given_model(module, (4,), 3)
    first, second = build_model(spec, (4,), 3, 1), build_model(spec, (4,), 3, 2)
    assert torch.equal(weights(first), before) and torch.equal(weights(second), before)
    with torch.no_grad():
        first[0].weight.zero_()
    assert torch.equal(weights(module), before)


def test_the_name_tells_networks_apart():
    names = {given_model(value, (4,), 3).name for value in (closure(5), closure(6), make(3), make(3))}
    assert len(names) == 4
    assert given_model(closure(5), (4,), 3).name == given_model(closure(5), (4,), 3).name


def test_it_travels_to_other_processes():
    spec = given_model(closure(7), (4,), 3)
    assert torch.equal(built(pickle.loads(pickle.dumps(spec)), 1), built(spec, 1))


def test_another_process_finds_it_by_its_name(tmp_path):
    """As Ray's workers do, which have no more than a trial's configuration."""
    value = eval("lambda num_outputs: nn.Linear(4, num_outputs)", {"nn": nn})
    spec = given_model(value, (4,), 3)
    path = hand_over(spec.name, spec.given)
    assert path.stat().st_mode & 0o077 == 0 and path.parent.stat().st_mode & 0o022 == 0
    program = (
        "import sys; from autogrow.models.building import *; spec = ModelSpec(sys.argv[1]).given_by_caller(); "
        "print(sum(float(p.detach().double().sum()) for p in build_model(spec, (4,), 3, 1).parameters()))"
    )
    printed = subprocess.run([sys.executable, "-c", program, spec.name], capture_output=True, text=True, check=True)
    assert float(printed.stdout) == pytest.approx(float(built(spec, 1).double().sum()))


def test_no_file_brings_it_back():
    spec = given_model(closure(7), (4,), 3)
    hand_over(spec.name, spec.given)
    recorded = ModelSpec.from_dict(spec.to_dict())
    with pytest.raises(NetworkError, match="the user's own code"):
        build_model(recorded, (4,), 3, 0)
    with pytest.raises(NetworkError, match=r"run has the network 'lambda-.*given as an object.*again, as model="):
        recorded.named_again(None, "run")
    with pytest.raises(NetworkError, match="run has the model"):
        recorded.named_again(given_model(closure(8), (4,), 3), "run")
    assert torch.equal(built(recorded.named_again(spec, "run"), 1), built(spec, 1))


def test_what_was_not_handed_over_is_one_line():
    with pytest.raises(NetworkError, match="give the same object again"):
        handed_over("<given>:net-0123456789ab")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda: 3, "returned an int, expected a torch.nn.Module"),
        (lambda: 1 / 0, "ZeroDivisionError"),
        (lambda width: make(3, width), "missing 1 required positional argument"),
    ],
)
def test_what_makes_no_network_is_one_line(value, message):
    with pytest.raises(NetworkError, match=message) as raised:
        given_model(value, (4,), 3)
    assert "\n" not in str(raised.value)


def test_what_cannot_be_pickled_is_one_line():
    lock = __import__("threading").Lock()
    spec = given_model(lambda num_outputs: make(num_outputs) if lock else None, (4,), 3)
    with pytest.raises(NetworkError, match="cannot be handed to other processes.*package.module:factory"):
        hand_over(spec.name, spec.given)
