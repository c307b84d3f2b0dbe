"""Search spaces: a policy, and training settings, in which some values are ranges; read from YAML and checked.

::

    format: autogrow-space/1
    policy:
      chunk_fraction: {low: 0.1, high: 0.5}            a range; whole numbers at both ends make it one of integers
      initialization: [zero_fan_out, xavier]           choices
      trigger:                                         alternatives: a list of parts, each with ranges of its own
        - {kind: plateau, window: {low: 3, high: 8}, min_delta: {low: 1.0e-4, high: 1.0e-2, log: true}}
        - {kind: schedule, every: {low: 8, high: 25}}
      depth:                                           a part may hold alternatives again
        - {kind: none}
        - {kind: blocks, blocks_per_event: {low: 1, high: 3}, trigger: [{kind: plateau}, {kind: schedule}]}
      limits: {max_parameters: [100000, 1000000]}      a section: fields without a kind; `depth` may be one too
      max_fraction: {low: 0.2, high: 1.0}
      initial_fraction: {low: 0.25, high: 1.0, step: 0.25, of: max_fraction}    a share of another field's value
    training:
      learning_rate: {low: 3.0e-4, high: 3.0e-3, log: true}
    first:                                             points to try before any is drawn; what one leaves out is drawn
      - {chunk_fraction: 0.25, trigger.kind: schedule, trigger.schedule.every: 10}

What is not named keeps its default. Parameters are called by their path: ``chunk_fraction``, ``trigger.kind``,
``trigger.plateau.window``, ``depth.blocks.trigger.kind``, ``limits.max_parameters``, ``training.learning_rate``; in a
section without a kind, ``depth.trigger.plateau.window``.
"""

import math
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from autogrow.errors import PolicyError, nearest
from autogrow.paths import resolved
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.part import validated
from autogrow.policy.policy_file import read_yaml_mapping
from autogrow.policy.training_settings import TrainingSettings
from autogrow.study.first_points import Suggester, check_values, read_first_points

FORMAT = "autogrow-space/1"
SECTIONS = ("depth", "limits")
"""Fields of a policy that are records, so that a mapping without a kind is not meant as a range."""
TAKEN_AS_THEY_ARE = ("stages",)
"""Fields whose value is a list of names, and not a list of choices."""
MOST_LEVELS = 2
"""Alternatives inside alternatives: `depth` has a trigger of its own, and nothing goes deeper."""
RELATIVE = {"initial_fraction": "max_fraction", "chunk_fraction": "max_fraction"}
"""Fields that may be given as a share of another: a small maximum then leaves room for every start."""
SEARCHABLE_TRAINING = (
    "learning_rate", "weight_decay", "batch_size", "optimizer", "momentum", "learning_rate_schedule", "constant_share",
)  # fmt: skip


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
        return _parameters(self.fields, self._prefix(name))

    def suggest(self, name: str, suggester: Suggester) -> dict[str, Any]:
        path = self._prefix(name)
        chosen = {field: _suggest(f"{path}{field}", value, suggester) for field, value in self.fields.items()}
        return {**self._head(), **chosen}

    @property
    def varies(self) -> bool:
        return _any_varies(self.fields)

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


class SearchSpace:
    """Proposes policies and training settings. `content` is the mapping it was made from, for the run's record."""

    def __init__(self, content: Mapping[str, Any], where: str) -> None:
        self.content = dict(content)
        sections = {key: value for key, value in content.items() if key != "format"}
        if content.get("format") != FORMAT:
            raise PolicyError(f"{where}: format is {content.get('format')!r}, expected {FORMAT!r} in the first line")
        for section, fields in sections.items():
            known = ("policy", "training", "first")
            if section not in known:
                raise PolicyError(
                    f"{where}: unknown section {section!r}; known are {', '.join(known)}{nearest(section, known)}"
                )
            if section != "first" and not isinstance(fields, Mapping):
                raise PolicyError(f"{where}: section {section!r} is a mapping of fields to values and ranges")
        self._policy = {k: _parse_field(k, v, f"{where}: policy.{k}") for k, v in sections.get("policy", {}).items()}
        self._training = {k: _parse(v, f"{where}: training.{k}") for k, v in sections.get("training", {}).items()}
        self._check(where)
        self.first_points = read_first_points(sections.get("first", []), self._ask_all, f"{where}: first")
        """Parameters to try before any are drawn, by their paths; what a point leaves out is drawn."""

    @classmethod
    def load(cls, path: Path) -> "SearchSpace":
        """Read and check a space; raises `PolicyError` naming the file, the parameter and what is wrong."""
        return cls(read_yaml_mapping(path, "search space"), str(path))

    def suggest(self, suggester: Suggester, base: TrainingSettings) -> tuple[GrowthPolicy, TrainingSettings]:
        """One policy and the training settings to try it with; what the space leaves open is taken from `base`."""
        policy = {k: _suggest(k, value, suggester) for k, value in self._policy.items()}
        training = {k: _suggest(f"training.{k}", value, suggester) for k, value in self._training.items()}
        return GrowthPolicy.from_dict(self._in_proportion(policy)), validated(
            TrainingSettings, {**base.model_dump(), **training}, "training"
        )

    @property
    def limits(self) -> list[str]:
        """The size limits that any policy of this space may have."""
        section = self._policy.get("limits")
        return (
            [name for name, value in section.fields.items() if value is not None] if isinstance(section, Part) else []
        )

    def check_values(self, point: Mapping[str, Any], where: str) -> None:
        """Check values that somebody else gives to parameters, of whatever kinds, the others being left open.

        Raises `PolicyError` for a parameter that this space does not have, and for a value that it does not offer.
        """
        check_values(point, {**_parameters(self._policy), **_parameters(self._training, "training.")}, where)

    def _ask_all(self, suggester: Suggester) -> None:
        self.suggest(suggester, TrainingSettings())

    def _in_proportion(self, policy: Mapping[str, Any]) -> dict[str, Any]:
        """The policy with its shares of other fields multiplied out."""
        shares = {name: value.of for name, value in self._policy.items() if isinstance(value, Range) and value.of}
        wholes = {name: policy.get(of, GrowthPolicy.model_fields[of].default) for name, of in shares.items()}
        return {**policy, **{name: policy[name] * whole for name, whole in wholes.items()}}

    def _check(self, where: str) -> None:
        """Every field at every extreme must make a valid policy, so that no trial can fail on its own proposal."""
        for name in self._training:
            if name not in SEARCHABLE_TRAINING:
                raise PolicyError(
                    f"{where}: training.{name} cannot be searched: trials must be equally long to be compared; "
                    f"searchable are {', '.join(SEARCHABLE_TRAINING)}{nearest(name, SEARCHABLE_TRAINING)}"
                )
        for fields in _corners(self._policy):
            GrowthPolicy.from_dict(self._in_proportion(fields), where)
        for fields in _corners(self._training):
            validated(TrainingSettings, fields, f"{where}: training")
        if not _any_varies(self._policy) and not _any_varies(self._training):
            raise PolicyError(
                f"{where}: nothing to search: give at least one field a range such as {{low: 0.1, high: 0.5}}"
            )
        if isinstance(start := self._policy.get("initial_fraction"), Range) and start.of:
            return  # a share of the maximum, whatever that is
        low, high = (
            _bound(self._policy.get(name), end) for name, end in (("initial_fraction", max), ("max_fraction", min))
        )
        if low is not None and high is not None and low > high:
            raise PolicyError(f"{where}: initial_fraction reaches {low}, above the smallest max_fraction {high}")


