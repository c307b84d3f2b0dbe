"""A family of sizes off one trunk against networks of the same sizes that are trained alone, paired seeds.

``python -m tests.benchmarks.shrink_family DATA [--seeds 5] [--conditions family,taught]``

Alone: each size from its first step, for all steps, the rate constant and then falling over the last fifth. Family: as
``autogrow train --keep-trunk`` and ``autogrow shrink --family`` make it: the full size is trained like the one alone,
and is the largest member; smaller ones are pruned off what it was before its rate fell, and each trains on at the
constant rate, then with a falling one. Taught: the same, and the largest member teaches half of the loss of all others.
Everything counts, all training FLOPs of both sides. Sizes are those of the network with all, 1/2, 1/4, 1/8 of the units
in each group that can change; a member has at most the FLOPs of its size. What an earlier call has left in results/ is
not trained again.

DATA: `mnist` is an `mlp` of two layers of 128 units, `mnist-plain` one without batch norm, `stdlib` a `gpt` of width 64
on 1 MiB of Python's own source.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from autogrow.data.opening import open_dataset
from autogrow.experiments.statistics import paired_difference, spread
from autogrow.export.retraining import train_policy
from autogrow.export.saved_network import load_network
from autogrow.export.shrink_goal import Goal
from autogrow.export.shrink_source import ShrinkSource
from autogrow.export.shrinking import ShrinkOptions, shrink_network
from autogrow.export.trunk import load_trunk
from autogrow.models.building import ModelSpec
from autogrow.network.measuring.footprint import footprint
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.recovery import Recovery
from autogrow.policy.shrinking import Shrinking
from autogrow.policy.training_settings import TEXT_RECIPE, TrainingSettings
from autogrow.policy.unit_removal import RemovalOrder
from autogrow.policy.unit_scores import OptimalBrainSurgeon
from autogrow.study.settings import SPLIT_SEED, versions
from autogrow.training.assembly import assemble, fresh_network
from autogrow.training.example_input import example_of
from autogrow.training.training_data import TrainingData
from tests.benchmarks.setting import data_dir_of_user

CPU = torch.device("cpu")
FALL = 0.2
"""Share of the steps over which the rate falls."""
FRACTIONS = (1.0, 0.5, 0.25, 0.125)
LENGTH = 1.24
"""What a member trains, in quarters of the full network's steps: as much as 0.7 of the FLOPs leave it on MNIST."""
_PRUNED = Shrinking(
    score=OptimalBrainSurgeon(), order=RemovalOrder(budget="per_group"), recovery=Recovery(length_share=LENGTH)
)
SHRINKING = {
    "family": _PRUNED,
    "taught": _PRUNED.model_copy(update={"recovery": Recovery(length_share=LENGTH, distillation=0.5)}),
}


