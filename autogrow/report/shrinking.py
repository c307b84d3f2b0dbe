"""What became of a network that was shrunk, in lines for a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from autogrow.policy.shrink_records import METRICS, ShrinkStep, shown


def step_line(step: ShrinkStep) -> str:
    """One step: what was asked for, how it does, what it takes, and what was not gained."""
    bare = "" if step.loss_before_recovery is None else f" (loss {step.loss_before_recovery:.4g} before training on)"
    gone = [f"without block{'s' if len(numbers) != 1 else ''} {', '.join(map(str, numbers))} of {stage}"
            for stage, numbers in step.removed_blocks.items()]  # fmt: skip
    asked = f"{step.name}: " if not step.target else f"{step.name}, to {step.target}: "
    parts = [
        f"validation score {step.score:.4f}, loss {step.loss:.4g}{bare}",
        f"{step.footprint.parameters:,} parameters, {shown(step.footprint.flops)} FLOPs",
        *gone,
        *([f"{step.removed_weights:,} weights set to zero"] if step.removed_weights else []),
        *(f"{each.milliseconds:.3g} ms for {each.batch_size} on {_threads(each.threads)}" for each in step.latencies),
    ]
    return asked + "; ".join([", ".join(parts), *step.notes])


def final_lines(record: Mapping[str, Any]) -> Iterator[str]:
    """The networks of a record such as shrink.json has, against the network before."""
    before = record["steps"][0]
    for name, network in record["networks"].items():
        yield f"{name}: " + ", ".join(
            [
                f"validation score {network['validation_score']:.4f} ({before['score']:.4f} before)",
                *_ratios(network, before["footprint"]),
            ]
        )
        yield "  measured here by turns with the network before: " + "; ".join(
            _times(network["latencies"], record["latencies_before"])
        )
        yield from (f"  {note}" for note in network.get("notes", ()))
        if "test_score" in network:
            score = network["test_score"]
            told = network.get("test_undefined") if score is None else f"{score:.4f}"
            yield f"  test score {told}"
    for group, reason in record["fixed"].items():
        yield f"group {group} was left as it is: {reason}"
    readings = record["test_readings"]
    yield f"the test split has been read {readings} time{'s' if readings != 1 else ''} on the way to this"


def _ratios(after: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    for metric in ("flops", "parameters", "bytes", "nonzero"):
        if metric == "nonzero" and after.get(metric) in (None, after["parameters"]):
            continue  # nothing is zero
        unit, was = METRICS[metric], before.get(metric)
        share = after[metric] / was if was else 1.0
        yield f"{shown(after[metric])} {unit} ({share:.3f} of before)"


def _times(after: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for now, was in zip(after, before, strict=True):
        ratio = now["milliseconds"] / was["milliseconds"]
        gain = "" if ratio < 1 else ", not faster"
        yield (
            f"{now['milliseconds']:.3g} ms for {now['batch_size']} on {_threads(now['threads'])} "
            f"({ratio:.2f} of before{gain})"
        )


def _threads(number: int) -> str:
    return f"{number} thread{'s' if number != 1 else ''}"
