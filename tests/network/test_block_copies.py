"""What a block keeps besides its weights: a copy of it takes that over, or the stage is refused with the reason."""

import pytest
import torch
from torch import nn

import autogrow
from autogrow.errors import NetworkError
from autogrow.policy.limits import SizeLimits

pytestmark = pytest.mark.usefixtures("one_thread")


class Block(nn.Module):
    """A residual block that also keeps what it is given."""

    def __init__(self, width=6, hidden=9, **kept):
        super().__init__()
        self.inner, self.outer = nn.Linear(width, hidden), nn.Linear(hidden, width)
        for name, value in kept.items():
            setattr(self, name, value)

    def forward(self, x):
        return x + self.outer(torch.relu(self.inner(x)))


class Cached(Block):
    """Writes into a cache that the rest of the network hands around, as decoders do with keys and values."""

    cache: dict = {}

    def forward(self, x):
        self.cache[self.layer_idx] = x
        return super().forward(x)


def network(*blocks):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), nn.Sequential(*blocks), nn.Linear(6, 3)), torch.randn(4, 5)


def growing(*blocks):
    return autogrow.ExpandableNetwork(*network(*blocks))


COUNTED = {
    "layer_idx": lambda number: {"layer_idx": number},
    "from one": lambda number: {"number": number + 1},
    "in a later stage": lambda number: {"_global_index": number + 17},
    "in a container": lambda number: {"settings": {"attention": ["window", number]}},
    "in a name": lambda number: {"prefix": f"model.h3.layers.{number}"},
    "in a buffer": lambda number: {"position": nn.Buffer(torch.tensor(number), persistent=False)},
    "deeper": lambda number: {"part": nn.Sequential(Block(layer_id=number))},
}


def numbers_of(block):
    """What a block keeps beside what PyTorch does."""
    kept = {name: value for name, value in vars(block).items() if name not in vars(nn.Module())}
    inner = [numbers_of(part) for part in block.children() if not isinstance(part, nn.Linear)]
    return [kept, {name: int(value) for name, value in block.named_buffers()}, inner]


ALIKE = {
    "a setting": lambda number: {"heads": 4},
    "a flag": lambda number: {"shifted": number == 1},
    "a share": lambda number: {"drop_rate": 0.1 * number},
    "a distance": lambda number: {"dilation": 3**number},
    "a name": lambda number: {"kind": "conv3x3"},
    "a size": lambda number: {"hidden": 9 + number, "features": 9 + number},
}


@pytest.mark.slow
@pytest.mark.parametrize("initialization", ["zero", "interleave"])
@pytest.mark.parametrize("kept", COUNTED.values(), ids=COUNTED)
def test_numbers_that_count_places_follow(kept, initialization):
    network = growing(*(Block(**kept(number)) for number in range(3)))
    network.deepen("1", 2, initialization=initialization)
    expected = [Block(**kept(number)) for number in range(5)]
    assert [numbers_of(block) for block in network.module[1]] == [numbers_of(block) for block in expected]
    network.set_blocks({"1": 2})
    assert [numbers_of(block) for block in network.module[1]] == [numbers_of(block) for block in expected[:2]]


@pytest.mark.slow
@pytest.mark.parametrize("kept", COUNTED.values(), ids=COUNTED)
def test_numbers_are_put_back_where_a_change_fails(kept):
    network = growing(*(Block(**kept(number)) for number in range(3)))
    before = [numbers_of(block) for block in network.module[1]]
    network.limits = SizeLimits(max_parameters=network.num_parameters + 1)
    with pytest.raises(NetworkError, match="would exceed"):
        network.deepen("1", 2, initialization="interleave")
    assert [numbers_of(block) for block in network.module[1]] == before


@pytest.mark.slow
@pytest.mark.parametrize("kept", ALIKE.values(), ids=ALIKE)
def test_other_values_are_no_hindrance(kept):
    network = growing(*(Block(**kept(number)) for number in range(3)))
    assert network.blocks == {"1": 3}
    network.deepen("1")


def test_a_block_does_not_write_into_the_cache_of_another():
    network = growing(*(Cached(layer_idx=number) for number in range(2)))
    for initialization in ("zero", "stack", "interleave"):
        network.deepen("1", 2, initialization=initialization)
    Cached.cache.clear()
    network.module(torch.randn(4, 5))
    assert sorted(Cached.cache) == list(range(8))


@pytest.mark.parametrize("initialization", ["stack", "interleave"])
def test_settings_that_differ_from_place_to_place_stay_with_the_place(initialization):
    def block(number):
        return Block(drop_rate=0.1 * number, part=nn.Dropout(0.1 * number))

    network = growing(*(block(number) for number in range(4)))
    network.set_blocks({"1": 2})
    network.deepen("1", 3, initialization=initialization)
    assert [each.drop_rate for each in network.module[1]] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.3])
    assert [each.part.p for each in network.module[1]] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.3])


