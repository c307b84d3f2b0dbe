"""From a name to a network: built-in models, the automatic choice, and a user's own ``package.module:factory``.

A factory is the user's own code. It is imported only when its caller names it, in this process, on the command line or
in Python; never because a run's folder, a policy file or a saved network asks for it. What is read from a file is a
`ModelSpec` that nobody has named, and such a one is not built.
"""

import importlib
import inspect
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from autogrow.errors import RAISED_BY_OTHERS, NetworkError, kind_of, nearest, one_line, unknown_name
from autogrow.keywords import refuses_unknown
from autogrow.models import autoencoder, convnet, gpt, mlp, resnet  # noqa: F401  (registers the built-in models)
from autogrow.models.given import PREFIX, GivenModel, given_name, handed_over, is_given_name, not_kept
from autogrow.models.registry import GIVES_INPUTS_BACK, MODELS, READS_TOKENS, ModelFactory
from autogrow.models.size_bounds import MOST_PARAMETERS, check_options, check_parameters
from autogrow.network.running.copying import copied
from autogrow.network.running.lazy_layers import give_sizes
from autogrow.tasks import TASKS


@dataclass(frozen=True)
class ModelSpec:
    """Everything needed to build a network again: a name, and keyword options for its factory."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    named_by_caller: bool = field(default=False, compare=False, repr=False)
    """Whether whoever runs this process named the model, so that their own code may be imported. No file says so."""
    given: GivenModel | None = field(default=None, compare=False, repr=False)
    """The object itself, where a caller gave one and not a name; in no file."""

    @property
    def is_built_in(self) -> bool:
        """Whether it goes by a name of the table of models, which installed packages add to."""
        return ":" not in self.name

    @property
    def is_ours(self) -> bool:
        """Whether its code is autogrow's own."""
        return self.is_built_in and MODELS.origin(self.name) is None

    def given_by_caller(self) -> "ModelSpec":
        """The same, as the caller of this process has named it: only for what they themselves have given."""
        return replace(self, named_by_caller=True)

    def refuse_unnamed(self) -> None:
        """Raise `NetworkError` for code of a user's own that a file names, and nobody else."""
        if not self.is_built_in and not self.named_by_caller:
            raise NetworkError(
                f"model {self.name!r} is the user's own code, which runs only if its caller names it: give it as model"
            )

    def named_again(self, name: "str | ModelSpec | Callable[..., Any] | None", where: str) -> "ModelSpec":
        """This model, which a file at `where` names, as its caller may have it built; `name` is what they say it is.

        A built-in one needs no word of theirs. Raises `NetworkError` for code of a user's own that they did not name,
        or where they named something else, or where it was given as an object and is not given again.
        """
        if isinstance(name, ModelSpec):
            return replace(self.named_again(name.name, where), given=name.given)
        if name is not None and not isinstance(name, str):  # an object, of which the file's weights take the place
            if (path := _import_path(name)) is None and is_given_name(self.name):
                return replace(self, given=GivenModel(name)).given_by_caller()
            name = path or GivenModel(name).label
        if name is not None and name not in (self.name, AUTOMATIC):
            raise NetworkError(
                f"{where} has the model {self.name!r}, not {name!r}: name that one, or leave --model out"
            )
        if is_given_name(self.name) and name != self.name:
            raise not_kept(self.name, where)
        if not self.is_built_in and name != self.name:
            raise NetworkError(
                f"{where} has a network of the user's own, {self.name!r}, and no file may choose what code is run: "
                f"if it is yours, name it with --model {shlex.quote(self.name)}"
            )
        return self.given_by_caller()

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "options": dict(self.options)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ModelSpec":
        options = {key: tuple(value) if isinstance(value, list) else value for key, value in values["options"].items()}
        return cls(values["name"], options)


ModelSpec.__init__ = refuses_unknown()(ModelSpec.__init__)  # type: ignore[method-assign]


AUTOMATIC = "auto"
"""In place of a name: the built-in model that fits the data."""


def automatic_model(input_shape: tuple[int, ...], task: str | None = None) -> ModelSpec:
    """The built-in model that fits the data.

    Features and images under 16 pixels a side: `mlp`; grey images: `convnet`; colour images: `resnet` of 20 layers;
    text: `gpt`; images that are to be given back: `autoencoder`. On features, a task may have options of its own for
    the `mlp`.
    """
    if task is not None and TASKS[task].targets_are_inputs:
        return ModelSpec("autoencoder")
    if task is not None and TASKS[task].embeds_inputs:
        return ModelSpec("gpt")
    if len(input_shape) != 3:
        return ModelSpec("mlp", {} if task is None else dict(TASKS[task].mlp_options))
    if min(input_shape[1:]) < 16:
        return ModelSpec("mlp")
    return ModelSpec("convnet") if input_shape[0] == 1 else ModelSpec("resnet")


def fits_task(name: str, task: str) -> bool:
    """Whether a model takes inputs of the task's kind, tokens or numbers, and gives inputs back for such a task alone.

    True of those that are not our own.
    """
    if not ModelSpec(name).is_ours or name not in MODELS:
        return True
    fits_outputs = TASKS[task].targets_are_inputs or not gives_inputs_back(name)
    return fits_outputs and reads_tokens(name) == TASKS[task].embeds_inputs


def reads_tokens(name: str) -> bool:
    """Whether a built-in model of that name embeds whole numbers."""
    return name in MODELS and bool(getattr(MODELS[name], READS_TOKENS, False))


