"""Units are scored, and removed as their scores say, in small modules shaped like published architectures."""

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from autogrow.network import ExpandableNetwork
from autogrow.network.shrinking.request import Batch
from autogrow.network.shrinking.unit_scores import measure_unit_scores
from autogrow.policy.changes import Narrow
from autogrow.policy.unit_scores import UNIT_SCORES, parse_unit_score
from tests.network.test_patterns import PATTERNS
from tests.network.untouched import untouched

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

NOBODYS = {("binarized weights", "binary[3:5]")}
"""Units that nothing reads: only their own weights say anything."""
OF_RECURRENT_LAYERS = {("lstm", "lstm"), ("gru", "lstm"), ("sums of products", "first")}
"""Units that only `nn.LSTM`, `nn.GRU` or `einsum` reads, and that no layer returns alone."""
READ_IN_PARTS = {
    ("lstm", "stem.2"),
    ("gru", "stem.2"),
    ("layers of several maps", "stem"),
    ("layers of several maps", "low"),
    ("scripted block", "second"),
}
"""Units with a reader that is not seen, so that what it computes is unknown; their activations are seen elsewhere."""
READ_WITHOUT_GRADIENT = {("own backward pass", "stem")}
"""Units that are read, and added to, inside of a function that brings a gradient of its own."""
TOLD_APART = {("layers of several maps", "octave")}
"""Units that code tells apart by their places."""


def expected_to_read(pattern, group, score):
    if (pattern, group) in NOBODYS:
        return score in ("magnitude", "random")
    if (pattern, group) in OF_RECURRENT_LAYERS:
        return UNIT_SCORES[score].takes == "weights" or score == "sensitivity"
    if (pattern, group) in READ_WITHOUT_GRADIENT:
        return score not in ("optimal_brain_damage", "fisher", "taylor")
    return (pattern, group) not in READ_IN_PARTS or not score.startswith("optimal_brain")


def loss_on(batch):
    """Of outputs in any structure, each entry with another weight."""

    def loss(module):
        outputs = [each for each in tree_leaves(module(batch)) if isinstance(each, Tensor) and each.is_floating_point()]
        return sum((each * torch.linspace(-1, 1, each.numel()).reshape(each.shape)).square().mean() for each in outputs)

    return loss


@pytest.fixture(scope="module", params=PATTERNS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def found(name):
    return ExpandableNetwork(PATTERNS[name].module(), PATTERNS[name].batch())


def test_all_scores_read_every_group(found, name):
    batch = PATTERNS[name].batch()
    for score in UNIT_SCORES:
        with untouched(found.module):
            scores = measure_unit_scores(parse_unit_score(score), found, found.widths, [Batch(batch, loss_on(batch))])
        for group, values in scores.items():
            assert len(values) == found.widths[group]
            read = expected_to_read(name, group, score)
            assert values.isfinite().all() if read else values.isnan().all(), (score, group)


def test_a_unit_that_is_removed_changes_the_loss_as_its_sensitivity_says(found, name):
    if any(isinstance(layer, torch.jit.ScriptModule) for layer in found.module.modules()):
        pytest.skip("copies of scripted modules cannot change")
    batch = PATTERNS[name].batch()
    loss, inexact = loss_on(batch), found.inexact_removals()
    assert {(name, group) for group in inexact} == {each for each in TOLD_APART if each[0] == name}
    sensitivity = parse_unit_score("sensitivity")
    scores = measure_unit_scores(sensitivity, found, found.widths, [Batch(batch, loss)])
    with torch.no_grad():
        level = float(loss(found.twin().module.eval()))
        for group, width in found.widths.items():
            if width > 1 and group not in inexact and (name, group) not in NOBODYS:
                twin = found.twin()
                twin.apply([Narrow({group: [0]})])
                change = float(loss(twin.module.eval())) - level
                assert change == pytest.approx(float(scores[group][0]), abs=1e-5 * max(1, abs(level)))


def test_all_groups_at_once_are_made_up_for(found, name):
    if any(isinstance(layer, torch.jit.ScriptModule) for layer in found.module.modules()):
        pytest.skip("copies of scripted modules cannot change")
    batch = PATTERNS[name].batch()
    removed = {group: 1 for group, width in found.widths.items() if width > 1}
    for compensation in ("constants", "least_squares"):
        twin = found.twin()
        twin.apply([Narrow(removed, compensation)], calibration_input=batch)
        twin.module.eval()(batch)
        assert twin.widths == {group: width - (group in removed) for group, width in found.widths.items()}
