"""What a search tries next: what waits in the study's queue first, then what an Optuna sampler proposes.

Two controls are left waiting for a while: the static one and the thesis' are dear and only the report needs them. They
are started when `CONTROLS_SHARE` of the trials have been proposed, or of the time or compute has been used.

Sampling runs on a study in memory which mirrors the database, one trial there for every line of trials here. So an ask
costs no transactions, a resumed search samples exactly as one that was never interrupted, and trials that failed for
want of memory are shown to the sampler as infeasible points, which Optuna's own FAIL trials are not.
"""

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from autogrow.errors import PolicyError, UsageError, one_line
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.part import validated
from autogrow.policy.presets import CONTROLS, DEFERRED_CONTROLS, control_policy
from autogrow.policy.training_settings import TrainingSettings
from autogrow.registry import Registry
from autogrow.study.constraints import (
    complete_constraints,
    constraint_names,
    constraints_of,
    named_attributes,
    without_constraints,
)
from autogrow.study.search_space import SEARCHABLE_TRAINING, SearchSpace
from autogrow.study.settings import SearchSettings
from autogrow.study.study_database import StudyDatabase
from autogrow.study.trial_record import (
    INTERRUPTED,
    SEARCHED,
    Attributes,
    TrialRecord,
    goes_on,
    is_surplus,
    proposed,
    root_of,
)

STARTUP_SHARE = 4
"""A quarter of the trials, at most 10, are random before a sampler models anything."""
POPULATION_SHARE = 5
"""A fifth of the trials, between 4 and 50, make a generation."""

CONTROLS_SHARE = 1 / 3
"""Share of a search's budget after which the deferred controls are started.

Late enough for a first result before the dearest network of all is trained, early enough for it to end in time.
"""


@dataclass(frozen=True)
class Proposal:
    """A trial to run."""

    number: int
    root: int
    role: str
    policy: GrowthPolicy
    training: TrainingSettings


@dataclass(frozen=True)
class Sampling:
    """What a sampler is made from."""

    seed: int
    num_startup: int
    num_trials: int
    num_objectives: int


SAMPLERS: Registry[Callable[[Sampling], BaseSampler]] = Registry("sampler", UsageError)


@SAMPLERS.register("tpe")
def _tpe(sampling: Sampling) -> BaseSampler:
    # Grouped, because spaces have conditional parameters.
    joint = sampling.num_objectives == 1 or None
    return TPESampler(seed=sampling.seed, n_startup_trials=sampling.num_startup, multivariate=joint, group=bool(joint))


