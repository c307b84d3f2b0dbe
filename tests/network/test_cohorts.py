"""The record of births: numbers, connections, and how they follow changes."""

import pytest
import torch
from torch import nn

from autogrow.network.optimizer.cohorts import Cohorts
from autogrow.network.resizing.tensor_change import TensorChange
from autogrow.network.structure.layout import NEW


class Recorded:
    """One tensor that changes, with cohort numbers and connections per entry kept beside it as the definition says."""

    def __init__(self, shape, name="weight"):
        self.cohorts = Cohorts()
        self.name = name
        self.tensor = torch.zeros(shape)
        self.numbers = torch.zeros(shape)
        self.connects = torch.zeros(shape)

    def change(self, grows=True, **sources):
        """sources: out=[...] for dimension 0, in_=[...] for dimension 1, dim2=[...] for dimension 2."""
        dims = {"out": 0, "in_": 1, "dim2": 2}
        by_dim = {dims[key]: torch.tensor(source) for key, source in sources.items()}
        change = TensorChange(self.name, ((nn.Module(), "weight"),), self.tensor, self.tensor, by_dim)
        self.cohorts.commit(self.cohorts.prepare([change], grows), grows)
        new = [torch.zeros(1, dtype=torch.bool)] * self.tensor.dim()
        for dim, source in by_dim.items():
            shape = [-1 if other == dim else 1 for other in range(self.tensor.dim())]
            new[dim] = (source == NEW).reshape(shape)
        in_sources = [new[dim] for dim in by_dim]
        any_new = sum(mask.int() for mask in in_sources) > 0
        all_new = sum(mask.int() for mask in in_sources) == max(2, len(in_sources))
        self.numbers = change.carry(self.numbers, self.cohorts.num_events)
        self.connects = change.carry(self.connects, 0.0)
        if self.tensor.dim() > 1:
            self.connects = torch.where(any_new & ~all_new, 1.0, self.connects)
        self.connects = torch.where(any_new & all_new, 0.0, self.connects)
        self.tensor = change.carry(self.tensor, 0.0)

    def check(self):
        assert torch.equal(self.cohorts.of(self.name, self.tensor).float(), self.numbers)
        assert torch.equal(self.cohorts.connections(self.name, self.tensor).float(), self.connects)
        held = self.cohorts.map_of(self.name, self.tensor)
        classes = self.numbers + held.num_cohorts * self.connects
        assert held.classes == set(classes.int().flatten().tolist())
        assert held.cohorts == set(self.numbers.int().flatten().tolist())


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 2, 2), (3, 2, 4)])
class TestNumbersAndConnections:
    def test_rows_and_columns(self, shape):
        recorded = Recorded(shape)
        recorded.check()
        recorded.change(out=[0, 1, 2, NEW, NEW], in_=[0, 1, NEW])
        recorded.check()
        assert recorded.connects.sum() > 0
        recorded.change(out=[0, 1, NEW, 2, 3, 4], in_=[0, NEW, 1, 2])
        recorded.check()

    def test_one_side_after_the_other(self, shape):
        recorded = Recorded(shape)
        recorded.change(out=[0, 1, 2, NEW])
        recorded.check()
        recorded.change(in_=[NEW, 0, 1])
        recorded.check()

    def test_removing_units(self, shape):
        recorded = Recorded(shape)
        recorded.change(out=[0, 1, 2, NEW], in_=[0, 1, NEW])
        recorded.change(grows=False, out=[3, 0], in_=[2, 0, 1])
        recorded.check()
        assert recorded.cohorts.num_events == 1
        recorded.change(grows=False, out=[1])
        recorded.check()

    def test_a_third_event(self, shape):
        recorded = Recorded(shape)
        for _ in range(3):
            rows, columns = recorded.tensor.shape[:2]
            recorded.change(out=[*range(rows), NEW], in_=[*range(columns), NEW])
        recorded.check()
        assert recorded.numbers.unique().tolist() == [0, 1, 2, 3]


def test_a_third_dimension():
    recorded = Recorded((1, 3, 4))
    recorded.change(dim2=[0, 1, 2, 3, NEW])
    recorded.check()
    assert recorded.connects.sum() == 3


def test_vectors_connect_nothing():
    recorded = Recorded((4,), "bias")
    recorded.change(out=[0, NEW, 1, 2, 3])
    recorded.check()
    assert recorded.connects.sum() == 0


