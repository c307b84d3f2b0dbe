"""What a search tries next: what waits in the study's queue first, then another seed of a policy, or a new one.

Which of the two, `autogrow.study.racing` says; new ones an Optuna sampler proposes. Two controls are left waiting for a
while: the static one and the thesis' are dear and only the report needs them. They are started when `CONTROLS_SHARE` of
the trials have been proposed, or of the time or compute has been used.
"""

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from autogrow.errors import PolicyError, UsageError, one_line
from autogrow.metrics.objectives import OBJECTIVES, preferred
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.part import validated
from autogrow.policy.presets import CONTROLS, DEFAULT, DEFERRED_CONTROLS, control_policy
from autogrow.policy.training_settings import TrainingSettings
from autogrow.registry import Registry
from autogrow.study.candidates import Candidate, Candidates
from autogrow.study.constraints import constraint_names
from autogrow.study.mirrored_study import MirroredStudy
from autogrow.study.racing import FIRST_SHARE, least_loss_first, next_seed
from autogrow.study.search_space import SEARCHABLE_TRAINING, SearchSpace
from autogrow.study.settings import SearchSettings
from autogrow.study.study_database import StudyDatabase
from autogrow.study.trial_record import SEARCHED, Attributes, TrialRecord, proposed, replicated
from autogrow.tasks import TASKS

STARTUP_SHARE = 4
"""A quarter of the trials, at most 10, are random before a sampler models anything."""
POPULATION_SHARE = 5
"""A fifth of the trials, between 4 and 50, make a generation."""

CONTROLS_SHARE = 1 / 2
"""Share of a search's budget after which the deferred controls are started.

Late enough for new policies to have the first half, early enough for the dearest network of all to end in time.
"""


@dataclass(frozen=True)
class Proposal:
    """A trial to run."""

    number: int
    root: int
    role: str
    policy: GrowthPolicy
    training: TrainingSettings
    seed: int
    """Of weights and batches."""
    replicate_of: int | None = None
    """The root of the first trial of its policy, where it is not that itself."""


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
        self._memory = MirroredStudy(database, constraint_names(settings, space))

    def next(self) -> Proposal | None:
        """The next trial, RUNNING in the database; None when the budget is used up and none waits to be resumed."""
        while True:
            self._memory.catch_up()
            has_room = self._database.num_proposed() < self._settings.trials
            deferred = () if self._controls_are_due() else DEFERRED_CONTROLS
            queued = self._database.claim(new=has_room, but=deferred)
            if queued is None:
                return self._decided() if has_room else None
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
        left = self._settings.trials - self._database.num_proposed()
        return self._share() >= CONTROLS_SHARE or left <= self._database.num_waiting(DEFERRED_CONTROLS)

    def _share(self) -> float:
        """Of the search's budget that is used, from 0 to 1."""
        return max(self._database.num_proposed() / self._settings.trials, self._share_used())

    def _resumed(self, trial: FrozenTrial) -> Proposal:
        """A trial whose policy stands: one that was interrupted."""
        record = TrialRecord(trial)
        with _readable(trial):
            policy = GrowthPolicy.from_dict(record.needed_policy(), f"trial {trial.number}")
            training = validated(TrainingSettings, record.needed_training(), f"trial {trial.number}: training")
        self._database.describe(trial, {}, {}, Attributes())
        seed = self._settings.seed if record.seed is None else record.seed
        return Proposal(trial.number, record.root, record.role, policy, training, seed, record.replicate_of)

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
        self._memory.remember(record.root, asked)
        attributes = proposed(role, policy.recipe(), training.model_dump(), self._settings.seed)
        self._database.describe(trial, asked.params, asked.distributions, attributes)
        return Proposal(trial.number, record.root, role, policy, training, self._settings.seed)

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

    def _decided(self) -> Proposal | None:
        """Another seed of a policy, or a new one."""
        while self._settings.has_race:
            candidates = self._database.candidates()
            if (candidate := self._next_in_race(candidates)) is None:
                break
            try:
                proposal = self._replicate(candidate, candidates.next_seed(candidate, self._settings.seed))
            except PolicyError:  # of another version, which is no reason not to go on with this one
                break
            if not self._database.gave_back_duplicate(proposal.number):
                is_surplus = self._database.gave_back_surplus(proposal.number, self._settings.trials)
                return None if is_surplus else proposal
        return self._fresh()

    def _next_in_race(self, candidates: Candidates) -> Candidate | None:
        """The candidate that is trained on one more seed."""
        settings, share = self._settings, min(1.0, self._share())
        if share < FIRST_SHARE:  # as `next_seed` would say, once all that is known had been read
            return None
        objective = preferred(TASKS[settings.task].preference)
        estimated = {each.number: candidates.estimate(each, OBJECTIVES["loss"]) for each in candidates.all}
        losses = {number: each for number, each in estimated.items() if each is not None}
        # What somebody has added without saying how it was trained cannot be trained again.
        known = {each.number for each in candidates.all if TrialRecord(each.first).is_described}
        racers = [each for each in candidates.in_race(objective) if each.number in known]
        racers = least_loss_first(racers, losses)
        always = {each.number: settings.most_seeds for each in candidates.all if each.role == DEFAULT}
        number = next_seed(racers, share, settings.most_seeds, always)
        return next((each for each in candidates.all if each.number == number), None)

    def _replicate(self, candidate: Candidate, seed: int) -> Proposal:
        first = candidate.first
        record = TrialRecord(first)
        policy = GrowthPolicy.from_dict(record.needed_policy(), f"trial {first.number}")
        training = validated(TrainingSettings, record.needed_training(), f"trial {first.number}: training")
        number = self._database.add_running(first.params, first.distributions, replicated(record, seed), {})
        return Proposal(number, number, record.role, policy, training, seed, candidate.number)

    def _fresh(self) -> Proposal | None:
        policy, training, asked = self._ask({})
        policy = policy.within(self._settings.limits)
        number = self._database.add_running(
            asked.params,
            asked.distributions,
            proposed(SEARCHED, policy.recipe(), training.model_dump(), self._settings.seed),
            asked.system_attrs,
        )
        self._memory.remember(number, asked)
        if self._database.gave_back_surplus(number, self._settings.trials):
            return None
        return Proposal(number, number, SEARCHED, policy, training, self._settings.seed)

    def _ask(self, fixed: Mapping[str, Any]) -> tuple[GrowthPolicy, TrainingSettings, FrozenTrial]:
        """A point of the space, `fixed` in some parameters."""
        (policy, training), asked = self._memory.ask(
            self._sampler(), lambda trial: self._space.suggest(trial, self._settings.training), fixed
        )
        return policy, training, asked

    def _sampler(self) -> BaseSampler:
        """A sampler with a seed of its own for every proposal: one for a whole study repeats points on resuming."""
        settings = self._settings
        text = f"{settings.seed}/{self._memory.num_candidates}{self._database.driver}"
        sampling = Sampling(
            seed=int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big"),
            num_startup=max(4, min(10, settings.trials // STARTUP_SHARE)),
            num_trials=settings.trials,
            num_objectives=len(self._database.objectives),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return SAMPLERS[settings.sampler](sampling)


@contextmanager
def _readable(trial: FrozenTrial) -> Iterator[None]:
    """Turns whatever may be wrong with what somebody has queued into a `PolicyError`."""
    try:
        yield
    except (LookupError, TypeError, ValueError) as error:
        raise PolicyError(f"trial {trial.number} was enqueued, but cannot be read: {one_line(error)}") from error
