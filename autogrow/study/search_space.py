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

import sysconfig
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from autogrow.errors import PolicyError, nearest
from autogrow.paths import resolved
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.part import validated
from autogrow.policy.policy_file import read_yaml_mapping
from autogrow.policy.training_settings import TrainingSettings
from autogrow.study.first_points import Suggester, check_values, read_first_points
from autogrow.study.searchable import (
    Choices,
    Part,
    Range,
    Searchable,
    any_varies,
    parameters_of,
    parse_field,
    parse_value,
    suggest_value,
)

FORMAT = "autogrow-space/1"
SEARCHABLE_TRAINING = (
    "learning_rate", "weight_decay", "batch_size", "optimizer", "momentum", "learning_rate_schedule", "constant_share",
    "warmup_steps", "decay_fraction", "decay",
)  # fmt: skip


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
        self._policy = {k: parse_field(k, v, f"{where}: policy.{k}") for k, v in sections.get("policy", {}).items()}
        self._training = {k: parse_value(v, f"{where}: training.{k}") for k, v in sections.get("training", {}).items()}
        self._check(where)
        self.first_points = read_first_points(sections.get("first", []), self._ask_all, f"{where}: first")
        """Parameters to try before any are drawn, by their paths; what a point leaves out is drawn."""

    @classmethod
    def load(cls, path: Path) -> "SearchSpace":
        """Read and check a space; raises `PolicyError` naming the file, the parameter and what is wrong."""
        return cls(read_yaml_mapping(path, "search space"), str(path))

    def suggest(self, suggester: Suggester, base: TrainingSettings) -> tuple[GrowthPolicy, TrainingSettings]:
        """One policy and the training settings to try it with; what the space leaves open is taken from `base`."""
        policy = {k: suggest_value(k, value, suggester) for k, value in self._policy.items()}
        training = {k: suggest_value(f"training.{k}", value, suggester) for k, value in self._training.items()}
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
        check_values(point, {**parameters_of(self._policy), **parameters_of(self._training, "training.")}, where)

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
        if not any_varies(self._policy) and not any_varies(self._training):
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
