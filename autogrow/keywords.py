"""Arguments by name: an unknown one is one line with the nearest name, as on the command line."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

from autogrow.errors import UsageError, unknown_name

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
                    called = function.__qualname__.removesuffix(".__init__")
                    raise UsageError(unknown_name(f"argument of {called}()", name, known))
            return function(*values, **by_name)

        return call

    return decorate
