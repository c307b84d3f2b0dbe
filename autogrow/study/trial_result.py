"""What a trial reports while it trains, and how it ends: the records that go from the trainer to the report.

The same for every executor. A result is written to the trial's folder as JSON, and sent as JSON between processes; how
it stands in the study database is `autogrow.study.trial_record`'s.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    model_serializer,
    model_validator,
)

from autogrow.errors import RunFolderError
from autogrow.former_names import with_present_names
from autogrow.reading.typed import typed
from autogrow.training.records import TrialFolder


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrialMetrics(_Record):
    """What was measured of a network, at the end of its trial or on the way there.

    Scores and losses are of the same weights, in eval mode and without augmentation; a loss is in nats or, of a
    regression, in the user's unit squared. What a trial that went on from a fork did not train itself is counted.
    """

    validation_score: float
    """The task's score: the share of right answers, or R²."""
    validation_loss: float
    train_score: float
    generalization_gap: float
    """`train_score` minus `validation_score`."""
    train_seconds: float
    training_flops: float
    """Of all training steps up to now, and of choosing where to grow."""
    compute: float
    """`training_flops` as a share of what the whole run takes at full width."""
    parameters: int
    num_events: int
    """Growth events."""
    train_loss: float | None = None
    """None in a file of before, which gave it at the end alone; so are `steps`."""
    steps: int | None = None
    flops: float | None = None
    """Training FLOPs of one example; None before the end."""
    others: Mapping[str, int | float] = {}
    """What is measured only where it is asked for, such as `latency_ms`, and what a fork has saved, by name."""

    def by_name(self) -> dict[str, int | float]:
        """All that is known, by the names that objectives, limits and reports use."""
        return {**{name: value for name, value in self if name != "others" and value is not None}, **self.others}

    @model_validator(mode="before")
    @classmethod
    def _gather_others(cls, fields: Any) -> Any:
        # In JSON, and wherever metrics are shown, the others are not set apart.
        if not isinstance(fields, Mapping):
            return fields
        fixed = {name: value for name, value in fields.items() if name in cls.model_fields}
        others = {name: value for name, value in fields.items() if name not in fixed}
        return {**fixed, "others": {**others, **fixed.get("others", {})}}

    @model_serializer(mode="wrap")
    def _with_others(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return self.by_name()


class TrialReport(_Record):
    """A running trial, as the search decides by it whether the trial goes on."""

    metrics: TrialMetrics
    progress: float
    """Share of the run that is done, from 0 to 1."""
    may_grow: bool
    """Whether the policy may still grow the network."""
    trial_seconds: float
    """Since the trial began, evaluation and opening the data included."""


class OutOfMemory(_Record):
    """The size of a network for which memory was too small."""

    memory_bytes: int
    """Taken, and what was asked for in vain."""
    parameters: int | None = None
    """None where it failed before they were known."""


class _Result(_Record):
    trial_seconds: float | None = None
    """How long the trial took; None where its process died."""
    warnings: tuple[str, ...] = ()
    """What was logged as such."""


class CompleteTrial(_Result):
    """It was trained to its end."""

    status: Literal["complete"] = "complete"
    metrics: TrialMetrics
    constraints: Mapping[str, float] = {}
    """By what share each limited size is beyond its limit; above 0 it breaks it."""


class StoppedTrial(_Result):
    """The search has stopped it early, since others do better."""

    status: Literal["stopped"] = "stopped"
    metrics: TrialMetrics
    """Of its last report."""
    progress: float | None = None

    @classmethod
    def after(cls, report: TrialReport) -> Self:
        """A trial that was stopped by the answer to this report."""
        return cls(metrics=report.metrics, progress=report.progress, trial_seconds=report.trial_seconds)

    @model_validator(mode="before")
    @classmethod
    def _of_before(cls, fields: Any) -> Any:
        # Until a trial's metrics had fields of their own, how far it had come stood among them.
        metrics = fields.get("metrics") if isinstance(fields, Mapping) else None
        if not isinstance(metrics, Mapping) or "progress" not in metrics:
            return fields
        kept = {name: value for name, value in metrics.items() if name not in ("progress", "may_grow")}
        return {**fields, "metrics": kept, "progress": metrics["progress"]}


class InterruptedTrial(_Result):
    """It has saved itself, and goes on when the search does."""

    status: Literal["interrupted"] = "interrupted"
    reason: str | None = None
    """Why nothing can be written any more; None where it was asked to save itself."""


class FailedTrial(_Result):
    """Its network, its policy or its process failed."""

    status: Literal["failed"] = "failed"
    reason: str
    """In one line."""
    infeasible: OutOfMemory | None = None


EndedTrial = CompleteTrial | StoppedTrial | FailedTrial
"""One that does not go on."""
TrialResult = EndedTrial | InterruptedTrial
_RESULT: TypeAdapter[TrialResult] = TypeAdapter(Annotated[TrialResult, Field(discriminator="status")])


def result_from_json(text: str) -> TrialResult:
    """A result that another process has sent, by its `model_dump_json()`."""
    return _RESULT.validate_json(text)


def write_trial_result(folder: TrialFolder, result: EndedTrial) -> None:
    """Leave the result in the trial's folder, so that a driver which died meanwhile still learns of it."""
    folder.write_result(result.model_dump(mode="json", exclude_none=True))


def read_trial_result(folder: TrialFolder) -> EndedTrial | None:
    """The result in a trial's folder; None where it has not ended. Raises `RunFolderError` for what is no result."""
    content = folder.result()
    if content is None:
        return None
    fields = with_present_names(content)
    kinds: dict[object, type[EndedTrial]] = {
        "complete": CompleteTrial, "stopped": StoppedTrial, "failed": FailedTrial
    }  # fmt: skip
    where = f"{folder.path}: result.json"
    status = fields.get("status")
    if status not in ("complete", "stopped", "failed"):
        raise RunFolderError(f"{where}: status is {status!r}, not one of complete, stopped and failed")
    metrics = fields.get("metrics")
    if isinstance(metrics, Mapping):  # files of before give the seconds here, too
        metrics = {name: value for name, value in metrics.items() if name != "trial_seconds"}
        fields = {"trial_seconds": fields["metrics"].get("trial_seconds"), **fields, "metrics": metrics}
    return typed(kinds[status], fields, where, RunFolderError)
