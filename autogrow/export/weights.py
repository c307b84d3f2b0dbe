"""A network's weights as a safetensors file: tensors by the names of its ``state_dict``, no code.

Tensors that are one another (tied weights) are written once, the others' names stand in the file's metadata; tensors
that share memory in any other way are each written whole. Files that safetensors' own `save_model` wrote are read, too.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save, save_file
from torch import Tensor, nn

from autogrow.errors import NetworkError, one_line
from autogrow.files import atomic_target

Memory = tuple[Any, ...]
"""What two tensors have in common that are one another."""


def check_weights(module: nn.Module) -> None:
    """Raise `NetworkError` naming the first tensor of a network that its file could not hold or give back.

    To be called before training, whose result would be lost.
    """
    tried: set[torch.dtype] = set()
    for name, value in module.state_dict().items():
        problem = _problem(value)
        if problem is None and value.dtype not in tried:
            tried.add(value.dtype)
            problem = None if _survives(value.dtype) else f"of {value.dtype}, which safetensors cannot hold and load"
        if problem is not None:
            raise NetworkError(
                f"the network cannot be saved: {name} is {problem}; register it with persistent=False, or keep it in "
                "another form, such as float32"
            )


def save_weights(path: Path, module: nn.Module) -> None:
    """Write the file, whole or not at all."""
    tensors: dict[str, Tensor] = {}
    twins: dict[str, str] = {}
    names: dict[Memory, str] = {}
    storages: set[int] = set()
    for name, tensor in sorted(module.state_dict().items()):
        first = names.setdefault(_memory(tensor, name), name)
        if first != name:
            twins[name] = first
            continue
        # A conjugate or negative that is not computed yet would be written as if it were neither.
        content = tensor.detach().resolve_conj().resolve_neg().contiguous()
        storage = content.untyped_storage()
        if storage.data_ptr() in storages or storage.nbytes() != content.nbytes:
            content = content.clone()
        storages.add(storage.data_ptr())
        tensors[name] = content
    with atomic_target(path) as temporary:
        save_file(tensors, temporary, metadata=twins or None)


def weights_bytes(path: Path) -> int:
    """The size of the file. Raises `NetworkError` where there is none."""
    try:
        return path.stat().st_size
    except OSError as error:
        raise NetworkError(f"{path}: the weights do not load: {error.strerror}") from error


def load_weights(path: Path, module: nn.Module) -> None:
    """Load the file into a network of the same names and shapes. Raises `NetworkError` for another or damaged one."""
    try:
        found = load_file(path)
        _load(module, found)
    except (OSError, SafetensorError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise NetworkError(f"{path}: the weights do not load: {one_line(error)}") from error


def _load(module: nn.Module, found: dict[str, Tensor]) -> None:
    own = module.state_dict()
    present = {_memory(own[name], name) for name in found if name in own}
    missing = [name for name, tensor in own.items() if _memory(tensor, name) not in present]
    unknown = [name for name in found if name not in own]
    if missing or unknown:
        what = f"{missing[0]} is missing" if missing else f"{unknown[0]} is not a tensor of the network"
        raise ValueError(what)
    for name, tensor in found.items():
        if not torch.can_cast(tensor.dtype, own[name].dtype):
            raise ValueError(f"{name} is {tensor.dtype}, the network's is {own[name].dtype}")
    module.load_state_dict(found, strict=False)


def _memory(tensor: Tensor, name: str) -> Memory:
    """Equal for tensors that are one another; an empty one is only itself."""
    if not tensor.numel():
        return (name,)
    return tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), tensor.is_conj()


def _problem(value: Any) -> str | None:
    """Why a value of a `state_dict` is no plain tensor, in words."""
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__} (get_extra_state), not a tensor"
    if type(value) not in (Tensor, nn.Parameter):
        return f"a {type(value).__name__}, not a plain tensor"
    if value.is_meta:
        return "on the meta device, without numbers"
    if value.layout != torch.strided or value.is_nested:
        return "nested" if value.is_nested else f"of the layout {value.layout}, not dense"
    return f"quantized ({value.dtype})" if value.is_quantized else None


def _survives(dtype: torch.dtype) -> bool:
    """Whether a tensor of this type comes back as it was."""
    try:
        loaded = load(save({"tensor": torch.empty(1, dtype=dtype)}))["tensor"]
    except Exception:  # noqa: BLE001 - safetensors raises whatever its tables of types lead to
        return False
    return loaded.dtype == dtype and loaded.shape == (1,)