def _corners(fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    values = {name: value.extremes() if isinstance(value, Searchable) else [value] for name, value in fields.items()}
    # The widest maximum goes with every other extreme, so that only the field under test can be at fault.
    first = {name: max(options) if name == "max_fraction" else options[0] for name, options in values.items()}
    yield first
    for name, options in values.items():
        for option in options:
            yield {**first, name: option}


def _bound(value: Any, end: Callable[[list[Any]], Any]) -> float | None:
    if isinstance(value, Range | Choices):
        return float(end(value.extremes()))
    return None if value is None else float(value)


def _suggest(name: str, value: Any, suggester: Suggester) -> Any:
    return value.suggest(name, suggester) if isinstance(value, Searchable) else value


def _parameters(fields: Mapping[str, Any], prefix: str = "") -> dict[str, "Range | Choices"]:
    """All that can be searched in some fields, by their paths."""
    searchable = {f"{prefix}{name}": value for name, value in fields.items() if isinstance(value, Searchable)}
    return {path: each for name, value in searchable.items() for path, each in value.parameters(name).items()}


def _any_varies(fields: Mapping[str, Any]) -> bool:
    return any(value.varies for value in fields.values() if isinstance(value, Searchable))


def _parse_field(name: str, value: Any, where: str) -> Any:
    """The value of a policy's field, which may be a section."""
    if name in SECTIONS and isinstance(value, Mapping) and "kind" not in value:
        return _parse_part(value, where)
    if not isinstance(value, Mapping) or "of" not in value:
        return _parse(value, where)
    if RELATIVE.get(name) != value["of"]:
        known = ", ".join(f"{field} of {whole}" for field, whole in RELATIVE.items())
        raise PolicyError(f"{where}: cannot be a share of {value['of']!r}; known are {known}")
    parsed = _parse_range({key: entry for key, entry in value.items() if key != "of"}, where)
    if not isinstance(parsed, Range):
        raise PolicyError(f"{where}: only a range with low and high can be a share of {value['of']!r}")
    return replace(parsed, of=value["of"])


def _parse(value: Any, where: str, level: int = 1) -> Any:
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
        name: entry if name in TAKEN_AS_THEY_ARE else _parse(entry, f"{path}.{name}", level + 1)
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


def read_space(space: str | Mapping[str, Any]) -> dict[str, Any]:
    """The content of a space that is given as such, by its file, or by the name of one that comes with autogrow."""
    return dict(space) if isinstance(space, Mapping) else read_yaml_mapping(find_space(space), "search space")


def find_space(name: str) -> Path:
    """The file of a space given as a path, or by the name of one that comes with autogrow (``default``)."""
    shipped = shipped_spaces()
    path = resolved(name)
    if path.suffix in (".yaml", ".yml"):
        # `search_spaces/default.yaml` means the shipped file also where the current folder is another one.
        if not path.exists() and path.parent.name == "search_spaces" and path.stem in shipped:
            return shipped[path.stem]
        if not path.exists():
            raise PolicyError(
                f"no search space at {path}: shipped are {', '.join(shipped)}{nearest(path.stem, shipped)}"
            )
        return path
    if name not in shipped:
        raise PolicyError(f"unknown search space {name!r}: shipped are {', '.join(shipped)}, or give a .yaml file"
                          f"{nearest(name, shipped)}")  # fmt: skip
    return shipped[name]


def shipped_spaces() -> dict[str, Path]:
    """The spaces that come with autogrow, by name."""
    checkout = Path(__file__).resolve().parents[2] / "search_spaces"
    installed = Path(sysconfig.get_path("data")) / "share" / "autogrow" / "search_spaces"
    folder = checkout if checkout.is_dir() else installed
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
