"""What a study keeps of a trial besides Optuna's own state, values and parameters: the one place that knows how.

What people look for is among the user attributes, every one a plain value with a name of its own: the role, the
metrics, why a trial failed. Tools such as optuna-dashboard show those in a line each. What only autogrow reads, the
policy and its training settings, is among the system attributes, which such tools leave out: a policy is a line of
a thousand characters. Studies of before have ``policy``, ``training`` and ``metrics`` as mappings among the user
attributes, and are read as well.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import FrozenTrial

from autogrow.errors import PolicyError
from autogrow.former_names import FORMER_METRICS
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.part import validated
from autogrow.policy.presets import CONTROLS
from autogrow.policy.training_settings import TrainingSettings
from autogrow.study.trial_result import EndedTrial, FailedTrial, StoppedTrial

SEARCHED = "searched"
INTERRUPTED = "interrupted"
SURPLUS = "another driver used up the budget at the same moment"
DUPLICATE = "another driver took the same seed of the policy at the same moment"
CONFIRM = "confirm"
"""What has trained a replicate that no search did."""
CLAIMED = "claimed by "
"""Prefix of the attribute by which a driver says that it is about to take a trial; several may, one gets it."""
LABELS = {
    "static": "control: full size from the first step",
    "default": "control: the default policy",
    "thesis": "control: the policy of the thesis",
}
"""What a trial is, for those who look at the study with other tools."""
_OURS = "autogrow:"
"""Prefix of system attributes, which Optuna's samplers use, too."""
_POLICY, _TRAINING, _GIVEN = "policy", "training", "given_policy"
LARGEST_NUMBER = 1e300
"""Of what is taken for a metric; it leaves out infinity and NaN."""
_NOT_METRICS = ("root", "resume_of", "replicate_of", "seed")
"""Numbers among the user attributes that say what the trial is, not what came out."""


@dataclass(frozen=True)
class Attributes:
    """What is to be written down of a trial, for people and for autogrow alone."""

    user: Mapping[str, Any] = field(default_factory=dict)
    system: Mapping[str, Any] = field(default_factory=dict)


def proposed(role: str, policy: Mapping[str, Any], training: Mapping[str, Any], seed: int) -> Attributes:
    """What a trial tries: a policy's recipe and training settings, on the seed of its weights and batches."""
    user = {"role": role, **_label(role), "seed": seed}
    # The policy comes last: a trial counts as described once it has one, and its driver may die between two writes.
    return Attributes(user, {_OURS + _TRAINING: training, _OURS + _POLICY: policy})


def replicated(record: "TrialRecord", seed: int, trained_by: str | None = None) -> Attributes:
    """What a replicate of a candidate's first trial tries: the same, on another seed. None: a search trains it."""
    attributes = proposed(record.role, record.needed_policy(), record.needed_training(), seed)
    origin = {} if record.origin is None else {"origin": record.origin}
    by = {} if trained_by is None else {"trained_by": trained_by}
    return Attributes({**attributes.user, **origin, "replicate_of": record.root, **by}, attributes.system)


def queued(role: str, origin: str | None = None, given_policy: Mapping[str, Any] | None = None) -> Attributes:
    """What is known of a trial that waits to be tried first; `origin` says where its policy was found."""
    user = {"role": role, **_label(role), **({} if origin is None else {"origin": origin})}
    return Attributes(user, {} if given_policy is None else {_OURS + _GIVEN: given_policy})


def attributes_of(result: EndedTrial) -> dict[str, str | int | float]:
    """How a trial ended, as user attributes."""
    found: dict[str, int | float | None] = {"trial_seconds": result.trial_seconds}
    if isinstance(result, FailedTrial):
        found.update(result.infeasible or {})
    else:
        found.update(result.metrics.by_name())
    if isinstance(result, StoppedTrial):
        found["progress"] = result.progress
    reason = {"reason": result.reason} if isinstance(result, FailedTrial) else {}
    return {**_numbers(found), **reason}


def _numbers(found: Mapping[str, Any]) -> dict[str, int | float]:
    return {name: value for name, value in found.items() if _is_number(value)}


def resumed(record: "TrialRecord") -> Attributes:
    """What a trial that goes on with an interrupted one takes over from it: all but how that one ended."""
    gone = {"reason", "metrics", "trial_seconds", "infeasible", *record.metrics}
    user = {name: value for name, value in record.trial.user_attrs.items() if name not in gone}
    return Attributes({**user, "root": record.root, "resume_of": record.number}, record.trial.system_attrs)


def _label(role: str) -> dict[str, str]:
    return {"label": LABELS[role]} if role in CONTROLS else {}


