#!/usr/bin/env bash
# torch-pruning 1.6.1 with PyTorch 2.13.0: weights that were one parameter are two after pruning, without a word.
#
# A good guess: a head that is tied to the embedding stays tied, or is refused: both have their units pruned alike.
# Seen: each layer gets a new parameter of its own. The values are equal at first, but the two are trained apart from
# then on, and the network has as many parameters more.
#
# What follows: whoever prunes a network with tied weights compares `head.weight is tokens.weight` before and after, and
# ties them again.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check torch-pruning==1.6.1 numpy==2.4.6 torch==2.13.0
"$folder/env/bin/python" - <<'PYTHON'
import torch
import torch_pruning
from torch import nn


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(50, 32)
        self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 32)
        self.head = nn.Linear(32, 50, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens):
        x = self.tokens(tokens)
        return self.head(x + self.down(torch.relu(self.up(x))))


torch.manual_seed(0)
network, tokens = Tied().eval(), torch.randint(50, (2, 8))
assert network.head.weight is network.tokens.weight
importance = torch_pruning.importance.GroupMagnitudeImportance(p=2)
pruner = torch_pruning.pruner.MetaPruner(
    network, tokens, importance=importance, global_pruning=True, pruning_ratio=0.5, ignored_layers=[network.head]
)
pruner.step()
is_one = network.head.weight is network.tokens.weight
are_equal = torch.equal(network.head.weight, network.tokens.weight)
print(f"after pruning to {tuple(network.head.weight.shape)}: one parameter {is_one}, equal values {are_equal}")

optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
nn.functional.cross_entropy(network(tokens).flatten(0, 1), tokens.flatten()).backward()
optimizer.step()
gap = float((network.head.weight - network.tokens.weight).detach().abs().max())
print(f"after one step of training they differ by up to {gap:.2g}")
assert not is_one and are_equal and gap > 1e-4, "this has changed"
PYTHON