def gives_inputs_back(name: str) -> bool:
    """Whether a built-in model of that name returns what has the shape of its inputs."""
    return name in MODELS and bool(getattr(MODELS[name], GIVES_INPUTS_BACK, False))


def check_fits_task(spec: ModelSpec, task: str, dataset: str) -> None:
    """Raise `NetworkError` for a model that takes inputs of another kind than a data set has."""
    if not fits_task(spec.name, task):
        if gives_inputs_back(spec.name) and not TASKS[task].embeds_inputs:
            raise NetworkError(
                f"model {spec.name!r} gives its inputs back, and data set {dataset!r} is opened for {task}: use "
                "'auto', or another --task (autogrow list tasks)"
            )
        fault = "reads no text, and {} is text" if TASKS[task].embeds_inputs else "reads text, and {} is none"
        raise NetworkError(f"model {spec.name!r} {fault.format(f'data set {dataset!r}')}: use 'auto'")


def build_model(
    spec: ModelSpec,
    input_shape: tuple[int, ...],
    num_outputs: int,
    seed: int,
    *,
    most_parameters: int = MOST_PARAMETERS,
    gives_sizes: bool = True,
) -> nn.Module:
    """The network at full width, its weights drawn from `seed` without touching the global random state.

    Lazy layers take their sizes and weights from a pass here, unless `gives_sizes` leaves them to the caller.

    Raises `NetworkError` for an unknown model, unknown options, a factory that fails or returns something else, one
    that the caller has not named, and a built-in one of more than `most_parameters`.
    """
    spec.refuse_unnamed()
    factory = _factory(spec)
    arguments = _arguments(factory, spec, input_shape, num_outputs)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():  # whatever a factory sets of these is put back
        torch.manual_seed(seed)
        try:
            if spec.is_ours:
                check_options(spec.name, spec.options)
                check_parameters(spec.name, factory, arguments, most_parameters)
            model = factory(**arguments)
        except NetworkError:
            raise
        except RAISED_BY_OTHERS as error:
            raise NetworkError(f"model {spec.name!r} cannot be built with {arguments}: {one_line(error)}") from error
        if not isinstance(model, nn.Module):
            raise NetworkError(f"model {spec.name!r} returned {kind_of(model)}, expected a torch.nn.Module")
        if gives_sizes:
            give_sizes(model, torch.randn(2, *input_shape))  # norms need two examples
    return model


def given_model(
    value: Callable[..., Any] | nn.Module,
    input_shape: tuple[int, ...],
    num_outputs: int,
    options: Mapping[str, Any] | None = None,
) -> ModelSpec:
    """The specification of a network that a caller gives as an object; a function that can be imported goes by name.

    Raises `NetworkError` where it makes no network.
    """
    if (name := _import_path(value)) is not None:
        return ModelSpec(name, options or {}).given_by_caller()
    given = GivenModel(value)
    spec = ModelSpec(f"{PREFIX}:{given.label}", options or {}, given=given).given_by_caller()
    return replace(spec, name=given_name(given, build_model(spec, input_shape, num_outputs, seed=0)))


def _import_path(value: Any) -> str | None:
    """The ``package.module:factory`` of a function or class that any process can import; None for any other."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module == "__main__" or "." in name:
        return None
    found = getattr(sys.modules.get(module), name, None)
    has_file = getattr(sys.modules.get(module), "__file__", None) is not None
    return f"{module}:{name}" if found is value and has_file else None


def _factory(spec: ModelSpec) -> ModelFactory:
    if is_given_name(spec.name):
        value = (spec.given or handed_over(spec.name)).value
        return (lambda: copied(value)) if isinstance(value, nn.Module) else value
    return MODELS[spec.name] if spec.is_built_in else _import_factory(spec.name)


def _arguments(
    factory: ModelFactory, spec: ModelSpec, input_shape: tuple[int, ...], num_outputs: int
) -> dict[str, Any]:
    """What the factory is called with: its options, and input_shape and num_outputs where it takes them."""
    try:
        parameters = inspect.signature(factory).parameters
    except ValueError:
        raise NetworkError(f"model {spec.name!r} has no signature to call it by: wrap it in a function") from None
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    unknown = [name for name in spec.options if name not in parameters and not takes_any]
    if unknown:
        known = [name for name in parameters if name not in ("input_shape", "num_outputs")]
        raise NetworkError(
            f"model {spec.name!r} has no option {unknown[0]!r}; known are {', '.join(known) or 'none'}"
            f"{nearest(unknown[0], known)}"
        )
    offered = {"input_shape": input_shape, "num_outputs": num_outputs}
    taken = {name: value for name, value in offered.items() if name in parameters or takes_any}
    return {**taken, **spec.options}


def _import_factory(name: str) -> ModelFactory:
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise NetworkError(f"model {name!r} is not package.module:factory: name both, or one of {', '.join(MODELS)}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` would: a user's module usually lies where they stand
    try:
        module = importlib.import_module(module_name)
    except RAISED_BY_OTHERS as error:
        where = ": change to the folder that it lies in" if isinstance(error, ModuleNotFoundError) else ""
        raise NetworkError(f"model {name!r}: cannot import {module_name!r}: {one_line(error)}{where}") from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        callables = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise NetworkError(f"model {name!r}: {unknown_name('factory', attribute, callables)}")
    return factory  # type: ignore[no-any-return]
