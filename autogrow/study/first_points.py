"""Points of a search space that are tried before any is drawn: what is known to be sensible on any data.

Not for what an earlier search has found on some data: that is `autogrow.study.warm_start`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from autogrow.errors import PolicyError, nearest


class Suggester(Protocol):
    """The part of an Optuna trial that a space needs; `optuna.trial.Trial` and `FixedTrial` have it."""

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float: ...
    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int: ...
    def suggest_categorical(self, name: str, choices: Any) -> Any: ...


def read_first_points(
    content: Any, ask_all: Callable[[Suggester], None], where: str
) -> tuple[dict[str, float | int | str | bool | None], ...]:
    """The points of a space's `first` section, checked against the space that `ask_all` asks a suggester for.

    Raises `PolicyError` for a parameter that the space does not have with the point's other choices, and for a value
    that it does not offer.
    """
    if not isinstance(content, list) or not all(isinstance(point, Mapping) and point for point in content):
        raise PolicyError(f"{where} is a list of points, each a mapping of parameters to values")
    for number, point in enumerate(content, 1):
        checked = _CheckedPoint(point, f"{where}: point {number}")
        ask_all(checked)
        checked.check_names()
    return tuple(dict(point) for point in content)


class Parameter(Protocol):
    """Something that can be searched, as far as it is asked for here."""

    def suggest(self, name: str, suggester: Suggester) -> object: ...


def check_values(point: Mapping[str, Any], parameters: Mapping[str, Parameter], where: str) -> None:
    """Raises `PolicyError` for a name that no parameter has, and for a value that its parameter does not offer."""
    checked = _CheckedPoint(point, where)
    for name in point:
        if name not in parameters:
            raise PolicyError(f"{where}: there is no parameter {name!r} to search{nearest(str(name), parameters)}")
        parameters[name].suggest(name, checked)


class _CheckedPoint:
    """Suggests a point's values, and where it has none the first that there is; refuses what the space lacks."""

    def __init__(self, point: Mapping[str, Any], where: str) -> None:
        self._point = point
        self._where = where
        self._asked: list[str] = []

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        value = self._value(name, low)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise PolicyError(f"{self._where}: {name} is {value!r}, not between {low} and {high}")
        if step is not None and abs((value - low) / step - round((value - low) / step)) > 1e-9:
            raise PolicyError(f"{self._where}: {name} is {value!r}, no step of {step} from {low}")
        return float(value)

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        value = self._value(name, low)
        if not isinstance(value, int) and not (isinstance(value, float) and value.is_integer()):
            raise PolicyError(f"{self._where}: {name} is {value!r}, not a whole number")
        return int(self.suggest_float(name, low, high, step=None if log else step, log=log))

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        value = self._value(name, choices[0])
        if value not in choices:
            raise PolicyError(f"{self._where}: {name} is {value!r}, not one of {', '.join(map(str, choices))}")
        return value

    def check_names(self) -> None:
        """Raises `PolicyError` for a parameter that was not asked for."""
        for name in self._point:
            if name not in self._asked:
                raise PolicyError(
                    f"{self._where}: there is no parameter {name!r} to search with its other choices; there are "
                    f"{', '.join(self._asked)}{nearest(str(name), self._asked)}"
                )

    def _value(self, name: str, default: Any) -> Any:
        if name not in self._asked:
            self._asked.append(name)
        return self._point.get(name, default)
