"""A family of sizes off one trunk against networks of the same sizes that are trained alone, paired seeds.

``python -m tests.benchmarks.shrink_family DATASET [--seeds 5] [--distillation 0.5]``

Alone: each size from its first step, for all steps, the rate constant and then falling over the last fifth. Family: the
full size at a constant rate for four fifths of the steps, then falling: that is its largest member. From where the fall
began, the trunk loses units (Fisher scores, readers refitted) and trains on at the constant rate for a sixth of the
steps, then a copy's rate falls for another sixth, size by size. Everything counts, all training FLOPs of both sides.
Sizes are those of an `mlp` of two layers, and for text of a `gpt`, with all, 1/2, 1/4, 1/8 of the units in each group;
a member of the family has the FLOPs of its size, with whatever units are left of each group.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch

from autogrow.data.opening import open_dataset
from autogrow.experiments.statistics import paired_difference, spread
from autogrow.models.building import ModelSpec
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.measuring.footprint import footprint
from autogrow.network.running.copying import copied
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.recovery import Recovery
from autogrow.policy.shrink_records import Target
from autogrow.policy.shrinking import Shrinking
from autogrow.policy.training_settings import TEXT_RECIPE, TrainingSettings
from autogrow.study.settings import SPLIT_SEED, versions
from autogrow.training.assembly import assemble, fresh_network
from autogrow.training.example_input import example_of
from autogrow.training.shrinking import Shrinker
from autogrow.training.training_data import TrainingData
from tests.benchmarks.setting import data_dir_of_user

CPU = torch.device("cpu")
FALL = 0.2
"""Share of the steps over which the rate falls."""
PART = 1 / 6
"""Share of the steps that the trunk, and then a member, trains after it has lost units."""
FRACTIONS = (1.0, 0.5, 0.25, 0.125)


class Subject:
    """What is trained: data, the full network, and the sizes of the family."""

    def __init__(self, name: str) -> None:
        folder = data_dir_of_user()
        if name == "mnist":
            self.dataset, self.steps = open_dataset("mnist", folder), 1500
            self.base = TrainingSettings(optimizer="adamw", learning_rate=2e-3, batch_size=128, weight_decay=0.01)
            self.spec = ModelSpec("mlp", {"hidden": (128, 128)})
        else:
            self.dataset, self.steps = open_dataset(f"{name}?context=64", folder), 2000
            recipe = {**TEXT_RECIPE, "length": "epochs"}
            self.base = TrainingSettings(learning_rate=4e-3, batch_size=16, warmup_steps=50, **recipe)
            self.spec = ModelSpec("gpt", {"width": 64, "layers": 2, "heads": 8})
        train, validation = self.dataset.split(seed=SPLIT_SEED)
        self.data = TrainingData.of(self.dataset, train, validation)

    def settings(self, steps: int, fall: float) -> TrainingSettings:
        """So many steps, the last of them with a falling rate."""
        own = self.base.model_dump()
        own.update(steps=steps, learning_rate_schedule="constant_then_decay" if fall else "constant")
        return TrainingSettings(**{**own, "decay_fraction": fall or 1.0})

    def trained(
        self, module: torch.nn.Module, settings: TrainingSettings, seed: int, fraction: float = 1.0
    ) -> tuple[float, float, float]:
        """Train a network with this fraction of its units, in place; validation loss, score, and training FLOPs."""
        policy = GrowthPolicy(initial_fraction=fraction, max_fraction=fraction)
        trainer = assemble(module, self.dataset, self.data, policy, settings, seed=seed, device=CPU)
        outcome = trainer.run()
        assert outcome.validation is not None
        return outcome.validation.loss, outcome.validation.score, outcome.training_flops

    def fresh(self, seed: int) -> torch.nn.Module:
        return fresh_network(self.spec.given_by_caller(), self.dataset, seed)


def alone(subject: Subject, seed: int) -> Iterator[dict[str, float]]:
    for fraction in FRACTIONS:
        module = subject.fresh(seed)
        loss, score, flops = subject.trained(module, subject.settings(subject.steps, FALL), seed, fraction)
        yield {"loss": loss, "score": score, "training_flops": flops, "flops": flops_of(subject, module)}


def family(subject: Subject, seed: int, distillation: float, sizes: list[float]) -> Iterator[dict[str, float]]:
    module = subject.fresh(seed)
    before_fall = round((1 - FALL) * subject.steps)
    *_, trunk_flops = subject.trained(module, subject.settings(before_fall, 0.0), seed)
    largest = copied(module)
    loss, score, flops = subject.trained(largest, subject.settings(subject.steps - before_fall, 1.0), seed)
    yield {
        "loss": loss, "score": score, "training_flops": trunk_flops + flops, "flops": flops_of(subject, largest)
    }  # fmt: skip
    # A recovery is a quarter of what the network was trained for.
    recovery = Recovery(length_share=4 * PART, warmup_share=0.05, distillation=distillation)
    trained_with = subject.settings(subject.steps, FALL)
    network = ExpandableNetwork(module, example_of(subject.dataset, CPU))
    shrinking = Shrinking(recovery=recovery)

    def shrinker_of(of: ExpandableNetwork) -> Shrinker:
        return Shrinker(
            of, subject.data, shrinking, trained_with, teacher=largest if distillation else None, seed=seed, device=CPU
        )

    for size in sizes:
        trunk = shrinker_of(network)
        step = trunk.step("trunk", Target("flops", size), recovery=recovery.model_copy(update={"decay_share": 0.0}))
        member = shrinker_of(network.twin())
        outcome = member.recover(recovery.model_copy(update={"decay_share": 0.95}))
        assert step is not None and outcome is not None
        metrics = member.metrics()
        yield {
            "loss": metrics.loss,
            "score": metrics.score,
            "training_flops": step.training_flops + outcome.training_flops,
            "flops": member.footprint().flops,
        }


def flops_of(subject: Subject, module: torch.nn.Module) -> float:
    """Of a forward pass."""
    return footprint(module, example_of(subject.dataset, CPU)).flops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=["mnist", "stdlib"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--distillation", type=float, default=0.5)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    options = parser.parse_args()
    subject = Subject(options.dataset)
    runs: dict[str, list[list[dict[str, float]]]] = {"alone": [], "family": [], "taught": []}
    for seed in range(options.seeds):
        runs["alone"].append(list(alone(subject, seed)))
        sizes = [run["flops"] for run in runs["alone"][-1][1:]]
        runs["family"].append(list(family(subject, seed, 0.0, sizes)))
        runs["taught"].append(list(family(subject, seed, options.distillation, sizes)))
        content = {"versions": versions(), "steps": subject.steps, "runs": runs}
        path = options.out / f"shrink-family-{options.dataset}.json"
        path.write_text(json.dumps(content, indent=1) + "\n")
        print(f"seed {seed} done", flush=True)
    print("\n".join(lines(runs)))


def lines(runs: dict[str, list[list[dict[str, float]]]]) -> Iterator[str]:
    """The losses of every size, differences from training alone, and the FLOPs of all sizes together."""
    for place, fraction in enumerate(FRACTIONS):
        of_size = {name: [run[place]["loss"] for run in each] for name, each in runs.items()}
        own = spread(of_size["alone"])
        parts = [f"{fraction:g} of the units: alone {own.mean:.4f}"]
        for name in ("family", "taught"):
            difference = paired_difference(of_size[name], of_size["alone"])
            parts.append(f"{name} {difference.mean:+.4f} ({difference.standard_error or 0:.4f})")
        yield "; ".join(parts)
    total = {name: sum(size["training_flops"] for run in each for size in run) for name, each in runs.items()}
    for name in ("family", "taught"):
        yield f"training FLOPs of the {name}: {total[name] / total['alone']:.2f} of all trained alone"


if __name__ == "__main__":
    main()