def test_whole_new_tensors_belong_to_their_event():
    recorded = Recorded((2, 2))
    recorded.change(out=[0, 1, NEW])
    block = torch.zeros(3, 3)
    recorded.cohorts.commit({}, grows=True)
    recorded.cohorts.add(["block.weight"])
    assert recorded.cohorts.of("block.weight", block).unique().tolist() == [2]
    assert not recorded.cohorts.connections("block.weight", block).any()
    assert recorded.cohorts.is_mixed("block.weight")
    change = TensorChange("block.weight", (), block, block, {0: torch.tensor([0, 1, 2, NEW])})
    recorded.cohorts.commit(recorded.cohorts.prepare([change], grows=True), grows=True)
    grown = torch.zeros(4, 3)
    assert recorded.cohorts.of("block.weight", grown)[:, 0].tolist() == [2, 2, 2, 3]
    assert recorded.cohorts.connections("block.weight", grown)[:, 0].tolist() == [False, False, False, True]


def test_names_can_be_swapped_and_removed():
    recorded = Recorded((2, 2), "layers.1.weight")
    recorded.change(out=[0, 1, NEW])
    cohorts = recorded.cohorts
    cohorts.add(["layers.2.weight"], cohort=0)
    cohorts.rename({"layers.1.weight": "layers.2.weight", "layers.2.weight": "layers.1.weight"})
    assert cohorts.is_mixed("layers.2.weight") and not cohorts.is_mixed("layers.1.weight")
    cohorts.remove(["layers.2.weight"])
    assert not cohorts.is_mixed("layers.2.weight")


def test_a_snapshot_undoes_an_event():
    recorded = Recorded((2, 2))
    recorded.change(out=[0, 1, NEW])
    before, small = recorded.cohorts.state_dict(), recorded.tensor
    restore = recorded.cohorts.snapshot()
    recorded.change(out=[0, 1, 2, NEW])
    recorded.cohorts.add(["other"])
    restore()
    assert recorded.cohorts.num_events == 1
    assert str(recorded.cohorts.state_dict()) == str(before)
    assert recorded.cohorts.of("weight", small).tolist() == [[0, 0], [0, 0], [1, 1]]


def test_the_state_survives_saving(tmp_path):
    recorded = Recorded((2, 2))
    recorded.change(out=[0, NEW, 1], in_=[0, 1, NEW])
    torch.save(recorded.cohorts.state_dict(), tmp_path / "cohorts.pt")
    recorded.cohorts = Cohorts()
    recorded.cohorts.load_state_dict(torch.load(tmp_path / "cohorts.pt", weights_only=True))
    recorded.check()


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 2, 2), (4,)])
@pytest.mark.parametrize("sources", ["out", "in_", "both", "none"])
@pytest.mark.parametrize("entries", [1, 6, 2**16])
def test_blocks_cover_the_tensor(shape, sources, entries, monkeypatch):
    monkeypatch.setattr("autogrow.network.optimizer.cohorts.BLOCK_ENTRIES", entries)
    recorded = Recorded(shape)
    if sources in ("out", "both"):
        recorded.change(out=[0, NEW, NEW, 1, 2, 2])
    if sources in ("in_", "both") and len(shape) > 1:
        recorded.change(in_=[0, NEW, 1, NEW])
    found = recorded.cohorts.map_of("weight", recorded.tensor)
    table = torch.rand(3, 2 * found.num_cohorts)
    assembled = torch.full((3, *recorded.tensor.shape), float("nan"))
    for rows, values in found.blocks(table):
        assert assembled[:, rows].isnan().all()
        assembled[:, rows] = values
    assert torch.equal(assembled, found.spread(table).expand(assembled.shape))


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 2, 2)])
def test_gathering_gives_what_copying_gives(shape):
    """The GPU's way of spreading, on the CPU."""
    recorded = Recorded(shape)
    recorded.change(out=[0, 1, 2, NEW], in_=[0, 1, NEW])
    copying = recorded.cohorts.map_of("weight", recorded.tensor)
    gathering = recorded.cohorts.map_of("weight", recorded.tensor)
    gathering._gathers = True
    table = torch.rand(3, 2 * copying.num_cohorts)
    full = gathering.spread(table)
    assert full.shape == (3, *recorded.tensor.shape)
    assert torch.equal(full, copying.spread(table).expand(full.shape))
