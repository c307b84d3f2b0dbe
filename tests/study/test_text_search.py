"""What a search of text looks through, and what it puts beside that."""

import pytest
import torch
from torch import nn

from autogrow.errors import PolicyError, UsageError
from autogrow.policy.presets import DEFAULT, STATIC, control_policy, default_depth_policy, default_policy
from autogrow.search_plans import plan_new_search

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {"model": "gpt", "model_options": {"layers": 2, "width": 8}}


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "fable.txt"
    path.write_text("The hare was once boasting of her speed before the other animals. " * 300)
    return path


@pytest.mark.slow
def test_text_is_searched_in_depth_by_compute_unless_another_space_is_given(text, tmp_path):
    plan = plan_new_search(str(text), data_dir=tmp_path, **SMALL)
    found = plan.settings
    assert "initial_blocks" in found.space["policy"]["depth"] and found.defaults_to_depth
    assert plan.warnings[0] == "space depth: the network has 2 blocks in blocks; --space default searches widths"
    assert found.bytes_per_token == 1.0 and 2 < found.chance_level < 3
    assert found.training.length == "compute" and found.training.learning_rate_schedule == "constant_then_decay"
    in_width = plan_new_search(str(text), data_dir=tmp_path, space="quick", **SMALL).settings
    assert "depth" not in in_width.space["policy"] and not in_width.defaults_to_depth


class NoRows(nn.Module):
    """Reads text, and has no row of blocks."""

    def __init__(self, input_shape, num_outputs):
        super().__init__()
        self.embed, self.hidden = nn.Embedding(num_outputs, 8), nn.Linear(8, 12)
        self.out = nn.Linear(12, num_outputs)

    def forward(self, tokens):
        return self.out(torch.relu(self.hidden(self.embed(tokens))))


def test_a_network_of_text_without_rows_of_blocks_is_searched_in_width(text, tmp_path):
    plan = plan_new_search(str(text), NoRows, data_dir=tmp_path)
    assert "depth" not in plan.settings.space["policy"] and not plan.settings.defaults_to_depth
    assert plan.warnings[0] == (
        "space default, of widths: the network has no row of equal blocks that could get deeper"
    )
    with pytest.raises(UsageError, match="the search space grows depth, and model .* has no row of equal blocks"):
        plan_new_search(str(text), NoRows, space="depth", data_dir=tmp_path)


def test_other_data_are_searched_as_before(tmp_path):
    found = plan_new_search("digits", data_dir=tmp_path).settings
    assert "depth" not in found.space["policy"] and not found.defaults_to_depth
    assert found.training.length == "epochs"


def test_the_default_policy_beside_a_search_in_depth_grows_depth():
    assert control_policy(DEFAULT, 100, in_depth=True) == default_depth_policy()
    assert control_policy(DEFAULT, 100) == default_policy()
    assert control_policy(STATIC, 100, in_depth=True).depth is None
    assert default_depth_policy().needs_compute and not default_policy().needs_compute


def test_an_unknown_space_is_refused(text, tmp_path):
    with pytest.raises(PolicyError, match="unknown search space 'deep'.*did you mean 'depth'"):
        plan_new_search(str(text), data_dir=tmp_path, space="deep", **SMALL)
