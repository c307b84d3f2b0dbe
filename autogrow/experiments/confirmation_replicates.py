"""What a confirmation trains, as replicates in the study of its search: which runs are some, and how they are told."""

from collections.abc import Collection, Mapping, Sequence

from autogrow.errors import RunFolderError, RunFolderInUseError, one_line
from autogrow.experiments.records import FailedRun, Outcome, RunRecord
from autogrow.experiments.running import FinishedRun
from autogrow.metrics.objectives import Objective
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.study.candidates import Candidate
from autogrow.study.confirmed_seeds import ConfirmedSeed, add_seeds
from autogrow.study.run_folder import RunFolder
from autogrow.study.study_location import SharedStudy
from autogrow.study.trial_record import TrialRecord
from autogrow.study.trial_result import CompleteTrial, EndedTrial, FailedTrial, TrialMetrics

_SAME = (
    "validation_score", "validation_loss", "train_score", "train_loss", "generalization_gap", "train_seconds",
    "training_flops", "parameters", "num_events", "steps", "flops",
)  # fmt: skip
"""What runs of experiments measure as trials do, by the name that it has there."""


class Replicates:
    """Has the runs of a confirmation count in the study of its search, each as soon as it is finished.

    What cannot be told at once, because somebody searches, is told after a later run, or when the confirmation is asked
    for again: it is in the folder of the confirmation. What was told before is not told twice.

    Args:
        tried: By condition, the candidate of the study that it trains; no other conditions are told.
        told: Numbers of candidates with the seeds that were told before.
    """

    def __init__(
        self,
        run: RunFolder,
        tried: Mapping[str, Candidate],
        told: Collection[tuple[int, int | None]],
        objectives: Sequence[Objective],
    ) -> None:
        self._run, self._tried, self._told, self._objectives = run, tried, told, objectives
        self._is_shared = isinstance(run.study_location(), SharedStudy)
        self._waiting: list[ConfirmedSeed] = []
        self._num_told = 0
        self._missing: set[str] = set()
        """What the study has of every trial, and runs here do not measure."""
        self._refusal = ""

    def finished(self, run: FinishedRun) -> None:
        """Of a run that was found finished, nothing is told before the next that is trained: all at once."""
        candidate = self._tried.get(run.outcome.condition)
        if candidate is None or self._is_shared:
            return
        if (candidate.number, run.outcome.seed) in self._told:
            self._num_told += 1
        elif (result := self._result(run.outcome, candidate)) is not None:
            self._waiting.append(ConfirmedSeed(candidate, run.outcome.seed, result))
        if run.trained_now:
            self.tell()

    def tell(self) -> None:
        """Have all count that are waiting; the run's best policy is brought up to date in any case."""
        if not self._waiting and not self._num_told:
            return
        try:
            add_seeds(self._run, self._waiting)
        except (RunFolderError, RunFolderInUseError) as error:  # a confirmation is worth its while without
            self._refusal = one_line(error) if self._waiting else ""
            return
        self._num_told += len(self._waiting)
        self._waiting, self._refusal = [], ""

    @property
    def note(self) -> str:
        """Which runs count in the study, in a line."""
        study = f"the study of {self._run.name}"
        if self._is_shared:
            return f"no run counts in {study}: several drivers share it"
        counted = "1 run counts" if self._num_told == 1 else f"{self._num_told} runs count"
        said = [f"{counted} in {study}, as other seeds of its policies"]
        if self._missing:
            names = ", ".join(sorted(self._missing))
            said.append(f"others do not, since its trials have {names}, which was not measured here")
        if self._refusal:
            said.append(f"{len(self._waiting)} do not yet: {self._refusal}; the same command adds them")
        return "; ".join(said)

    def _result(self, outcome: Outcome, candidate: Candidate) -> EndedTrial | None:
        """How the trial has ended that a run would have been; None where it lacks what every trial has."""
        if isinstance(outcome, FailedRun):
            return FailedTrial(reason=outcome.reason)
        if outcome.undefined is not None:
            return FailedTrial(reason=outcome.undefined)
        first = TrialRecord(candidate.first)
        measured = _measured(outcome, first)
        limits = GrowthPolicy.from_dict(first.needed_policy()).limits
        needed = {each.metric.name for each in self._objectives if each.value(measured) is None}
        needed |= {name.removeprefix("max_") for name, limit in limits if limit is not None} | {"compute"}
        if missing := needed - measured.keys():
            self._missing |= missing
            return None
        return CompleteTrial(metrics=TrialMetrics.model_validate(measured), constraints=limits.excess(measured))


def _measured(run: RunRecord, first: TrialRecord) -> dict[str, float]:
    """What a run has measured, by the names that trials have for it."""
    found = {name: value for name, value in run.trial_metrics().items() if name in _SAME and value is not None}
    whole = first.metrics
    if whole.get("compute") and whole.get("training_flops"):
        # The whole run at full width takes the same, whatever the seed.
        found["compute"] = run.training_flops * whole["compute"] / whole["training_flops"]
    return found