@pytest.mark.parametrize("hold", [lambda part: [part], lambda part: {"other": part}, lambda part: (part,)])
def test_a_block_that_keeps_parts_of_others_is_refused(hold):
    """They would be copied along, and the copy would be something that nobody trains."""
    first = Block()
    for part in (first, first.inner.weight):
        with pytest.raises(NetworkError, match=r"its last block '1' keeps parts of others \('kept'\)"):
            growing(first, Block(kept=hold(part))).deepen("1")


def test_a_block_may_keep_its_own_parts():
    own = Block()
    own.penalized = [own.inner.weight]
    own.layers = [own.inner, own.outer]
    network = growing(Block(), own)
    network.deepen("1")
    added = network.module[1][2]
    assert added.penalized[0] is added.inner.weight and added.layers[0] is added.inner


class TestParameters:
    def test_attributes_are_taken_over(self):
        network = growing(Block(), Block())
        for parameter in network.module.parameters():
            parameter.weight_decay = 0.0 if parameter.dim() == 1 else 0.1
        network.deepen("1", 2)
        for block in network.module[1]:
            assert [parameter.weight_decay for parameter in block.parameters()] == [0.1, 0.0, 0.1, 0.0]

    @pytest.mark.parametrize(
        ("hang_on", "reason"),
        [
            (lambda weight: weight.register_hook(torch.zeros_like), "that has hooks on its gradient"),
            (
                lambda weight: weight.register_post_accumulate_grad_hook(print),
                "it has a hook that runs after",
            ),
            (lambda weight: setattr(weight, "mask", torch.ones(9, 6)), "its attribute 'mask' holds a tensor"),
        ],
    )
    def test_what_cannot_be_is_refused_and_nothing_changes(self, hang_on, reason):
        network = growing(Block(), Block())
        assert network.blocks == {"1": 2}
        hang_on(network.module[1][1].inner.weight)
        before = [*network.module.named_parameters()]
        with pytest.raises(NetworkError, match=f"'1.2.inner.weight' cannot be made like .*: {reason}"):
            network.deepen("1")
        assert [*network.module.named_parameters()] == before and network.blocks == {"1": 2}

    def test_images_stay_channels_last(self):
        class Convolution(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner, self.outer = nn.Conv2d(4, 5, 3, padding=1), nn.Conv2d(5, 4, 3, padding=1)

            def forward(self, x):
                return x + self.outer(torch.relu(self.inner(x)))

        module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(Convolution(), Convolution()), nn.Flatten())
        module.append(nn.Linear(64, 2)).to(memory_format=torch.channels_last)
        network = autogrow.ExpandableNetwork(module, torch.randn(2, 3, 6, 6))
        network.deepen("1")
        strides = [[parameter.stride() for parameter in block.parameters()] for block in module[1]]
        assert strides[2] == strides[1] and not module[1][2].inner.weight.is_contiguous()


class TestHooks:
    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["forward_pre", "forward", "full_backward", "full_backward_pre"])
    @pytest.mark.parametrize("is_early", [True, False], ids=["before stages are found", "after"])
    def test_those_of_users_are_refused_and_nothing_changes(self, kind, is_early):
        """A copy would write into the same record as its original, or be missing from it."""
        network = growing(Block(), Block())
        if not is_early:
            assert network.blocks == {"1": 2}
        handle = getattr(network.module[1][1].inner, f"register_{kind}_hook")(lambda *_: None)
        with pytest.raises(NetworkError, match="last block has a hook on 'inner', which new ones would share or lack"):
            network.deepen("1")
        assert len(network.module[1]) == 2
        handle.remove()
        network.add_stages(["1"])
        network.deepen("1")
        assert len(network.module[1]) == 3

    def test_those_on_other_layers_are_no_hindrance(self):
        network = growing(Block(), Block())
        network.module[0].register_forward_hook(lambda *_: None)
        network.module[1][0].register_forward_hook(lambda *_: None)
        network.deepen("1")

    def test_methods_of_the_block_go_with_it(self):
        class Counting(Block):
            def __init__(self):
                super().__init__()
                self.calls = 0
                self.inner.register_forward_hook(self.count)

            def count(self, *_):
                self.calls += 1

        network = growing(Counting(), Counting())
        network.deepen("1")
        for block in network.module[1]:
            block.calls = 0
        network.module(torch.randn(4, 5))
        assert [block.calls for block in network.module[1]] == [1, 1, 1]
