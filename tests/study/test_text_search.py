"""What a search of text looks through, and what it puts beside that."""

import pytest

from autogrow.errors import PolicyError
from autogrow.policy.presets import DEFAULT, STATIC, control_policy, default_depth_policy, default_policy
from autogrow.search_plans import plan_new_search

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {"model": "gpt", "model_options": {"layers": 2, "width": 8}}


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "fable.txt"
    path.write_text("The hare was once boasting of her speed before the other animals. " * 300)
    return path


def test_text_is_searched_in_depth_by_compute_unless_another_space_is_given(text, tmp_path):
    found = plan_new_search(str(text), data_dir=tmp_path, **SMALL).settings
    assert "initial_blocks" in found.space["policy"]["depth"] and found.defaults_to_depth
    assert found.training.length == "compute" and found.training.learning_rate_schedule == "constant_then_decay"
    in_width = plan_new_search(str(text), data_dir=tmp_path, space="quick", **SMALL).settings
    assert "depth" not in in_width.space["policy"] and not in_width.defaults_to_depth


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