class Subject:
    """What is trained: data, the full network, and the sizes of the family."""

    def __init__(self, name: str) -> None:
        folder = data_dir_of_user()
        self.name = name
        if name.startswith("mnist"):
            self.dataset, self.steps = open_dataset("mnist", folder), 1500
            self.base = TrainingSettings(optimizer="adamw", learning_rate=2e-3, batch_size=128, weight_decay=0.01)
            self.spec = ModelSpec("mlp", {"hidden": (128, 128), "batch_norm": name == "mnist"})
        else:
            self.dataset, self.steps = open_dataset(f"{name}?context=64&mebibytes=1", folder), 1000
            recipe = {**TEXT_RECIPE, "length": "epochs"}
            self.base = TrainingSettings(learning_rate=4e-3, batch_size=16, warmup_steps=50, **recipe)
            self.spec = ModelSpec("gpt", {"width": 64, "layers": 2, "heads": 8})
        own = self.base.model_dump()
        own.update(steps=self.steps, learning_rate_schedule="constant_then_decay", decay_fraction=FALL)
        self.settings = TrainingSettings(**own)
        train, validation = self.dataset.split(seed=SPLIT_SEED)
        self.data = TrainingData.of(self.dataset, train, validation)

    def alone(self, seed: int) -> Iterator[dict[str, float]]:
        """Every size, trained by itself: validation loss and score, training FLOPs, FLOPs of a forward pass."""
        for fraction in FRACTIONS:
            module = fresh_network(self.spec, self.dataset, seed)
            policy = GrowthPolicy(initial_fraction=fraction, max_fraction=fraction)
            outcome = assemble(module, self.dataset, self.data, policy, self.settings, seed=seed, device=CPU).run()
            assert outcome.validation is not None
            yield {
                "loss": outcome.validation.loss,
                "score": outcome.validation.score,
                "training_flops": outcome.training_flops,
                "flops": footprint(module, example_of(self.dataset, CPU)).flops,
            }

    def family(self, seed: int, shares: tuple[float, ...], shrinking: Shrinking) -> list[dict[str, float]]:
        """The network that is trained with its trunk, and one of each share of its FLOPs; the same numbers."""
        with tempfile.TemporaryDirectory() as place:
            model, out = Path(place) / "model", Path(place) / "family"
            trained = train_policy(
                self.spec,
                self.dataset,
                GrowthPolicy(initial_fraction=1.0),
                self.settings,
                seed=seed,
                hold_out_validation=True,
                keep_trunk=True,
                reads_test=False,
                out=model,
            )
            saved = load_network(model)
            source = ShrinkSource.of_saved(saved, model, self.dataset, load_trunk(model, saved.config))
            options = ShrinkOptions(seed=seed, reads_test=False)
            result = shrink_network(source, self.dataset, Goal(family=shares), shrinking, out, options=options)
        assert trained is not None and result is not None
        used = {step.name: step.training_flops for step in result.steps}
        used["before"] = trained.training_flops
        return [
            {
                "loss": step.loss,
                "score": step.score,
                "training_flops": used[step.name] + used.get(f"trunk of {step.name}", 0.0),
                "flops": step.footprint.flops,
            }
            for step in (result.steps[0], *(network.step for network in result.networks))
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["mnist", "mnist-plain", "stdlib"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--conditions", default="family", help="beside alone: family, taught, or family,taught")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    options = parser.parse_args()
    subject, path = Subject(options.data), options.out / f"shrink-family-{options.data}.json"
    content = json.loads(path.read_text()) if path.exists() else {"runs": {}}
    runs: dict[str, list[list[dict[str, float]]]] = content["runs"]
    for seed in range(options.seeds):
        for name in ("alone", *options.conditions.split(",")):
            found = runs.setdefault(name, [])
            if len(found) > seed:
                continue  # of an earlier call
            if name == "alone":
                found.append(list(subject.alone(seed)))
            else:
                sizes = [run["flops"] for run in runs["alone"][seed]]
                shares = tuple(size / sizes[0] for size in sizes[1:])
                found.append(subject.family(seed, shares, SHRINKING[name]))
            path.write_text(json.dumps({"versions": versions(), "steps": subject.steps, "runs": runs}, indent=1) + "\n")
            print(f"seed {seed}: {name} done", flush=True)
    print("\n".join(lines(runs)))


def lines(runs: dict[str, list[list[dict[str, float]]]]) -> Iterator[str]:
    """The losses of every size, differences from training alone, and the FLOPs of all sizes together."""
    others = [name for name in SHRINKING if runs.get(name)]
    alone = runs["alone"]
    for place, fraction in enumerate(FRACTIONS):
        of_size = {name: [run[place]["loss"] for run in each] for name, each in runs.items()}
        parts = [f"{fraction:g} of the units: alone {spread(of_size['alone']).mean:.4f}"]
        for name in others:
            difference = paired_difference(of_size[name], of_size["alone"][: len(of_size[name])])
            parts.append(f"{name} {difference.mean:+.4f} ({difference.standard_error or 0:.4f})")
        yield "; ".join(parts)
    for name in others:
        share = flops_of(runs[name]) / flops_of(alone[: len(runs[name])])
        yield f"training FLOPs of the {name}: {share:.2f} of all trained alone ({len(runs[name])} seeds)"


def flops_of(runs: list[list[dict[str, float]]]) -> float:
    """Of training, all sizes and seeds."""
    return sum(size["training_flops"] for run in runs for size in run)


if __name__ == "__main__":
    main()