@SAMPLERS.register("nsga2")
def _nsga2(sampling: Sampling) -> BaseSampler:
    population = max(4, min(50, sampling.num_trials // POPULATION_SHARE))
    return NSGAIISampler(seed=sampling.seed, population_size=population)


@SAMPLERS.register("random")
def _random(sampling: Sampling) -> BaseSampler:
    return RandomSampler(seed=sampling.seed)


@SAMPLERS.register("gp")
def _gp(sampling: Sampling) -> BaseSampler:
    # What only some trials have, it samples at random.
    return GPSampler(seed=sampling.seed, n_startup_trials=sampling.num_startup, warn_independent_sampling=False)


class Proposer:
    """Proposes the trials of one search, within its budget of trials.

    Args:
        share_used: Of the budgets of time and of compute, from 0 to 1.
        refused: Told of waiting trials that cannot be tried, and so have failed: number and reason.
    """

    def __init__(
        self,
        database: StudyDatabase,
        space: SearchSpace,
        settings: SearchSettings,
        expected_samples: int,
        share_used: Callable[[], float] = lambda: 0.0,
        refused: Callable[[int, str], None] = lambda number, reason: None,
    ) -> None:
        self._database = database
        self._space = space
        self._settings = settings
        self._expected_samples = expected_samples
        self._share_used = share_used
        self._refused = refused
        self._constraint_names = constraint_names(settings, space)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._memory = optuna.create_study(directions=[each.direction for each in database.objectives])
        for name, value in database.sampler_state().items():
            self._memory._storage.set_study_system_attr(self._memory._study_id, name, value)
        self._mirrored: dict[int, int | None] = {}
        """Numbers in memory, by root; None where a trial has no parameters, as the controls have none."""
        self._running: set[int] = set()
        """Roots that have not ended in memory."""

    def next(self) -> Proposal | None:
        """The next trial, RUNNING in the database; None when the budget is used up and none waits to be resumed."""
        while True:
            self._catch_up()
            has_room = self._database.num_proposed() < self._settings.trials
            deferred = () if self._controls_are_due() else DEFERRED_CONTROLS
            queued = self._database.claim(new=has_room, but=deferred)
            if queued is None:
                return self._fresh() if has_room else None
            try:
                return self._resumed(queued) if TrialRecord(queued).is_described else self._first(queued)
            except PolicyError as error:
                self._refuse(queued, one_line(error))

    def _refuse(self, trial: FrozenTrial, reason: str) -> None:
        """Have a queued trial fail that cannot be tried: back in the queue, it would end every search."""
        self._database.describe(trial, {}, {}, Attributes({"role": TrialRecord(trial).role}))
        self._database.tell_failed(trial.number, reason)
        self._refused(trial.number, reason)

    def _controls_are_due(self) -> bool:
        """Whether it is time for the deferred controls; at the latest while there are trials left for them."""
        proposed, wanted = self._database.num_proposed(), self._settings.trials
        share = max(proposed / wanted, self._share_used())
        return share >= CONTROLS_SHARE or wanted - proposed <= self._database.num_waiting(DEFERRED_CONTROLS)

    def _resumed(self, trial: FrozenTrial) -> Proposal:
        """A trial whose policy stands: one that was interrupted."""
        record = TrialRecord(trial)
        with _readable(trial):
            policy = GrowthPolicy.from_dict(record.needed_policy(), f"trial {trial.number}")
            training = validated(TrainingSettings, record.needed_training(), f"trial {trial.number}: training")
        self._database.describe(trial, {}, {}, Attributes())
        return Proposal(trial.number, record.root, record.role, policy, training)

    def _first(self, trial: FrozenTrial) -> Proposal:
        """A control, a policy from an earlier study, or a point that a user of Optuna has enqueued."""
        record = TrialRecord(trial)
        role = record.role
        if role not in CONTROLS and not record.is_given:
            with _readable(trial):
                point = {**trial.params, **trial.system_attrs.get("fixed_params", {})}
                self._space.check_values(point, f"trial {trial.number} was enqueued")
            policy, training, asked = self._ask(point)
        else:
            with _readable(trial):
                policy, training = self._given(record)
            asked = create_trial(state=TrialState.RUNNING)
        policy = policy.within(self._settings.limits)
        self._remember(root_of(trial), asked)
        attributes = proposed(role, policy.recipe(), training.model_dump())
        self._database.describe(trial, asked.params, asked.distributions, attributes)
        return Proposal(trial.number, root_of(trial), role, policy, training)

    def _given(self, record: TrialRecord) -> tuple[GrowthPolicy, TrainingSettings]:
        base, origin = self._settings.training, str(record.origin)
        if record.role in CONTROLS:
            in_depth = self._settings.defaults_to_depth
            return control_policy(record.role, self._expected_samples, in_depth=in_depth), base
        found = GrowthPolicy.from_dict(record.needed_given_policy(), origin)
        if found.training is None:
            return found, base
        chosen = {name: getattr(found.training, name) for name in SEARCHABLE_TRAINING}
        recipe = GrowthPolicy.from_dict(found.recipe(), origin)
        return recipe, validated(TrainingSettings, {**base.model_dump(), **chosen}, "training")

    def _fresh(self) -> Proposal | None:
        policy, training, asked = self._ask({})
        policy = policy.within(self._settings.limits)
        number = self._database.add_running(
            asked.params,
            asked.distributions,
            proposed(SEARCHED, policy.recipe(), training.model_dump()),
            asked.system_attrs,
        )
        self._remember(number, asked)
        if self._database.gave_back_surplus(number, self._settings.trials):
            return None
        return Proposal(number, number, SEARCHED, policy, training)

    def _ask(self, fixed: Mapping[str, Any]) -> tuple[GrowthPolicy, TrainingSettings, FrozenTrial]:
        """A point in memory, `fixed` in some parameters."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._memory.sampler = self._sampler()
            if fixed:
                self._memory.enqueue_trial(dict(fixed))
            trial = self._memory.ask()
            try:
                policy, training = self._space.suggest(trial, self._settings.training)
            except PolicyError:  # values that are offered, but not together
                self._memory.tell(trial, state=TrialState.FAIL)
                raise
        self._database.keep_sampler_state(self._memory._storage.get_study_system_attrs(self._memory._study_id))
        return policy, training, self._memory.get_trials(deepcopy=False)[trial.number]

    def _sampler(self) -> BaseSampler:
        """A sampler with a seed of its own for every proposal: one for a whole study repeats points on resuming."""
        settings = self._settings
        text = f"{settings.seed}/{len(self._mirrored)}{self._database.driver}"
        return SAMPLERS[settings.sampler](
            Sampling(
                seed=int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big"),
                num_startup=max(4, min(10, settings.trials // STARTUP_SHARE)),
                num_trials=settings.trials,
                num_objectives=len(self._database.objectives),
            )
        )

    def _remember(self, root: int, mirror: FrozenTrial) -> None:
        if root not in self._mirrored:
            self._mirrored[root] = mirror.number if mirror.params else None
            self._running.add(root)

    def _catch_up(self) -> None:
        """Bring the study in memory up to date: what has ended, and what another driver has proposed."""
        # Another driver may have taken a trial and not yet written down what it tries.
        described = [t for t in self._database.trials() if TrialRecord(t).is_described or _has_ended(t)]
        lines = {
            root_of(trial): trial
            for trial in described
            if not is_surplus(trial) and (trial.state != TrialState.WAITING or goes_on(trial))
        }
        for root in sorted(lines):
            last = lines[root]
            if root not in self._mirrored:
                self._remember(root, self._add(self._mirror(last)))
            elif root in self._running and _has_ended(last):
                self._end(self._mirrored[root], self._mirror(last))
            if _has_ended(last):
                self._running.discard(root)

    def _add(self, mirror: FrozenTrial) -> FrozenTrial:
        if mirror.params:  # a trial without any would leave samplers no parameter that all trials have
            self._memory.add_trial(mirror)
            mirror.number = len(self._memory.get_trials(deepcopy=False)) - 1
        return mirror

    def _mirror(self, trial: FrozenTrial) -> FrozenTrial:
        """How the sampler sees a trial: an infeasible failure as a pruned one, since it learns nothing of failures."""
        constraints = constraints_of(trial)
        state = trial.state if _has_ended(trial) else TrialState.RUNNING
        if state == TrialState.FAIL and any(value > 0 for value in constraints.values()):
            state = TrialState.PRUNED
        if state in (TrialState.COMPLETE, TrialState.PRUNED):  # also of a run from before all trials had all of them
            constraints = complete_constraints(self._constraint_names, constraints)
        return create_trial(
            state=state,
            values=trial.values if state == TrialState.COMPLETE else None,
            params=trial.params,
            distributions=trial.distributions,
            system_attrs={**without_constraints(trial.system_attrs), **named_attributes(constraints)},
        )

    def _end(self, number: int | None, mirror: FrozenTrial) -> None:
        if number is None:
            return
        trial = self._memory.get_trials(deepcopy=False)[number]
        for name, value in mirror.system_attrs.items():
            if name not in trial.system_attrs:
                self._memory._storage.set_trial_system_attr(trial._trial_id, name, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if mirror.state == TrialState.COMPLETE:
                self._memory.tell(number, mirror.values)
            else:
                self._memory.tell(number, state=mirror.state)


@contextmanager
def _readable(trial: FrozenTrial) -> Iterator[None]:
    """Turns whatever may be wrong with what somebody has queued into a `PolicyError`."""
    try:
        yield
    except (LookupError, TypeError, ValueError) as error:
        raise PolicyError(f"trial {trial.number} was enqueued, but cannot be read: {one_line(error)}") from error


def _has_ended(trial: FrozenTrial) -> bool:
    """Whether for good: one that was interrupted is going to be resumed."""
    return trial.state.is_finished() and TrialRecord(trial).reason != INTERRUPTED
