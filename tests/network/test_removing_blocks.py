"""Removing blocks from anywhere in a stage, and what each block is worth."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from autogrow.errors import NetworkError
from autogrow.network import ExpandableNetwork
from autogrow.network.shape import NetworkShape
from autogrow.network.shrinking.request import Batch
from autogrow.policy.changes import Deepen, Narrow, Shorten, Widen, recorded
from tests.network.networks import batch_of
from tests.network.optimizers import everything, same, train
from tests.network.staged_networks import described, every_network, growing_network
from tests.network.untouched import untouched

pytestmark = pytest.mark.usefixtures("one_thread")


class Block(nn.Module):
    """Writes over what it is given, and returns something else besides; keeps its place and a rate that goes by it."""

    def __init__(self, place):
        super().__init__()
        self.place, self.rate = place, place / 10
        self.up, self.down = nn.Linear(4, 6), nn.Linear(6, 4)

    def forward(self, x):
        branch = self.down(torch.relu(self.up(x.clone())))
        x += branch
        return x, branch


class Row(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.blocks, self.head = (
            nn.Linear(3, 4),
            nn.ModuleList(Block(place) for place in range(4)),
            nn.Linear(4, 2),
        )

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)[0]
        return self.head(x)


def row_of_four():
    torch.manual_seed(0)
    module, batch = Row(), batch_of((5, 3), 4)
    return ExpandableNetwork(module, batch), batch


def without(module, numbers):
    """A plain module whose blocks of these numbers are not there."""
    other = copy.deepcopy(module)
    other.blocks = nn.ModuleList(block for number, block in enumerate(other.blocks) if number not in numbers)
    return other


@pytest.mark.parametrize("gone", [[0], [1], [3], [0, 2], [2, 1, 3], 2])
def test_the_blocks_of_these_numbers_go_and_the_others_move_up(gone):
    growing, batch = row_of_four()
    growing.apply([Narrow({"blocks.3.up": 2})])
    numbers = [2, 3] if gone == 2 else gone
    expected, blocks = without(growing.module, numbers), [*growing.module.blocks]
    growing.apply([Shorten({"blocks": gone})])
    kept = [block for number, block in enumerate(blocks) if number not in numbers]
    assert all(one is other for one, other in zip(growing.module.blocks, kept, strict=True))
    assert torch.equal(growing.module(batch), expected(batch))
    assert [block.place for block in growing.module.blocks] == [*range(len(kept))]
    assert [block.rate for block in growing.module.blocks] == [place / 10 for place in range(len(kept))]
    inner = {f"blocks.{place}.up": block.up.out_features for place, block in enumerate(kept)}
    assert growing.widths == {"stem": 4, **inner}
    assert growing.blocks == {"blocks": len(kept)}
    for group in growing.widths:
        growing.apply([Narrow({group: 1})])  # the records are those of the blocks that stand there
    growing.module(batch)
    growing.apply([Deepen({"blocks": 1}, "copy_last")])
    growing.module(batch)


def test_a_saved_shape_is_that_of_the_blocks_that_stay():
    growing, batch = row_of_four()
    growing.apply([Narrow({"blocks.1.up": 1, "blocks.2.up": 2, "blocks.3.up": 3})])
    growing.apply([Shorten({"blocks": [0, 2]})])
    shape = NetworkShape.from_dict(NetworkShape.of(growing, with_blocks=True).to_dict())
    assert shape.widths == {"stem": 4, "blocks.0.up": 5, "blocks.1.up": 3} and shape.blocks == {"blocks": 2}
    other, _ = row_of_four()
    shape.give_to(other)
    other.module.load_state_dict(growing.module.state_dict())
    assert torch.equal(other.module(batch), growing.module(batch))
    assert described(other.structure) == described(growing.structure)


def test_state_and_ages_move_up_with_their_blocks():
    growing, batch = row_of_four()
    optimizer = torch.optim.Adam(growing.module.parameters(), 0.01)
    train(growing.module, optimizer, batch, 2)
    growing.widen("blocks.3.up", 2, optimizer=optimizer)
    train(growing.module, optimizer, batch, 2)
    moved = growing.module.blocks[3].up.weight
    state, ages = optimizer.state[moved], growing.cohorts.of("blocks.3.up.weight", moved)
    kept = {parameter: copy.deepcopy(optimizer.state[parameter]) for parameter in growing.module.parameters()}
    growing.apply([Shorten({"blocks": [1]})], optimizer)
    assert growing.module.blocks[2].up.weight is moved and optimizer.state[moved] is state
    assert torch.equal(growing.cohorts.of("blocks.2.up.weight", moved), ages) and ages.max() == 1
    assert optimizer.param_groups[0]["params"] == list(growing.module.parameters())
    assert all(same(optimizer.state[parameter], kept[parameter]) for parameter in growing.module.parameters())
    assert set(optimizer.state) == set(growing.module.parameters())
    train(growing.module, optimizer, batch, 1)


def test_training_resumes_bit_exactly_from_what_stays():
    growing, batch = row_of_four()
    optimizer = torch.optim.Adam(growing.module.parameters(), 0.01)
    growing.widen("blocks.2.up", 2, optimizer=optimizer)
    train(growing.module, optimizer, batch, 2)
    growing.apply([Shorten({"blocks": [0]})], optimizer)
    train(growing.module, optimizer, batch, 1)
    shape, saved = NetworkShape.of(growing, with_blocks=True), everything(growing, optimizer)
    train(growing.module, optimizer, batch, 2)
    resumed, _ = row_of_four()
    shape.give_to(resumed)
    resumed.module.load_state_dict(saved["network"])
    resumed.cohorts.load_state_dict(saved["cohorts"])
    other = torch.optim.Adam(resumed.module.parameters(), 0.01)
    other.load_state_dict(saved["optimizer"])
    resumed.attach(other).load_state_dict(saved["control"])
    train(resumed.module, other, batch, 2)
    assert same(resumed.module.state_dict(), growing.module.state_dict())


def test_a_later_failure_puts_blocks_places_and_state_back():
    growing, batch = row_of_four()
    optimizer = torch.optim.Adam(growing.module.parameters(), 0.01)
    growing.attach(optimizer)
    train(growing.module, optimizer, batch, 2)
    before, structure = everything(growing, optimizer), described(growing.structure)
    with untouched(growing.module), pytest.raises(NetworkError, match="unknown channel group"):
        growing.apply([Shorten({"blocks": [0, 2]}), Narrow({"blocks.3.up": 1})], optimizer)
    assert same(everything(growing, optimizer), before) and described(growing.structure) == structure
    assert [(block.place, block.rate) for block in growing.module.blocks] == [(0, 0.0), (1, 0.1), (2, 0.2), (3, 0.3)]


@pytest.mark.parametrize(
    ("network", "removed", "message"),
    [
        ("numbered children", {"1": [3]}, r"cannot remove \[3\] of 3 blocks: give a number from 1 to 2, or the dis"),
        ("numbered children", {"1": [0, 0]}, r"cannot remove \[0, 0\] of 3"),
        ("numbered children", {"1": [0, 1, 2]}, r"cannot remove \[0, 1, 2\] of 3 blocks: .* not all"),
        ("numbered children", {"1": []}, r"cannot remove \[\] of 3"),
        ("numbered children", {"1": 3}, "cannot remove 3 of 3"),
        ("different widths", {"1": [0]}, "blocks '1' and '0' are not alike, so that none can take the other's pl"),
        pytest.param("preact", {"body.stages.1": [0]}, "blocks '1' and '0' are not alike", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_what_cannot_be_removed_is_one_line(network, removed, message):
    growing, _ = growing_network(network)
    with untouched(growing.module), pytest.raises(NetworkError, match=message) as raised:
        growing.apply([Shorten(removed)])
    assert "\n" not in str(raised.value)


def test_events_record_how_many_went():
    assert recorded([Shorten({"one": [0, 2], "two": 1}), Shorten({"one": 1})])["removed_blocks"] == {"one": 3, "two": 1}


# What blocks are worth


def squared(batch):
    return lambda module: module(batch).square().mean()


def test_the_loss_rises_by_what_it_does_without_the_block():
    growing, batch = row_of_four()
    growing.module.train()
    with untouched(growing.module):
        scores = growing.measure_block_scores(
            "loss", [Batch(batch, squared(batch)), Batch(batch[:1], squared(batch[:1]))]
        )
    assert scores.keys() == {"blocks"} and scores["blocks"].dtype == torch.float64
    with torch.no_grad():
        expected = [
            sum(
                float(squared(part)(without(growing.module, [block])) - squared(part)(growing.module))
                for part in (batch, batch[:1])
            )
            / 2
            for block in range(4)
        ]
    assert scores["blocks"].tolist() == pytest.approx(expected, abs=1e-7)


def test_similarity_is_that_of_what_goes_in_and_comes_out():
    growing, batch = row_of_four()
    with untouched(growing.module):
        scores = growing.measure_block_scores("similarity", [Batch(batch, squared(batch))])["blocks"]
    streams = [growing.module.stem(batch)]
    for block in growing.module.blocks:
        streams.append(block(streams[-1].clone())[0])
    expected = [
        1 - float(F.cosine_similarity(one, two, dim=-1).mean().detach())
        for one, two in zip(streams[:-1], streams[1:], strict=True)
    ]
    assert scores.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
@every_network
def test_on_every_network_removing_a_block_does_what_its_score_says(name):
    growing, batch = growing_network(name)
    growing.module.eval()
    loss = squared(batch)
    scores = growing.measure_block_scores("loss", [Batch(batch, loss)])
    with torch.no_grad():
        level = float(loss(growing.module))
        for stage, values in scores.items():
            for block in values.isfinite().nonzero().flatten().tolist():
                twin = growing.twin()
                twin.apply([Shorten({stage: [block]})])
                assert float(loss(twin.module)) - level == pytest.approx(float(values[block]), abs=1e-5)
                twin.apply([Widen(dict.fromkeys(twin.widths, 1)), Narrow(dict.fromkeys(twin.widths, 1))])
                assert float(loss(twin.module)) - level == pytest.approx(float(values[block]), abs=1e-4)


@pytest.mark.parametrize("score", ["loss", "similarity"])
def test_a_block_that_does_nothing_is_worth_nothing(score):
    growing, batch = row_of_four()
    growing.module.blocks[2].down.weight.data.zero_(), growing.module.blocks[2].down.bias.data.zero_()
    scores = growing.measure_block_scores(score, [Batch(batch, squared(batch))])["blocks"]
    assert scores[2] == pytest.approx(0, abs=1e-12) and (scores.abs() > 1e-4).sum() == 3


@pytest.mark.slow
@pytest.mark.parametrize("score", ["loss", "similarity"])
def test_what_cannot_be_removed_has_no_score(score):
    for network, expected in (
        ("preact", {"body.stages.0": [1, 1], "body.stages.1": [0, 1, 1]}),
        ("different widths", {"1": [0, 0, 1]}),
    ):
        growing, batch = growing_network(network)
        scores = growing.measure_block_scores(score, [Batch(batch, squared(batch))])
        assert {name: values.isfinite().int().tolist() for name, values in scores.items()} == expected
    growing.start_shallow({"1": 1})
    assert growing.measure_block_scores(score, [Batch(batch, squared(batch))])["1"].isnan().tolist() == [True]


def test_what_cannot_be_scored_is_one_line():
    growing, batch = row_of_four()
    with pytest.raises(NetworkError, match="unknown block score 'los'.*did you mean 'loss'"):
        growing.measure_block_scores("los", [Batch(batch, squared(batch))])
    with pytest.raises(NetworkError, match="'loss' is measured on examples: give at least one batch"):
        growing.measure_block_scores("loss", [])
    with untouched(growing.module), pytest.raises(NetworkError, match="'loss' cannot be measured: .*mat1 and mat2"):
        growing.measure_block_scores("loss", [Batch(batch_of((9,)), squared(batch_of((9,))))])
