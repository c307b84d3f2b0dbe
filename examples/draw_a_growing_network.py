"""Trains one growing network on MNIST (or digits) and draws it: every layer's width over the steps, and the loss below.

    python examples/draw_a_growing_network.py --dataset digits --to growing.svg

The picture in the README was made with ``--dataset mnist``: half a minute on one core. Needs matplotlib.
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np

import autogrow

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402

POLICY = {
    "initial_fraction": 0.25,
    "chunk_fraction": 0.25,
    "trigger": {"kind": "plateau", "window": 4, "patience": 3, "cooldown": 1, "max_wait": 8},
    "layer_selection": {"kind": "gradient_gain", "fraction": 0.5},
    "connection_ramp_steps": 50,
}


def main() -> None:
    options = _options()
    policy = autogrow.GrowthPolicy.from_dict(POLICY)
    model = "convnet" if options.dataset == "mnist" else "mlp"
    result = autogrow.train(
        model,
        options.dataset,
        policy,
        train_size=options.train_size,
        epochs=options.epochs,
        data_dir=options.data_dir,
    )
    draw(result, options.to)


def draw(result: "autogrow.TrainResult", path: Path) -> None:
    """One strip per layer in the order of the data, as high as the layer is wide, units coloured by when they came."""
    steps = [0, *(event.step for event in result.events), result.steps]
    final = result.events[-1].widths
    started = {name: width - sum(e.added_units.get(name, 0) for e in result.events) for name, width in final.items()}
    matplotlib.rcParams.update({"svg.hashsalt": "autogrow", "font.size": 11, "svg.fonttype": "none"})
    figure, axes = pyplot.subplots(
        len(final) + 1, sharex=True, figsize=(8, 5), height_ratios=[*[1] * len(final), 1.8], layout="constrained"
    )
    colours = pyplot.colormaps["viridis"](np.linspace(0.9, 0.1, len(result.events) + 1))
    for axis, (name, width) in zip(axes, final.items(), strict=False):
        layers = [started[name], *(event.added_units.get(name, 0) for event in result.events)]
        below = 0
        for number, units in enumerate(layers):
            if units:
                axis.fill_between([steps[number], result.steps], below, below + units, color=colours[number], lw=0)
                below += units
        axis.set(ylim=(0, width * 1.05), yticks=[], ylabel="")
        layer = type(result.module.get_submodule(name)).__name__
        axis.text(-0.01, 0.5, f"{layer} {name}", transform=axis.transAxes, ha="right", va="center")
        axis.text(1.01, 0.5, f"{started[name]} to {width} units", transform=axis.transAxes, va="center")
        axis.spines[["top", "right", "left"]].set_visible(False)
    losses = axes[-1]
    losses.plot([s.step for s in result.samples], [s.train_loss for s in result.samples], color="black", lw=1.5)
    for event in result.events:
        losses.axvline(event.step, color="0.6", lw=0.8, ls=":")
    losses.set(yscale="log", xlabel="training step", ylabel="train loss", xlim=(0, result.steps))
    losses.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Draw a network while it grows.")
    parser.add_argument("--dataset", choices=("mnist", "digits"), default="digits")
    parser.add_argument("--data-dir", type=Path, default=None)
    parser.add_argument("--train-size", type=int, default=None)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--to", type=Path, default=Path("growing.svg"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
