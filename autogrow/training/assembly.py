"""Where a trainer is put together: from a network, data, a policy and training settings. The only place that does so.

Not for what comes before (which network, which examples) or after (what is kept of a run): those are the callers', a
trial of a search, `train` and the experiments.
"""

from collections.abc import Callable

import torch
from torch import nn

from autogrow.data.dataset import Dataset
from autogrow.models.building import ModelSpec, build_model
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.running.copying import copied
from autogrow.network.running.lazy_layers import give_sizes
from autogrow.policy.execution import Execution
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.records import Sample
from autogrow.policy.training_settings import TrainingSettings
from autogrow.training.ending import Signal
from autogrow.training.example_input import example_of
from autogrow.training.forks import ForkStore
from autogrow.training.output_check import check_outputs
from autogrow.training.placebo import Placebo
from autogrow.training.records import TrialFolder
from autogrow.training.trainer import Trainer
from autogrow.training.training_data import TrainingData


def fresh_network(model: ModelSpec | nn.Module, dataset: Dataset, seed: int) -> nn.Module:
    """The network that a run trains, at full width on the CPU.

    Args:
        model: A specification, whose weights are drawn from `seed`; or a module, of which a copy is made.

    Raises `NetworkError` for a network that cannot be built, or whose lazy layers take no sizes from the data.
    """
    if isinstance(model, ModelSpec):
        return build_model(model, dataset.input_shape, dataset.num_outputs, seed)
    module = copied(model)
    give_sizes(module, example_of(dataset, torch.device("cpu")))  # what has none cannot be saved
    return module


def assemble(
    module: nn.Module,
    dataset: Dataset,
    data: TrainingData,
    policy: GrowthPolicy,
    settings: TrainingSettings,
    *,
    seed: int,
    device: torch.device,
    folder: TrialFolder | None = None,
    on_sample: Callable[[Sample], Signal] | None = None,
    interrupted: Callable[[], bool] | None = None,
    forks: ForkStore | None = None,
    execution: Execution = Execution(),
    placebo: Placebo | None = None,
    before_fall: Callable[[Trainer], None] | None = None,
    verifies: bool = True,
    checks_outputs: bool = False,
) -> Trainer:
    """A trainer of `module`, which is moved to `device`, traced, and narrowed to the policy's start.

    Args:
        dataset: What `data` are the splits of.
        verifies: Whether the network, once traced, is tried out; not for one that is known to grow.
        checks_outputs: Whether its outputs are held against task and data; not where a search has done so before.

    The others are those of `Trainer`. Raises `NetworkError` for a network that cannot be traced or trained.
    """
    module = module.to(device)
    network = ExpandableNetwork(module, example_of(dataset, device), verify=verifies)
    if checks_outputs:
        check_outputs(module, data)
    return Trainer(
        network,
        data,
        policy,
        settings,
        seed=seed,
        device=device,
        folder=folder,
        on_sample=on_sample,
        interrupted=interrupted,
        forks=forks,
        execution=execution,
        placebo=placebo,
        before_fall=before_fall,
    )
