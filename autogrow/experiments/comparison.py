"""``autogrow compare``: a grown network against its controls over paired seeds."""

from collections.abc import Callable

import torch

from autogrow.errors import UsageError
from autogrow.experiments.comparison_findings import content
from autogrow.experiments.conditions import Experiment
from autogrow.experiments.controls import comparison_of
from autogrow.experiments.drawing import score_pictures
from autogrow.experiments.folder import ExperimentFolder, Pages
from autogrow.experiments.results import Results
from autogrow.experiments.running import OnRun, check_num_seeds, design_in, experiment_settings, run_experiment
from autogrow.experiments.tables import markdown_page, results_tables
from autogrow.models.building import build_model
from autogrow.network.expandable import ExpandableNetwork
from autogrow.study.settings import SPLIT_SEED
from autogrow.training.example_input import example_of
from autogrow.training.measuring import TIMED_BATCH
from autogrow.training.output_check import check_outputs
from autogrow.training.size_fitting import FittingSizes
from autogrow.training.training_data import TrainingData

KIND = "compare"


def compare_policy(
    experiment: Experiment,
    num_seeds: int,
    *,
    folder: ExperimentFolder | None = None,
    on_run: OnRun | None = None,
    interrupted: Callable[[], bool] | None = None,
    jobs: int = 1,
    on_start: Callable[[TrainingData], None] | None = None,
) -> Results | None:
    """Train the policy and its controls on every seed; None when `interrupted` said so.

    With `folder`, results are written there, and what is there already is not trained again. More seeds may be asked of
    a finished comparison. `jobs` processes train at a time. `on_start` is told of the data, once nothing speaks against
    starting.

    Raises `UsageError` and others with one line for anything that a user can mend, before anything is written.
    """
    data = _check(experiment, num_seeds)
    design, yardstick = comparison_of(experiment.policy), experiment.yardstick("test")
    if folder is not None:
        design = design_in(folder, experiment, design)
        folder.check(experiment_settings(experiment, design))
    if on_start is not None:
        on_start(data)

    def pages(results: Results, heading: str) -> Pages:
        said = content(results, yardstick)
        table = markdown_page(heading, results_tables(results), said["findings"])
        return Pages(table, score_pictures(results, heading), said)

    return run_experiment(
        experiment, design, num_seeds, folder=folder, on_run=on_run, interrupted=interrupted, jobs=jobs, pages=pages
    )


def _check(experiment: Experiment, num_seeds: int) -> TrainingData:
    """The data as they are split for the search. Raises for anything that stands against training."""
    check_num_seeds(num_seeds)
    if not experiment.policy.grows and experiment.policy.initial_fraction >= 1:
        raise UsageError("the policy grows nothing and starts at full size: there is nothing to compare")
    dataset = experiment.dataset
    if dataset.num_test == 0:
        raise UsageError(f"dataset {dataset.name!r} has no test split to compare on: add x_test and y_test to its file")
    splits = dataset.split(seed=SPLIT_SEED, train_size=experiment.train_size)
    data = TrainingData.of(dataset, *splits, standardizes_targets=experiment.standardizes_targets)
    model = build_model(experiment.model, dataset.input_shape, dataset.num_outputs, 0)
    network = ExpandableNetwork(model, example_of(dataset, torch.device("cpu")))
    check_outputs(network.module, data)
    if not network.groups and experiment.policy.depth is None:
        reasons = "; ".join(f"{group.name}: {group.reason}" for group in network.fixed)
        raise UsageError(f"model {experiment.model.name!r} has no channel group that can grow ({reasons})")
    _check_limits(experiment, network)
    return data


def _check_limits(experiment: Experiment, network: ExpandableNetwork) -> None:
    """Raises `NetworkError` where not even the smallest network is within the policy's limits."""
    if experiment.policy.limits.is_set:
        cpu = torch.device("cpu")
        batch, timed = (
            example_of(experiment.dataset, cpu, size) for size in (experiment.training.batch_size, TIMED_BATCH)
        )
        smallest = {group.name: 1 for group in network.groups}
        FittingSizes(network, experiment.policy, batch, timed).start(smallest)
