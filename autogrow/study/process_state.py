"""What a trial may change of the process that it runs in, put back for the next trial that runs there.

A user's own model is code like any other: it may set PyTorch's default dtype, close a file, or leave a thread running.
What is listed here is put back. Even so a process in which something was changed is not used again where that can be
helped (`is_spoilt`): a module sets what it sets when it is imported, once per process, so the next trial there would go
without; and what is not listed may have been changed as well.
"""

import gc
import locale
import logging
import os
import random
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.modules import module as torch_modules
from torch.utils import _device as torch_device

_spoilt: set[str] = set()
"""What trials have changed of this process."""


@dataclass(frozen=True)
class Setting:
    """Something of a process that can be read and put back."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]
    is_private: bool = True
    """Whether a trial has no business with it. What every program changes as it goes is put back without a word."""


def is_spoilt() -> bool:
    """Whether a trial has changed something of this process, so that another had better run elsewhere."""
    return bool(_spoilt)


@contextmanager
def kept_process_state() -> Iterator[list[str]]:
    """Put everything back at the end. Yields a list that then names what had been changed without right."""
    changed: list[str] = []
    before = [(setting, _value(setting)) for setting in SETTINGS]
    threads = set(threading.enumerate())
    standard = _copies_of_standard_files()
    try:
        yield changed
    finally:
        changed += _put_back_standard_files(standard)
        for setting, value in before:
            if _value(setting) != value:
                with suppress(Exception):  # what cannot be put back is named all the same
                    setting.write(value)
                if setting.is_private:
                    changed.append(setting.name)
        if any(_is_foreign(thread) for thread in set(threading.enumerate()) - threads):
            changed.append("running threads")
        _spoilt.update(changed)


@contextmanager
def random_state_of(seed: int) -> Iterator[None]:
    """All global sources of chance begin anew, and go on afterwards as if nothing had been drawn from them.

    What a model draws from them then does not depend on what its process did before.
    """
    python, of_numpy, of_torch = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(of_numpy)
        torch.set_rng_state(of_torch)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)


def _value(setting: Setting) -> Any:
    try:
        return setting.read()
    except Exception as error:  # noqa: BLE001  what cannot be read any more has been changed
        return type(error)


def _flags(*holders: Any) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    """Read and write the plain switches of PyTorch's back ends."""
    names = ("enabled", "benchmark", "deterministic", "allow_tf32", "allow_fp16_reduced_precision_reduction")

    def read() -> list[tuple[Any, str, Any]]:
        return [(holder, name, getattr(holder, name)) for holder in holders for name in names if hasattr(holder, name)]

    def write(values: list[tuple[Any, str, Any]]) -> None:
        for holder, name, value in values:
            setattr(holder, name, value)

    return read, write


def _flushes_denormals() -> bool:
    return bool((torch.tensor(1e-40, dtype=torch.float32, device="cpu") * 1).item() == 0)


