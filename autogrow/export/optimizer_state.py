"""What an optimizer has learnt as a safetensors file: tensors by parameter and key, ``1.weight/exp_avg``; no code."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from autogrow.errors import NetworkError, one_line
from autogrow.files import atomic_target
from autogrow.network.optimizer.optimizer_state import OptimizerState, State

OPTIMIZER = "optimizer.safetensors"


def save_optimizer_state(path: Path, states: OptimizerState) -> None:
    """Write the file, whole or not at all. What is no tensor is left out: the optimizers of training have nothing."""
    tensors = {
        f"{name}/{key}": value.detach().contiguous()
        for name, state in states.items()
        for key, value in state.items()
        if isinstance(value, Tensor)
    }
    with atomic_target(path) as temporary:
        save_file(tensors, temporary)


def load_optimizer_state(path: Path, module: nn.Module) -> OptimizerState:
    """Read the file. Raises `NetworkError` where it is damaged, or of another network than the module."""
    try:
        found = load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise NetworkError(f"{path}: the optimizer's state does not load: {one_line(error)}") from error
    parameters = dict(module.named_parameters())
    states: dict[str, State] = {}
    for entry, value in found.items():
        name, _, key = entry.rpartition("/")
        # A number of steps is a scalar, all else has a number for every entry.
        if name not in parameters or (value.dim() > 0 and value.shape != parameters[name].shape):
            raise NetworkError(f"{path}: {entry} of shape {tuple(value.shape)} is of another network: remove the file")
        states.setdefault(name, {})[key] = value
    return states
