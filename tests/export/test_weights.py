"""What a weights file can hold comes back bit for bit; what it cannot is refused by name, before training."""

import pytest
import torch
from safetensors.torch import load_file, save_model
from torch import nn

import autogrow
from autogrow.errors import NetworkError
from autogrow.export.retraining import train_policy
from autogrow.export.weights import check_weights, load_weights, save_weights


class Holding(nn.Module):
    """A network with one more tensor in its state."""

    def __init__(self, tensor=None, **buffers):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        for name, value in {"extra": tensor, **buffers}.items():
            self.register_buffer(name, value)


class Subclass(torch.Tensor):
    pass


class WithExtraState(nn.Linear):
    def get_extra_state(self):
        return {"calls": 3}

    def set_extra_state(self, state):
        pass


STORED = torch.arange(12.0)
KEPT = {
    "float64": torch.tensor([1 / 3], dtype=torch.float64),
    "bfloat16": torch.ones(2, dtype=torch.bfloat16),
    "float8": torch.tensor([1.5, -2.0]).to(torch.float8_e4m3fn),
    "whole numbers": torch.tensor([2**60]),
    "true and false": torch.tensor([True, False]),
    "complex64": torch.tensor([1 + 2j], dtype=torch.complex64),
    "a conjugate that is not computed yet": torch.tensor([1 + 2j], dtype=torch.complex64).conj(),
    "a negative that is not computed yet": torch.tensor([1 + 2j], dtype=torch.complex64).conj().imag,
    "a number alone": torch.tensor(3.0),
    "nothing": torch.empty(0, 3),
    "columns of a larger one": torch.arange(12.0).view(3, 4)[:, 1:3],
    "transposed": torch.arange(6.0).view(2, 3).T,
    "repeated without memory": torch.tensor([5.0]).expand(4),
    "channels last": torch.arange(36.0).view(1, 3, 3, 4).to(memory_format=torch.channels_last),
}


@pytest.mark.parametrize("tensor", KEPT.values(), ids=KEPT.keys())
def test_what_a_file_can_hold_comes_back_as_it_was(tensor, tmp_path):
    module = Holding(tensor)
    check_weights(module)
    save_weights(tmp_path / "weights", module)
    fresh = Holding(torch.zeros(tensor.shape, dtype=tensor.dtype))
    load_weights(tmp_path / "weights", fresh)
    for name, value in module.state_dict().items():
        assert torch.equal(fresh.state_dict()[name].float() if name == "extra" and is_float8(value) else
                           fresh.state_dict()[name], value.float() if is_float8(value) else value)  # fmt: skip
        assert fresh.state_dict()[name].dtype == value.dtype


def is_float8(tensor):
    return tensor.dtype == torch.float8_e4m3fn


REFUSED = {
    "complex128": (lambda: torch.ones(2, dtype=torch.complex128), "of torch.complex128, which safetensors cannot hold"),
    "complex32": (lambda: torch.ones(2, dtype=torch.complex32), "of torch.complex32"),
    "float8_e8m0fnu": (lambda: torch.empty(2, dtype=torch.float8_e8m0fnu), "of torch.float8_e8m0fnu"),
    "quantized": (lambda: torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.qint8), "quantized"),
    "sparse": (lambda: torch.eye(2).to_sparse(), "of the layout torch.sparse_coo, not dense"),
    "meta": (lambda: torch.empty(2, device="meta"), "on the meta device"),
    "subclass": (lambda: torch.ones(2).as_subclass(Subclass), "a Subclass, not a plain tensor"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.filterwarnings("ignore")  # of PyTorch, on what is rare
def test_what_it_cannot_is_refused_by_name(make, message):
    with pytest.raises(NetworkError, match=f"the network cannot be saved: extra is {message}"):
        check_weights(Holding(make()))


def test_so_is_a_state_that_is_no_tensor():
    with pytest.raises(NetworkError, match=r"1._extra_state is a dict \(get_extra_state\), not a tensor"):
        check_weights(nn.Sequential(nn.Linear(2, 2), WithExtraState(2, 2)))


def test_what_is_not_in_the_state_is_nobodys_business():
    module = nn.Linear(2, 2)
    module.register_buffer("table", torch.ones(2, dtype=torch.complex128), persistent=False)
    check_weights(module)


def test_tied_weights_are_written_once_and_stay_tied(tmp_path):
    def tied():
        first, second = nn.Linear(4, 4), nn.Linear(4, 4)
        second.weight = first.weight
        return nn.Sequential(first, second)

    module, fresh = tied(), tied()
    save_weights(tmp_path / "weights", module)
    assert sorted(load_file(tmp_path / "weights")) == ["0.bias", "0.weight", "1.bias"]
    load_weights(tmp_path / "weights", fresh)
    assert torch.equal(fresh[1].weight, module[0].weight)
    assert fresh[1].weight is fresh[0].weight


def test_tensors_that_share_some_memory_are_each_whole(tmp_path):
    """safetensors' own functions refuse these: none of them covers the memory that they share."""
    module = Holding(STORED[:8], second=STORED[4:])
    save_weights(tmp_path / "weights", module)
    fresh = Holding(torch.zeros(8), second=torch.zeros(8))
    load_weights(tmp_path / "weights", fresh)
    assert torch.equal(fresh.extra, STORED[:8])
    assert torch.equal(fresh.second, STORED[4:])


def test_a_file_of_an_older_version_is_read(tmp_path):
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    save_model(nn.Sequential(second, first), str(tmp_path / "weights"))
    fresh = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    fresh[1].weight = fresh[0].weight
    load_weights(tmp_path / "weights", fresh)
    assert torch.equal(fresh[0].weight, first.weight)
    assert torch.equal(fresh[0].bias, second.bias)


OTHERS = {
    "one more": (Holding(torch.ones(2)), Holding(), "extra is not a tensor of the network"),
    "one less": (Holding(), Holding(torch.ones(2)), "extra is missing"),
    "another shape": (Holding(torch.ones(2)), Holding(torch.ones(3)), "size mismatch for extra"),
    "another kind": (Holding(torch.ones(2)), Holding(torch.ones(2, dtype=torch.int64)), "extra is torch.float32, the"),
}


@pytest.mark.parametrize(("saved", "other", "message"), OTHERS.values(), ids=OTHERS.keys())
def test_the_file_of_another_network_is_one_line(saved, other, message, tmp_path):
    save_weights(tmp_path / "weights", saved)
    with pytest.raises(NetworkError, match=f"weights: the weights do not load: .*{message}"):
        load_weights(tmp_path / "weights", other)


USERS = """
import torch
from torch import nn

class Phases(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(64, 16), nn.Linear(16, 10)
        self.register_buffer("phases", torch.ones(2, dtype=torch.complex128))

    def forward(self, x):
        return self.last(torch.relu(self.first(x.flatten(1))))
"""


def test_training_is_not_begun_where_the_network_could_not_be_saved(digits, policy, tmp_path, monkeypatch):
    (tmp_path / "users_phases.py").write_text(USERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = autogrow.ModelSpec("users_phases:Phases").given_by_caller()
    with pytest.raises(NetworkError, match="phases is of torch.complex128"):
        train_policy(spec, digits, policy, policy.training, train_size=100, out=tmp_path / "network")
    assert not (tmp_path / "network").exists()
    assert train_policy(spec, digits, policy, policy.training, train_size=100).test.is_finite
