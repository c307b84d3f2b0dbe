"""A network whose state would not come back from a checkpoint is refused by name, before it is trained."""

import hashlib
import io
import logging

import pytest
import torch
from torch import nn

from autogrow.errors import NetworkError
from autogrow.training.checkpoint import check_checkpoints, load_checkpoint, save_checkpoint

CPU = torch.device("cpu")


class Subclass(torch.Tensor):
    pass


class WithExtraState(nn.Linear):
    state = object()

    def get_extra_state(self):
        return self.state

    def set_extra_state(self, state):
        pass


def holding(value):
    module = nn.Linear(2, 2)
    module.register_buffer("extra", value)
    return nn.Sequential(module)


@pytest.mark.parametrize(
    "value", [torch.ones(2), torch.ones(2, dtype=torch.complex128), torch.eye(2).to_sparse(), torch.empty(0)]
)
def test_what_comes_back_is_accepted(value):
    check_checkpoints(holding(value))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (holding(torch.ones(2).as_subclass(Subclass)), r"0.extra \(Subclass, torch.float32\) does not come back"),
        (nn.Sequential(WithExtraState(2, 2)), r"0._extra_state \(object\) does not come back"),
    ],
)
def test_what_does_not_is_named(module, message):
    with pytest.raises(NetworkError, match=message):
        check_checkpoints(module)


@pytest.mark.parametrize("content", [b"", b"text", {"step": 1}, [1], {"version": 2, "what": WithExtraState}])
def test_a_file_that_is_whole_but_no_checkpoint_is_passed_over(content, tmp_path, caplog):
    good = save_checkpoint(tmp_path, 3, {"model": {}})
    if not isinstance(content, bytes):
        torch.save(content, buffer := io.BytesIO())
        content = buffer.getvalue()
    (tmp_path / "step-0000000009.pt").write_bytes(hashlib.sha256(content).digest() + content)
    with caplog.at_level(logging.WARNING):
        assert load_checkpoint(tmp_path, CPU)["step"] == 3
    assert good.exists()
    assert "step-0000000009.pt is no checkpoint and is passed over: " in caplog.text
