"""The table of one trial's growth events, narrow enough for a terminal of 80 columns.

A column is for what differs between events; what is the same of all, or says something rarely, stands in the note.
"""

from collections.abc import Sequence

from autogrow.metrics import numbers
from autogrow.metrics.metric import LOSS, Metric
from autogrow.metrics.numbers import MISSING
from autogrow.report import formats
from autogrow.report.summary import RunSummary
from autogrow.report.tables import Column, Table
from autogrow.report.timeline import TimelineEvent

MOST_NAMED_GROUPS = 4
"""Groups of one event that are named one by one."""


def growth_table(summary: RunSummary) -> Table:
    """The growth events of the best grown trial by the metric that the search is judged by."""
    best, timeline = summary.preferred_trial, summary.best_timeline
    events = timeline.events if timeline is not None else ()
    metric = summary.judged_by
    columns = [
        (Column("step", numeric=True), [str(event.step) for event in events]),
        (Column("changed", flexible=True), [changes_of(event) for event in events]),
        (Column("params", numeric=True), [numbers.count(event.parameters_after) for event in events]),
    ]
    notes = ["Units added (+) or removed (-) per channel group, and blocks per stage; params: after the event"]
    if any(map(_has_shock, events)):
        columns.append((Column("shock", numeric=True), [_shock(event) for event in events]))
        notes.append("shock: the largest rise of the loss on a fixed batch in the next 50 steps")
    if any(map(_has_jump, events)):
        columns.append((Column("jump", flexible=True), [_jump(event) for event in events]))
        notes.append(
            "jump: that loss right before and after the event, and the steps until it was no higher than before"
        )
    before, after = zip(*(_around(event, metric) for event in events), strict=True) if events else ((), ())
    columns.append((Column("before", numeric=True), [metric.text(value) for value in before]))
    columns.append((Column("after", numeric=True), [metric.text(value) for value in after]))
    notes.append(f"before, after: {metric.title} at the measurements before and after it")
    if len({event.reason for event in events}) > 1:
        columns.append((Column("trigger", flexible=True), [event.reason for event in events]))
    return Table(
        f"Growth of trial {best.number}" if best else "Growth",
        tuple(column for column, _ in columns),
        tuple(zip(*(cells for _, cells in columns), strict=True)),
        " ".join((f"{'; '.join(notes)}.", *_of_all(events))),
    )


def _of_all(events: Sequence[TimelineEvent]) -> list[str]:
    """What is told of all events together, in sentences."""
    if not events:
        return []
    first, last = numbers.count(events[0].flops_before), numbers.count(events[-1].flops_after)
    change = numbers.small(max(event.largest_output_change for event in events))
    told = [
        f"Training FLOPs per example went from {first} to {last}.",
        f"Events took {numbers.seconds(sum(event.seconds for event in events))} seconds in all.",
        f"None changed an output on a fixed batch by more than {change}.",
    ]
    if any(event.loss_before is not None for event in events) and not any(map(_has_jump, events)):
        told.append("Right after none of them was the loss there higher than before.")
    if any(event.shock is not None for event in events) and not any(map(_has_shock, events)):
        told.append("In the 50 steps after it rose by less than 1 %.")
    if len({event.reason for event in events}) == 1:
        told.append(f"Trigger: {events[0].reason}.")
    return told


def _around(event: TimelineEvent, metric: Metric) -> tuple[float | None, float | None]:
    """The metric that trials are judged by, before and after an event."""
    if metric.name == LOSS.name:
        return event.validation_loss_before, event.validation_loss_after
    return event.score_before, event.score_after


def changes_of(event: TimelineEvent) -> str:
    """What an event added and removed."""
    blocks = ((event.added_blocks, "+"), (event.removed_blocks, "-"))
    units = ((event.added_units, "+"), (event.removed_units, "-"))
    parts = [
        f"{sign}{number} block{'s' if number > 1 else ''} in {name}"
        for each, sign in blocks
        for name, number in each.items()
    ]
    for each, sign in units:
        if len(each) > MOST_NAMED_GROUPS:
            parts.append(f"{len(each)} groups, {sign}{sum(each.values())} in total")
        else:
            parts += [f"{formats.short_name(name)}: {sign}{number}" for name, number in each.items()]
    return ", ".join(parts)


def _has_shock(event: TimelineEvent) -> bool:
    return _shock(event) not in (MISSING, numbers.percent(0.0))


def _has_jump(event: TimelineEvent) -> bool:
    return event.loss_before is not None and event.recovered_after != 0


def _shock(event: TimelineEvent) -> str:
    return MISSING if event.shock is None else numbers.percent(event.shock)


def _jump(event: TimelineEvent) -> str:
    """The loss right before and right after an event, and after how many steps it was no higher than before."""
    if event.loss_before is None or event.loss_after is None:
        return MISSING
    if event.recovered_after == 0:
        return f"{event.loss_before:.4g}, none"
    steps = f"{event.recovered_after} step{'s' if event.recovered_after != 1 else ''}"
    recovery = "not yet" if event.recovered_after is None else steps
    return f"{event.loss_before:.4g} to {event.loss_after:.4g}, {recovery}"
