"""Making a trained network smaller: `shrink`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import nn

from autogrow.data.arrays import Layout
from autogrow.errors import UsageError, kind_of
from autogrow.export.prepared_network import PreparedNetwork
from autogrow.export.saved_network import load_network
from autogrow.export.shrink_goal import Goal
from autogrow.export.shrink_source import HOLD_OUT, ShrinkSource
from autogrow.export.shrinking import ShrinkOptions, ShrinkResult, shrink_network
from autogrow.export.trunk import load_trunk
from autogrow.inputs import DataLike, open_data, resolve_device, training_settings
from autogrow.keywords import checks_types, refuses_unknown
from autogrow.models.building import given_model
from autogrow.paths import resolved, shown
from autogrow.policy.execution import Execution
from autogrow.policy.records import Sample
from autogrow.policy.shrink_records import ShrinkStep, Target
from autogrow.policy.shrinking import Shrinking
from autogrow.policy.training_settings import TrainingSettings
from autogrow.reading.fields import parse_bytes
from autogrow.training.ending import Signal


@refuses_unknown()
@checks_types("network", "dataset", "holdout")
def shrink(
    network: nn.Module | str | Path,
    dataset: DataLike | None,
    out: str | Path,
    *,
    to_flops: float | None = None,
    to_parameters: float | None = None,
    to_bytes: str | float | None = None,
    to_latency_ms: float | None = None,
    to_nonzero: float | None = None,
    keep: float | None = None,
    family: Sequence[float] = (),
    shrinking: Shrinking = Shrinking(),
    holdout: DataLike | None = None,
    held_out_validation: bool | None = None,
    training: TrainingSettings | None = None,
    model: str | Callable[..., Any] | None = None,
    seed: int = 0,
    data_dir: str | Path | None = None,
    task: str | None = None,
    layout: Layout | None = None,
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    resume: bool = False,
    on_step: Callable[[ShrinkStep], None] | None = None,
    on_sample: Callable[[Sample], Signal] | None = None,
    interrupted: Callable[[], bool] | None = None,
) -> ShrinkResult | None:
    """Remove units of a trained network until it is small enough, and train it on; the test split is read once.

    Give exactly one of `to_flops`, `to_parameters`, `to_bytes`, `to_latency_ms`, `to_nonzero`, `keep` and `family`.

    Args:
        network: A folder that `train` or `shrink` has saved, or a module that takes inputs standardized by the mean
            and deviation of its training examples; it is left as it is. Where `train` has kept its trunk, that is what
            a size and a family begin with; what they are compared with is the network.
        dataset: What it was trained on; None: what its folder says.
        out: A new folder, for the network and the record of every step.
        to_flops: Of a forward pass: up to 1 a share of what the network takes, above that the number itself.
        to_parameters: As `to_flops`.
        to_bytes: Of all weights: as `to_flops`, or a text such as "300K".
        to_latency_ms: Milliseconds of a forward pass of 64 examples with all threads, measured here.
        to_nonzero: Parameters that are not zero, as `to_flops`; where weights go, by `Shrinking(remove="weights")`.
        keep: As small as it goes while validation becomes worse by at most this: by its score, or by its loss where
            the task is judged by that.
        family: Shares of the FLOPs (of parameters that are not zero where weights go), from large to small: a network
            of each, pruned off one trunk.
        shrinking: What goes first (units, blocks, weights), in how many cycles, and how it recovers.
        holdout: Examples that the network has not learnt from, where it has learnt from its validation examples.
        held_out_validation: Of a module: whether it has not learnt from the validation examples of `dataset`.
        training: Of a module: how it was trained, which its recovery follows.
        model: The factory of a network that is not built in, see `load`.
        seed: Of the order of batches, and of scores that draw something.
        data_dir, task, layout: As `train` takes them.
        device: "auto" (a GPU where there is one), "cpu" or "cuda".
        precision: Of forward passes and gradients.
        resume: Go on with a run in `out` that was interrupted or killed.
        on_step: Told of the network before, and of every step.
        on_sample: Called with each measurement of a recovery; says whether it goes on.
        interrupted: Asked between steps of training whether to save and end.

    Returns:
        The networks and the way to them; None where `interrupted` said to end.

    Raises:
        AutogrowError: With one line for anything that a user can mend: `UsageError`, `DataError`, `NetworkError` (a
            size that cannot be reached), `RunFolderError` (of `out`), `TrainingDivergedError`.
    """
    goal = Goal(_size(to_flops, to_parameters, to_bytes, to_latency_ms, to_nonzero), keep, tuple(family))
    if not isinstance(network, nn.Module | str | Path):
        raise UsageError(f"network is {kind_of(network)}: give the folder that it is saved in, or an nn.Module")
    if isinstance(network, PreparedNetwork):
        raise UsageError("network has its preprocessing in it: give the folder that it was loaded from, or its network")
    saved = None if isinstance(network, nn.Module) else load_network(resolved(network), model)
    opened = open_data(dataset, data_dir, task, layout, saved.config if saved is not None else None)
    if saved is not None:
        assert not isinstance(network, nn.Module)
        for name, value in (("held_out_validation", held_out_validation), ("training", training)):
            if value is not None:
                raise UsageError(f"{name} is for a module: {shown(resolved(network))} says it itself; leave it out")
        folder = resolved(network)
        source = ShrinkSource.of_saved(saved, folder, opened, load_trunk(folder, saved.config, model))
    else:
        assert isinstance(network, nn.Module)
        if held_out_validation is None:
            raise UsageError(
                "say with held_out_validation whether the module has learnt from the validation examples: only "
                f"where it has not can it be judged by them; otherwise {HOLD_OUT.partition(', or ')[2]}"
            )
        settings = training or training_settings(opened, None)
        spec = given_model(network, opened.input_shape, opened.num_outputs, None)
        source = ShrinkSource.of_module(network, spec, opened, settings, held_out=held_out_validation)
    return shrink_network(
        source,
        opened,
        goal,
        shrinking,
        resolved(out),
        holdout=None if holdout is None else open_data(holdout, data_dir, task, layout),
        options=ShrinkOptions(
            seed=seed,
            device=resolve_device(device),
            execution=Execution(precision=precision),
            resume=resume,
            on_step=on_step,
            on_sample=on_sample,
            interrupted=interrupted,
        ),
    )


def _size(
    flops: float | None,
    parameters: float | None,
    num_bytes: str | float | None,
    latency_ms: float | None,
    nonzero: float | None,
) -> Target | None:
    """The size that was asked for, if one was. Raises `UsageError` for two."""
    given: dict[str, float | None] = {
        "flops": flops,
        "parameters": parameters,
        "bytes": parse_bytes(num_bytes, "to_bytes") if isinstance(num_bytes, str) else num_bytes,
        "latency_ms": latency_ms,
        "nonzero": nonzero,
    }
    wanted = {metric: value for metric, value in given.items() if value is not None}
    if len(wanted) > 1:
        raise UsageError(f"to_{' and to_'.join(wanted)}: give one size at a time")
    return next((Target(metric, value) for metric, value in wanted.items()), None)