def _is_number(value: Any) -> bool:
    """Whether this is a number that can be counted with; others may have written what they like."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER


@dataclass(frozen=True)
class TrialRecord:
    """A trial as autogrow reads it. Nothing is copied or checked before it is asked for."""

    trial: FrozenTrial

    @property
    def number(self) -> int:
        return int(self.trial.number)

    @property
    def root(self) -> int:
        """The number of the first trial of this one's line."""
        root = self._trial_number("root")
        return self.number if root is None else root

    @property
    def resume_of(self) -> int | None:
        """The trial that this one goes on with."""
        return self._trial_number("resume_of")

    @property
    def replicate_of(self) -> int | None:
        """The root of the first trial of its policy, which this one trains on another seed; None for that itself."""
        return self._trial_number("replicate_of")

    @property
    def seed(self) -> int | None:
        """Of its weights and batches; None where it was not written down: it is the run's own then."""
        found = self.trial.user_attrs.get("seed")
        return found if type(found) is int and 0 <= found < 2**32 else None

    @property
    def goes_on(self) -> bool:
        """Whether it goes on with another one."""
        return "root" in self.trial.user_attrs

    @property
    def is_surplus(self) -> bool:
        return self.reason in (SURPLUS, DUPLICATE)

    @property
    def is_by_confirm(self) -> bool:
        """Whether `autogrow confirm` has trained it: no search has proposed it, and it has no folder of its own."""
        return self._text("trained_by") == CONFIRM

    @property
    def is_root(self) -> bool:
        """Whether a search has begun a line of trials with it."""
        return not self.goes_on and not self.is_surplus and not self.is_by_confirm

    @property
    def role(self) -> str:
        """A control's name, `SEARCHED`, or where a first point came from."""
        return str(self.trial.user_attrs.get("role", SEARCHED))

    @property
    def origin(self) -> str | None:
        """Where the policy of a trial was found that an earlier study has given."""
        return self._text("origin")

    @property
    def policy(self) -> dict[str, Any] | None:
        """The recipe that it tries; None while nobody has said what that is, or where it is none that is known here."""
        found = self._mapping(_POLICY)
        with suppress(PolicyError):
            return None if found is None else GrowthPolicy.from_dict(found).recipe()
        return None

    @property
    def is_described(self) -> bool:
        """Whether somebody has written down a policy for it, whatever that is; all else of it was written before."""
        return self._has(_POLICY)

    @property
    def is_given(self) -> bool:
        """Whether somebody has given it a policy from elsewhere, whatever that is."""
        return self._has(_GIVEN)

    @property
    def training(self) -> dict[str, Any] | None:
        """The training settings that it trains with; None where there are none that are known here."""
        found = self._mapping(_TRAINING)
        with suppress(PolicyError):
            return None if found is None else validated(TrainingSettings, found, "training").model_dump()
        return None

    @property
    def metrics(self) -> dict[str, int | float]:
        """What was measured, by the names that objectives use."""
        before = self.trial.user_attrs.get("metrics")  # a mapping, in a study of before
        flat = {name: value for name, value in self.trial.user_attrs.items() if name not in _NOT_METRICS}
        found = {**(before if isinstance(before, Mapping) else {}), **flat}
        return _numbers({FORMER_METRICS.get(name, name): value for name, value in found.items()})

    @property
    def trial_seconds(self) -> float:
        """How long it held a slot; 0 where nobody knows."""
        return float(self.metrics.get("trial_seconds", 0.0))

    @property
    def reason(self) -> str | None:
        """Why it failed."""
        return self._text("reason")

    @property
    def driver(self) -> str | None:
        """The driver that has it in a shared study; None where nobody has."""
        return self._text("driver")

    def is_claimed_by(self, driver: str) -> bool:
        return CLAIMED + driver in self.trial.user_attrs

    def needed_policy(self) -> dict[str, Any]:
        """The recipe. Raises `PolicyError` where there is none: no search has written the trial."""
        return self._needed(_POLICY, "growth policy")

    def needed_training(self) -> dict[str, Any]:
        """The training settings. Raises `PolicyError` where there are none."""
        return self._needed(_TRAINING, "training settings")

    def needed_given_policy(self) -> dict[str, Any]:
        """The policy from elsewhere. Raises `PolicyError` where there is none, or nobody says where it is from."""
        if self.origin is None:
            raise PolicyError(f"trial {self.number} does not say where its policy was found: give it an origin")
        return self._needed(_GIVEN, "policy from elsewhere")

    def _trial_number(self, name: str) -> int | None:
        found = self.trial.user_attrs.get(name)
        return found if type(found) is int and 0 <= found <= self.number else None

    def _text(self, name: str) -> str | None:
        found = self.trial.user_attrs.get(name)
        return found if isinstance(found, str) else None

    def _has(self, name: str) -> bool:
        return _OURS + name in self.trial.system_attrs or name in self.trial.user_attrs

    def _mapping(self, name: str) -> dict[str, Any] | None:
        found = self.trial.system_attrs.get(_OURS + name, self.trial.user_attrs.get(name))
        return dict(found) if isinstance(found, Mapping) else None

    def _needed(self, name: str, what: str) -> dict[str, Any]:
        if (found := self._mapping(name)) is None:
            raise PolicyError(f"trial {self.number} has no {what} in the study: no search has written it")
        return found


def root_of(trial: FrozenTrial) -> int:
    """The number of the first trial of this one's line."""
    return TrialRecord(trial).root


def is_root(trial: FrozenTrial) -> bool:
    return TrialRecord(trial).is_root


def is_replicate(trial: FrozenTrial) -> bool:
    """Whether the trial trains what another one tried first, on another seed."""
    return TrialRecord(trial).replicate_of is not None


def is_by_confirm(trial: FrozenTrial) -> bool:
    """Whether `autogrow confirm` has trained it, and no search."""
    return TrialRecord(trial).is_by_confirm


def goes_on(trial: FrozenTrial) -> bool:
    """Whether the trial goes on with one that was interrupted."""
    return TrialRecord(trial).goes_on


def is_surplus(trial: FrozenTrial) -> bool:
    return TrialRecord(trial).is_surplus


def has_ended(trial: FrozenTrial) -> bool:
    """Whether for good: one that was interrupted is going to be resumed."""
    return trial.state.is_finished() and TrialRecord(trial).reason != INTERRUPTED


def superseded(trials: Iterable[FrozenTrial]) -> set[int]:
    """The numbers of trials that were interrupted and live on as another one."""
    return {number for trial in trials if (number := TrialRecord(trial).resume_of) is not None}
