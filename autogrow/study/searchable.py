"""What stands in a search space in place of a value: ranges, choices, and parts with alternatives; how they are parsed.

`search_space` says how they are written, and what a whole space is.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from autogrow.errors import PolicyError, nearest
from autogrow.study.first_points import Suggester

SECTIONS = ("depth", "limits")
"""Fields of a policy that are records, so that a mapping without a kind is not meant as a range."""
TAKEN_AS_THEY_ARE = ("stages", "shares")
"""Fields whose value is a list, and not a list of choices."""
MOST_LEVELS = 2
"""Alternatives inside alternatives: `depth` has a trigger of its own, and nothing goes deeper."""
RELATIVE = {"initial_fraction": "max_fraction", "chunk_fraction": "max_fraction"}
"""Fields that may be given as a share of another: a small maximum then leaves room for every start."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    of: str | None = None
    """The field of which the number is a share."""
    varies: ClassVar[bool] = True

    @property
    def is_integer(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def parameters(self, name: str) -> dict[str, "Range | Choices"]:
        return {name: self}

    def suggest(self, name: str, suggester: Suggester) -> float:
        if self.is_integer:
            return suggester.suggest_int(name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return suggester.suggest_float(name, float(self.low), float(self.high), step=self.step, log=self.log)

    def extremes(self) -> list[Any]:
        """Both ends, and a fraction where there are any in between: a field of whole numbers takes none."""
        if self.is_integer:
            return [self.low, self.high]
        return [self.low, self.high, self.low + (self.step or (self.high - self.low) / math.pi)]


@dataclass(frozen=True)
class Choices:
    """One of several plain values."""

    values: tuple[Any, ...]

    def parameters(self, name: str) -> dict[str, "Range | Choices"]:
        return {name: self}

    def suggest(self, name: str, suggester: Suggester) -> Any:
        return suggester.suggest_categorical(name, list(self.values))

    @property
    def varies(self) -> bool:
        return len(self.values) > 1

    def extremes(self) -> list[Any]:
        return list(self.values)


@dataclass(frozen=True)
class Part:
    """A record: its fields, each a plain value or searchable, and its kind where there are several to choose from."""

    kind: str | None
    fields: Mapping[str, Any]

    def parameters(self, name: str) -> dict[str, "Range | Choices"]:
        return parameters_of(self.fields, self._prefix(name))

    def suggest(self, name: str, suggester: Suggester) -> dict[str, Any]:
        path = self._prefix(name)
        chosen = {field: suggest_value(f"{path}{field}", value, suggester) for field, value in self.fields.items()}
        return {**self._head(), **chosen}

    @property
    def varies(self) -> bool:
        return any_varies(self.fields)

    def extremes(self) -> list[dict[str, Any]]:
        """Parts with one field at one of its extremes and the others at their first."""
        values = {f: v.extremes() if isinstance(v, Searchable) else [v] for f, v in self.fields.items()}
        first = {**self._head(), **{field: options[0] for field, options in values.items()}}
        return [first, *({**first, field: option} for field, options in values.items() for option in options[1:])]

    def _prefix(self, name: str) -> str:
        return f"{name}." if self.kind is None else f"{name}.{self.kind}."

    def _head(self) -> dict[str, str]:
        return {} if self.kind is None else {"kind": self.kind}


@dataclass(frozen=True)
class Alternatives:
    """One of several parts, chosen by kind, each with fields that may be searched only when it is chosen."""

    parts: tuple[Part, ...]

    def parameters(self, name: str) -> dict[str, "Range | Choices"]:
        """Of all kinds, and which kind."""
        kinds = Choices(tuple(part.kind for part in self.parts))
        found: dict[str, Range | Choices] = {f"{name}.kind": kinds} if kinds.varies else {}
        for part in self.parts:
            found.update(part.parameters(name))
        return found

    def suggest(self, name: str, suggester: Suggester) -> dict[str, Any]:
        kinds = [part.kind for part in self.parts]
        kind = suggester.suggest_categorical(f"{name}.kind", kinds) if len(kinds) > 1 else kinds[0]
        return self.parts[kinds.index(kind)].suggest(name, suggester)

    @property
    def varies(self) -> bool:
        return len(self.parts) > 1 or self.parts[0].varies

    def extremes(self) -> list[Any]:
        return [extreme for part in self.parts for extreme in part.extremes()]


Searchable = Range | Choices | Part | Alternatives


def suggest_value(name: str, value: Any, suggester: Suggester) -> Any:
    """What a field has in one proposal: drawn where it is searchable, as it is where not."""
    return value.suggest(name, suggester) if isinstance(value, Searchable) else value


def parameters_of(fields: Mapping[str, Any], prefix: str = "") -> dict[str, "Range | Choices"]:
    """All that can be searched in some fields, by their paths."""
    searchable = {f"{prefix}{name}": value for name, value in fields.items() if isinstance(value, Searchable)}
    return {path: each for name, value in searchable.items() for path, each in value.parameters(name).items()}


def any_varies(fields: Mapping[str, Any]) -> bool:
    """Whether there is anything to search in some fields."""
    return any(value.varies for value in fields.values() if isinstance(value, Searchable))


def parse_field(name: str, value: Any, where: str) -> Any:
    """The value of a policy's field, which may be a section."""
    if name in SECTIONS and isinstance(value, Mapping) and "kind" not in value:
        return _parse_part(value, where)
    if not isinstance(value, Mapping) or "of" not in value:
        return parse_value(value, where)
    if RELATIVE.get(name) != value["of"]:
        known = ", ".join(f"{field} of {whole}" for field, whole in RELATIVE.items())
        raise PolicyError(f"{where}: cannot be a share of {value['of']!r}; known are {known}")
    parsed = _parse_range({key: entry for key, entry in value.items() if key != "of"}, where)
    if not isinstance(parsed, Range):
        raise PolicyError(f"{where}: only a range with low and high can be a share of {value['of']!r}")
    return replace(parsed, of=value["of"])


def parse_value(value: Any, where: str, level: int = 1) -> Any:
    """A plain value, a range, choices, or alternatives of parts."""
    if isinstance(value, list):
        if not value:
            raise PolicyError(f"{where}: an empty list offers no choice")
        if all(isinstance(entry, Mapping) for entry in value):
            return _parse_alternatives(value, where, level)
        return _parse_choices(value, where)
    if isinstance(value, Mapping):
        if "kind" in value:
            return _parse_alternatives([value], where, level)
        return _parse_range(value, where)
    return value


def _parse_choices(values: list[Any], where: str) -> Choices:
    if any(isinstance(value, Mapping | list) for value in values):
        raise PolicyError(f"{where}: choices are either all plain values or all parts with a kind")
    if len(set(map(repr, values))) != len(values):
        raise PolicyError(f"{where}: a choice stands twice in {values}")
    return Choices(tuple(values))


def _parse_alternatives(values: list[Mapping[str, Any]], where: str, level: int) -> Alternatives:
    if level > MOST_LEVELS:
        raise PolicyError(f"{where}: alternatives inside alternatives inside alternatives are one level too deep")
    kinds = [value.get("kind") for value in values]
    for kind in kinds:
        if not isinstance(kind, str):
            raise PolicyError(f"{where}: every alternative needs a kind, such as {{kind: plateau}}")
        if kinds.count(kind) > 1:
            raise PolicyError(f"{where}: kind {kind!r} stands twice: give each kind once, with ranges")
    return Alternatives(tuple(_parse_part(value, where, value["kind"], level) for value in values))


def _parse_part(value: Mapping[str, Any], where: str, kind: str | None = None, level: int = 1) -> Part:
    path = where if kind is None else f"{where}.{kind}"
    fields = {
        name: entry if name in TAKEN_AS_THEY_ARE else parse_value(entry, f"{path}.{name}", level + 1)
        for name, entry in value.items()
        if name != "kind"
    }
    return Part(kind, fields)


def _parse_range(value: Mapping[str, Any], where: str) -> Range | Choices:
    if set(value) == {"choices"} and isinstance(value["choices"], list) and value["choices"]:
        return _parse_choices(value["choices"], where)
    known = ("low", "high", "log", "step")
    for key in value:
        if key not in known:
            raise PolicyError(
                f"{where}: unknown key {key!r} in a range; known are {', '.join(known)}{nearest(str(key), known)}"
            )
    missing = [key for key in ("low", "high") if key not in value]
    if missing:
        raise PolicyError(f"{where}: a range needs low and high, {missing[0]} is missing")
    for key in ("low", "high", "step"):
        _check_number(value.get(key, 1), f"{where}: {key}")
    low, high, log, step = value["low"], value["high"], value.get("log", False), value.get("step")
    if low >= high:
        raise PolicyError(f"{where}: low {low} is not below high {high}")
    if not isinstance(log, bool):
        raise PolicyError(f"{where}: log is {log!r}, expected true or false")
    if log and (low <= 0 or step is not None):
        raise PolicyError(f"{where}: a log range starts above 0 and has no step (low is {low}, step is {step})")
    found = Range(low, high, log, step)
    if step is not None:
        _check_step(found, step, where)
    return found


def _check_step(range_: Range, step: float, where: str) -> None:
    width = range_.high - range_.low
    if not 0 < step <= width:
        raise PolicyError(f"{where}: step {step} is not between 0 and {width}, the width of the range")
    if range_.is_integer and step != int(step):
        raise PolicyError(f"{where}: step {step} between whole numbers is not one itself")
    if abs(width / step - round(width / step)) > 1e-9:
        raise PolicyError(f"{where}: step {step} does not divide {width}, the width of the range")


def _check_number(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e12 or value != value:
        raise PolicyError(f"{where} is {value!r}, expected a number")
