"""Arguments of functions that people call: an unknown name, or a value of another type, is one line for its user."""

import functools
import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar, get_type_hints

from autogrow.errors import UsageError, kind_of, shortened, unknown_name

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")


def refuses_unknown(
    more: Callable[[], Iterable[str]] = tuple,
) -> Callable[[Callable[Parameters, Returned]], Callable[Parameters, Returned]]:
    """A decorator: the function raises `UsageError` for an argument that it does not have, instead of a `TypeError`.

    `more` gives the names that its ``**settings`` may have.
    """

    def decorate(function: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
        named = [
            name
            for name, parameter in inspect.signature(function).parameters.items()
            if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD) and name != "self"
        ]

        @functools.wraps(function)
        def call(*values: Parameters.args, **by_name: Parameters.kwargs) -> Returned:
            known = {*named, *more()}
            for name in by_name:
                if name not in known:
                    raise UsageError(unknown_name(f"argument of {_called(function)}()", name, known))
            return function(*values, **by_name)

        return call

    return decorate


def checks_types(*unchecked: str) -> Callable[[Callable[Parameters, Returned]], Callable[Parameters, Returned]]:
    """A decorator: values that do not fit the function's annotations raise `UsageError`, as do missing ones.

    A number of NumPy's is passed on as the number that it is.

    Args:
        unchecked: Arguments that have several forms, of which the function itself says best what is wrong with them.
    """

    def decorate(function: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*values: Parameters.args, **by_name: Parameters.kwargs) -> Returned:
            try:
                given = signature.bind(*values, **by_name)
            except TypeError as error:
                raise UsageError(f"{_called(function)}(): {error}") from None
            for name, value in given.arguments.items():
                if name not in unchecked and signature.parameters[name].kind is not inspect.Parameter.VAR_KEYWORD:
                    given.arguments[name] = _fitting(function, name, _plain_number(value))
            return function(*given.args, **given.kwargs)

        return call

    return decorate


def _fitting(function: Callable[..., Any], name: str, value: Any) -> Any:
    """The value. Raises `UsageError` where it is not what the function's annotation says."""
    from pydantic import BaseModel, ValidationError

    check = _checks(function).get(name)
    try:
        if check is not None:
            # Settings, and numbers, are made of what could be: a dictionary, a tensor of one. What is passed on is it.
            made = check.validate_python(value, strict=True)
            if isinstance(made, BaseModel | float) and not isinstance(value, BaseModel | float | int):
                raise TypeError(value)
    except (ValidationError, TypeError):
        wanted = inspect.formatannotation(get_type_hints(function)[name])
        wanted = re.sub(r"\b[a-z_]+(\.[a-z_]+)*\.(?=[A-Z])", "", wanted)
        shown = shortened(repr(value), 60)
        raise UsageError(f"{_called(function)}(): {name} is {shown}, {kind_of(value)}: give {wanted}") from None
    return value


@functools.cache
def _checks(function: Callable[..., Any]) -> dict[str, Any]:
    """What checks each argument; made at the first call, so that importing costs nothing."""
    from pydantic import ConfigDict, TypeAdapter

    def check(annotation: Any) -> Any:
        own_settings = isinstance(annotation, type) and hasattr(annotation, "model_config")
        config = None if own_settings else ConfigDict(arbitrary_types_allowed=True)
        return TypeAdapter(annotation, config=config)

    return {name: check(annotation) for name, annotation in get_type_hints(function).items() if name != "return"}


def _plain_number(value: Any) -> Any:
    is_numpys = type(value).__module__ == "numpy" and getattr(value, "shape", None) == () and hasattr(value, "item")
    return value.item() if is_numpys else value


def _called(function: Callable[..., Any]) -> str:
    return function.__qualname__.removesuffix(".__init__")