def _autocast() -> list[tuple[str, bool, torch.dtype]]:
    return [(kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ("cpu", "cuda")]


def _set_autocast(values: list[tuple[str, bool, torch.dtype]]) -> None:
    for kind, enabled, dtype in values:
        torch.set_autocast_enabled(kind, enabled)
        torch.set_autocast_dtype(kind, dtype)


_HOOKS = tuple(
    hooks for name, hooks in vars(torch_modules).items() if name.startswith("_global_") and isinstance(hooks, dict)
)


def _hooks() -> list[dict[Any, Any]]:
    return [dict(hooks) for hooks in _HOOKS]


def _set_hooks(values: list[dict[Any, Any]]) -> None:
    for hooks, value in zip(_HOOKS, values, strict=True):
        hooks.clear()
        hooks.update(value)


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _set_handlers(values: dict[int, Any]) -> None:
    for number, handler in values.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def _loggers() -> list[tuple[logging.Logger, int, bool, bool, list[logging.Handler]]]:
    loggers = (logging.getLogger(), logging.getLogger("autogrow"))
    return [(each, each.level, each.disabled, each.propagate, list(each.handlers)) for each in loggers]


def _set_loggers(values: list[tuple[logging.Logger, int, bool, bool, list[logging.Handler]]]) -> None:
    for logger, level, disabled, propagate, handlers in values:
        logger.setLevel(level)
        logger.disabled, logger.propagate, logger.handlers[:] = disabled, propagate, handlers


def _environment() -> dict[str, str]:
    """But for what PyTorch sets for itself, when more of it is imported."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("TORCH", "TRITON"))}


def _set_environment(values: dict[str, str]) -> None:
    for name in _environment().keys() - values.keys():
        del os.environ[name]
    os.environ.update(values)


def _set_path(value: list[str]) -> None:
    sys.path[:] = value


def _set_filters(value: list[Any]) -> None:
    warnings.resetwarnings()  # which also has every module look again
    warnings.filters[:] = value  # type: ignore[index]


_STREAMS = ("stdin", "stdout", "stderr")


def _set_streams(value: list[Any]) -> None:
    for name, stream in zip(_STREAMS, value, strict=True):
        setattr(sys, name, stream)


def _copies_of_standard_files() -> dict[int, int]:
    """A second descriptor of each of the files 0, 1 and 2 that is open."""
    copies = {}
    for number in range(3):
        with suppress(OSError):
            copies[number] = os.dup(number)
    return copies


def _put_back_standard_files(copies: dict[int, int]) -> list[str]:
    changed = []
    for number, copy in copies.items():
        try:
            if not _are_same_file(number, copy):
                changed.append(f"file descriptor {number}")
                os.dup2(copy, number)
            os.close(copy)
        except OSError:  # the copies were closed as well
            changed.append("open files")
    return changed


def _are_same_file(first: int, second: int) -> bool:
    try:
        return os.path.samestat(os.fstat(first), os.fstat(second))
    except OSError:
        return False


def _is_foreign(thread: threading.Thread) -> bool:
    """Whether a thread is none of those that PyTorch, Ray and the standard library's pools keep for themselves."""
    modules = (type(thread).__module__, getattr(getattr(thread, "_target", None), "__module__", None))
    owner = next((name for name in modules if name not in (None, "threading")), "")
    return thread.is_alive() and str(owner).partition(".")[0] not in ("torch", "ray", "concurrent", "autogrow")


_switches = _flags(torch.backends.cudnn, torch.backends.cuda.matmul)
SETTINGS = (
    Setting("import path", lambda: list(sys.path), _set_path, is_private=False),
    Setting("warning filters", lambda: list(warnings.filters), _set_filters, is_private=False),
    Setting("default dtype", torch.get_default_dtype, torch.set_default_dtype),
    Setting("default device", lambda: torch_device.CURRENT_DEVICE, torch.set_default_device),
    Setting(
        "deterministic algorithms",
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
    ),
    Setting(
        "filling of fresh memory",
        lambda: torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
        lambda value: setattr(torch.utils.deterministic, "fill_uninitialized_memory", value),
    ),
    Setting("threads of PyTorch", torch.get_num_threads, torch.set_num_threads),
    Setting("gradient mode", torch.is_grad_enabled, torch._C._set_grad_enabled),
    Setting(
        "anomaly detection",
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda value: torch.autograd.set_detect_anomaly(*value),
    ),
    Setting("matmul precision", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    Setting("switches of PyTorch's back ends", *_switches),
    Setting("autocast", _autocast, _set_autocast),
    Setting("autocast cache", torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
    Setting("flushing of denormal numbers", _flushes_denormals, torch.set_flush_denormal),
    Setting("global module hooks", _hooks, _set_hooks),
    Setting("NumPy's error handling", np.geterr, lambda value: np.seterr(**value)),
    Setting("environment", _environment, _set_environment),
    Setting("working directory", os.getcwd, os.chdir),
    Setting("locale", lambda: locale.setlocale(locale.LC_ALL), lambda value: locale.setlocale(locale.LC_ALL, value)),
    Setting("recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    Setting("thread switching", sys.getswitchinterval, sys.setswitchinterval),
    Setting("garbage collector", gc.isenabled, lambda value: gc.enable() if value else gc.disable()),
    Setting("garbage collector's thresholds", gc.get_threshold, lambda value: gc.set_threshold(*value)),
    Setting("signal handlers", _handlers, _set_handlers),
    Setting("socket timeout", socket.getdefaulttimeout, socket.setdefaulttimeout),
    Setting("logging", _loggers, _set_loggers),
    Setting("silenced log levels", lambda: logging.root.manager.disable, logging.disable),
    Setting("exception hook", lambda: sys.excepthook, lambda value: setattr(sys, "excepthook", value)),
    Setting("tracing", sys.gettrace, sys.settrace),
    Setting("standard streams", lambda: [getattr(sys, name) for name in _STREAMS], _set_streams),
)
