"""Every registered method of every kind takes part in a short training: a new one is tested by being registered."""

import json

import pytest

from autogrow.policy.block_initializations import BLOCK_INITIALIZATIONS
from autogrow.policy.depth import DEPTH_GROWTHS
from autogrow.policy.freezing import FREEZINGS
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.initializations import INITIALIZATIONS
from autogrow.policy.layer_selection import LAYER_SELECTIONS
from autogrow.policy.records import GrowthEvent, Sample
from autogrow.policy.triggers import TRIGGERS
from autogrow.training.records import TrialFolder
from tests.training.runs import MLP, RESNET, STAGED, settings, trainer

pytestmark = pytest.mark.usefixtures("one_thread")

SOON = {"max_wait": 2, "window": 1, "patience": 1, "cooldown": 0, "every": 2, "steps": 1, "candidates": 3}
"""Settings that any method may have, so that something happens within six samples."""


def quick(part):
    """The method with what it has of these settings, as far as its limits allow."""
    fields = {name: value for name, value in SOON.items() if name in part.model_fields}
    if part.kind == "slope":
        fields["window"] = 3
    return {"kind": part.kind, **fields}


def train(tmp_path, network, **fields):
    """A run of six samples that grows after every second unless the policy says otherwise."""
    length = "compute" if fields.get("trigger", {}).get("kind") == "compute_shares" else "epochs"
    soon = {"kind": "schedule", "every": 2}
    the_policy = GrowthPolicy.from_dict({"initial_fraction": 0.25, "chunk_fraction": 0.25, "trigger": soon, **fields})
    run = trainer(
        the_policy=the_policy, the_settings=settings(epochs=1, length=length), folder=TrialFolder(tmp_path), **network
    )
    outcome = run.run()
    assert (outcome.steps == 6) == (length == "epochs") and outcome.validation is not None
    check_records(run, tmp_path)
    return run


def check_records(run, tmp_path):
    assert run.events
    folder = TrialFolder(tmp_path)
    assert folder.events() == run.events and folder.samples() == run.samples
    for kind, records in ((GrowthEvent, run.events), (Sample, run.samples)):
        for record in records:
            assert kind.from_dict(json.loads(json.dumps(record.to_dict(), allow_nan=False))) == record
    for event in run.events:
        assert event.parameters_after > event.parameters_before and event.flops_after > event.flops_before
        assert event.trigger_reason and event.seconds > 0
        assert event.gradient_ratio is None or 0 <= event.gradient_ratio <= 10
    assert run.events[-1].widths == run.network.widths


@pytest.mark.slow
@pytest.mark.parametrize("name", list(LAYER_SELECTIONS))
def test_layer_selection(name, tmp_path):
    run = train(tmp_path, RESNET, layer_selection=quick(LAYER_SELECTIONS[name]))
    measured = [set(event.statistics) for event in run.events]
    if LAYER_SELECTIONS[name].statistic:
        assert all(set(event.added_units) <= known for event, known in zip(run.events, measured, strict=True))
    else:
        assert measured == [set()] * len(measured)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(INITIALIZATIONS))
@pytest.mark.parametrize("network", [MLP, RESNET], ids=["mlp", "resnet"])
def test_initialization(name, network, tmp_path):
    run = train(tmp_path, network, initialization=name)
    changes = [event.largest_output_change for event in run.events]
    if INITIALIZATIONS[name].keeps_outputs:
        assert max(changes) < 1e-4
    else:
        assert min(changes) > 1e-4
    assert all(event.gradient_ratio is not None for event in run.events)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(FREEZINGS))
def test_freezing(name, tmp_path):
    run = train(tmp_path, MLP, freeze=name)
    is_holding = run.network.attach(run.optimizer).first_trained_cohort > 0
    assert is_holding == (name != "none")


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TRIGGERS))
def test_trigger(name, tmp_path):
    run = train(tmp_path, MLP, trigger=quick(TRIGGERS[name]))
    assert len(run.events) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in DEPTH_GROWTHS if name != "none"])
@pytest.mark.parametrize("initialization", list(BLOCK_INITIALIZATIONS))
def test_depth_growth(name, initialization, tmp_path):
    depth = {"kind": name, "initial_fraction": 0.5, "initialization": initialization, "trigger": quick(TRIGGERS["gap"])}
    run = train(tmp_path, STAGED, depth=depth)
    deeper = [event for event in run.events if event.added_blocks]
    assert deeper and len(deeper) < len(run.events)
    for event in deeper:
        assert event.added_units == {} and event.blocks.keys() == run.network.blocks.keys()
        assert (event.largest_output_change < 1e-6) == BLOCK_INITIALIZATIONS[initialization].keeps_outputs
