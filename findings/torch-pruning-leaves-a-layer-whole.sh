#!/usr/bin/env bash
# torch-pruning 1.6.1 with PyTorch 2.13.0: with global pruning a larger ratio can give a larger network: a layer that
# would lose all of its units keeps all of them.
#
# A good guess: what is left of a network falls as `pruning_ratio` rises, and of every layer something is left.
# Seen: once all units of a layer are below the threshold, the layer is passed over whole, without a warning. From 0.95
# to 0.99 a network of 131 parameters becomes one of 799 again; at 1.0 nothing is pruned.
#
# What follows: bisection on `pruning_ratio` for a size can miss it. Go through ratios from small to large and stop at
# the first that is small enough.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check torch-pruning==1.6.1 numpy==2.4.6 torch==2.13.0
"$folder/env/bin/python" - <<'PYTHON'
import torch
import torch_pruning
from torch import nn


def pruned(ratio):
    """Widths and number of parameters of the same network after pruning."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).eval()
    importance = torch_pruning.importance.GroupMagnitudeImportance(p=2)
    torch_pruning.pruner.MetaPruner(
        network, torch.randn(2, 20), importance=importance, global_pruning=True, pruning_ratio=ratio,
        ignored_layers=[network[-1]],
    ).step()
    widths = [layer.out_features for layer in network if isinstance(layer, nn.Linear)]
    return widths, sum(parameter.numel() for parameter in network.parameters())


found = {ratio: pruned(ratio) for ratio in (0.0, 0.5, 0.9, 0.95, 0.99, 1.0)}
for ratio, (widths, parameters) in found.items():
    print(f"pruning_ratio {ratio}: widths {widths}, {parameters} parameters")
assert found[0.99][0][1] == 64 and found[0.95][1] < found[0.99][1], "this has changed"
assert found[1.0] == found[0.0], "this has changed"
PYTHON
