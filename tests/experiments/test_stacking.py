"""Depth by stacking beside every depth throughout: equal compute, rates of their own, test for what is compared."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from autogrow.cli.main import run as cli
from autogrow.data.opening import open_dataset
from autogrow.experiments.conditions import Finished
from autogrow.experiments.records import FailedRun, RunRecord
from autogrow.experiments.reproduction.base import Request
from autogrow.experiments.reproduction.stacking import comparing
from autogrow.experiments.reproduction.stacking.comparing import (
    COMPARED,
    MAIN,
    RATES,
    TRAINING,
    Setting,
    compare,
    design,
)
from autogrow.experiments.reproduction.stacking.contestants import CONTESTANTS, FULL, METHODS, STACKED, STATICS
from autogrow.experiments.reproduction.stacking.findings import findings
from autogrow.experiments.reproduction.stacking.full_parts import (
    BRANCHES,
    RESIDUAL,
    RESIDUAL_CONTESTANTS,
    RESIDUAL_STATICS,
    _as_long,
)
from autogrow.experiments.reproduction.stacking.rates import FIRST_RATE_SEED, best_rates, rates_design
from autogrow.experiments.reproduction.stacking.stacking import Stacking
from autogrow.experiments.results import Results
from autogrow.experiments.running import FinishedRun
from autogrow.models.building import ModelSpec, build_model
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.shape import NetworkShape

pytestmark = pytest.mark.usefixtures("one_thread")
NOTHING: Finished = {}
EXPERIMENT = SimpleNamespace(model=ModelSpec("gpt"))


def of_steps(number):
    return TRAINING.model_copy(update={"steps": number})


HUNDRED = replace(MAIN, training=of_steps(100))
RATE = dict.fromkeys([each.name for each in CONTESTANTS], RATES[1])


def run(condition, seed, *, test_loss=None, validation_loss=None, seconds=1.0, flops=10.0):
    return RunRecord(
        seed=seed, condition=condition, test_score=0.5, test_loss=test_loss, train_score=0.5, train_loss=1.0,
        train_seconds=seconds, training_flops=flops, steps=10, parameters=10, num_events=0, growth_ended_by="",
        shape=NetworkShape({}, {}), validation_score=0.5, validation_loss=validation_loss,
    )  # fmt: skip


def test_every_contestant_has_the_full_depths_compute_but_the_shorter_one():
    plans = {each.name: each.plan(EXPERIMENT, 0, NOTHING) for each in design(RATE, HUNDRED).conditions}
    steps = {name: plan.training.steps for name, plan in plans.items()}
    assert {*steps.values()} == {100, 60}
    assert steps["stacked_shorter"] == 60
    assert {plan.training.length for plan in plans.values()} == {"compute"}
    assert {plan.training.learning_rate for plan in plans.values()} == {RATES[1]}


def test_static_depths_never_grow_and_the_others_end_at_full_depth():
    found = {each.name: each.policy.depth for each in CONTESTANTS}
    for layers in (1, 2, 4, 8):
        depth = found[f"static_{layers}"]
        assert depth.blocks_at_start(8) == depth.max_blocks_of(8) == layers
    ways = {"stacked_once": [4, 8], "stacked_twice": [2, 4, 8], STACKED: [1, 2, 4, 8]}
    for name, way in ways.items():
        depth, blocks = found[name], [found[name].blocks_at_start(8)]
        for _ in depth.trigger.shares:
            blocks.append(blocks[-1] + depth.added_blocks({"blocks": blocks[-1]}, {"blocks": 8})["blocks"])
        assert blocks == way
        assert depth.initialization.kind == "stack"
    assert found["stacked_shorter"] == found[STACKED]


def test_a_rate_is_chosen_by_validation_on_other_seeds_and_none_that_fails():
    chosen = rates_design(CONTESTANTS, of_steps(100), RATES)
    assert (chosen.split, chosen.first_seed) == ("validation", FIRST_RATE_SEED)
    assert {each.plan(EXPERIMENT, 0, NOTHING).training.steps for each in chosen.conditions} == {30}
    assert len({each.title for each in chosen.conditions}) == len(chosen.conditions)
    outcomes = []
    for seed in (FIRST_RATE_SEED, FIRST_RATE_SEED + 1):
        for each in CONTESTANTS:
            for place, rate in enumerate(RATES):
                best = 2 if each.name == FULL else 0
                outcomes.append(run(f"{each.name}@{rate:g}", seed, validation_loss=1.0 + abs(place - best)))
    failed = f"static_1@{RATES[0]:g}"
    outcomes = [each for each in outcomes if (each.condition, each.seed) != (failed, FIRST_RATE_SEED)]
    outcomes.append(FailedRun(FIRST_RATE_SEED, failed, "it diverged"))
    rates = best_rates(CONTESTANTS, RATES, Results.of("text", chosen, outcomes))
    assert rates[FULL] == RATES[2]
    assert rates["static_1"] == RATES[1]
    assert rates["static_2"] == rates[STACKED] == rates["stacked_shorter"] == RATES[0]


def test_findings_compare_with_the_best_depth_and_with_the_full_one():
    means = {"static_1": 1.6, "static_2": 1.5, "static_4": 1.4, FULL: 1.45, "stacked_once": 1.4, "stacked_twice": 1.4}
    outcomes = []
    for seed, noise in enumerate((0.0, 0.01, 0.02)):
        outcomes += [run(name, seed, test_loss=mean + noise) for name, mean in means.items()]
        outcomes.append(run(STACKED, seed, test_loss=1.35 + 1.5 * noise))
        outcomes.append(run("stacked_shorter", seed, test_loss=1.45 + 2 * noise, seconds=0.7, flops=6.0))
    by_best, by_full, shorter = findings(Results.of("text", design(RATE, HUNDRED), outcomes), STATICS)
    ahead = "1-2-4-8 layers is ahead of 4 layers by 0.045 nats per token (standard error 0.00289, 3 paired seeds)."
    assert by_best.endswith(ahead)
    assert "ahead of 8 layers by 0.095" in by_full
    assert "shorter is level with 8 layers: +" in shorter
    assert shorter.endswith("That took 0.60 of the FLOPs and 0.70 of the seconds.")


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_fewer_than_three_seeds_are_never_ahead(num_seeds):
    outcomes = []
    for seed in range(num_seeds):
        outcomes += [run(each.name, seed, test_loss=1.3 if each.name == STACKED else 1.5) for each in CONTESTANTS]
    for said in findings(Results.of("text", design(RATE, HUNDRED), outcomes), STATICS):
        assert "ahead" not in said and "behind" not in said
        assert ("one seed" if num_seeds == 1 else "over 2 seeds, too few to say more") in said


def test_the_seeds_of_the_rates_are_counted_from_the_first():
    experiment = SimpleNamespace(dataset=SimpleNamespace(task="text"))
    record = run(f"{FULL}@0.004", FIRST_RATE_SEED + 1, validation_loss=1.5)
    told = FinishedRun(record, experiment, rates_design(CONTESTANTS, of_steps(100), RATES), 2, trained_now=True)
    assert (told.place, told.title) == (2, "8 layers at 0.004")
    assert told.reached == "validation loss 1.50 nats per token"


def test_findings_of_nothing_say_so():
    outcomes = [FailedRun(0, each.name, "it diverged") for each in CONTESTANTS]
    assert findings(Results.of("text", design(RATE, HUNDRED), outcomes), STATICS) == (
        "Too many runs failed: nothing is compared.",
    )


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The whole of it with two contestants of two layers, two rates and a few steps on a page of text."""
    (tmp_path / "text.txt").write_text("Every network starts small, and some of them stay so. " * 25)
    few = tuple(each for each in CONTESTANTS if each.name in (FULL, STACKED))
    monkeypatch.setattr(comparing, "RATE_SEEDS", 1)
    trained = []
    request = Request(
        1, tmp_path / "out", data_dir=tmp_path, on_run=lambda told: trained.append(told.outcome.condition)
    )
    setting = Setting(
        f"{tmp_path / 'text.txt'}?context=16", ModelSpec("gpt", {"layers": 2, "width": 8}), of_steps(27), num_samples=4
    )
    return Stacking(setting=setting, contestants=few, rates=(1e-4, 8e-3)), request, trained


@pytest.mark.slow
def test_rates_are_chosen_first_and_what_is_compared_has_them(small):
    reproduction, request, trained = small
    report = reproduction.run(request)
    rates = [f"{name}@{rate}" for name in (FULL, STACKED) for rate in ("0.0001", "0.008")]
    assert trained == [*rates, FULL, STACKED]
    tried = json.loads((request.out / "rates" / "reproduce.json").read_text())["runs"]
    losses = {run["condition"]: run["validation_loss"] for run in tried}
    content = json.loads((request.out / "compared" / "reproduce.json").read_text())
    for name in (FULL, STACKED):
        best = min((1e-4, 8e-3), key=lambda rate: losses[f"{name}@{rate:g}"])
        assert content["rates"][name] == best == 8e-3
    row = dict(zip((each.title for each in report.tables[0].columns), report.tables[0].rows[0], strict=True))
    assert row["chosen"] == "0.008"
    assert float(row["at 0.008"]) == pytest.approx(losses[f"{FULL}@0.008"], rel=5e-3)
    assert (request.out / "table.md").read_text().count("Learning rates") == 1


@pytest.mark.slow
def test_runs_of_an_earlier_part_count_where_experiment_and_recipe_are_the_same(small):
    reproduction, request, _ = small
    reproduction.run(request)
    setting, contestants = reproduction.setting, reproduction.contestants
    dataset = open_dataset(setting.dataset, request.data_dir)

    def trained_by(name, setting, rates):
        trained = []
        told = replace(request, on_run=lambda run: trained.append(run.outcome.condition) if run.trained_now else None)
        assert (
            len(compare(setting, dataset, told, name, design(rates, setting, contestants), earlier=COMPARED).runs) == 2
        )
        return trained

    same = dict.fromkeys((FULL, STACKED), 8e-3)
    assert trained_by("same", setting, same) == []
    assert trained_by("another rate", setting, same | {FULL: 1e-4}) == [FULL]
    assert trained_by("longer", replace(setting, training=of_steps(28)), same) == [FULL, STACKED]
    records = [request.out / name / "runs" / f"0-{FULL}.json" for name in (COMPARED, "same", "another rate")]
    main, taken, trained = (path.read_bytes() for path in records)
    assert main == taken != trained


def test_branches_jump_when_the_long_run_does_and_not_while_the_rate_decays():
    grown = next(each for each in CONTESTANTS if each.name == STACKED)
    half = grown.branched(0.5, 0.2)
    assert (half.name, half.compute, half.rate_of) == (f"{STACKED}@0.5", 0.5, STACKED)
    assert half.policy.depth.trigger.shares == pytest.approx((0.15, 0.4))  # of half of the compute: 7.5 and 20 % of all
    for share in BRANCHES:
        shares = grown.branched(share, 0.2).policy.depth.trigger.shares
        assert [each * share for each in shares] == pytest.approx([s for s in (0.075, 0.2, 0.5) if s < 0.8 * share])


def test_what_is_as_long_gets_the_steps_of_the_grown_runs_seconds():
    full = next(each for each in STATICS if each.name == FULL)
    condition = _as_long(full, RATES[0], of_steps(100))
    assert condition.needs == (STACKED, FULL)
    plan = condition.plan(EXPERIMENT, 0, {STACKED: run(STACKED, 0, seconds=3.0), FULL: run(FULL, 0, seconds=4.0)})
    assert (plan.training.steps, plan.training.learning_rate) == (75, RATES[0])
    assert plan.policy == full.policy


def test_other_methods_differ_in_how_blocks_begin_alone():
    default = next(each for each in CONTESTANTS if each.name == STACKED).policy.depth
    for each in METHODS:
        depth = each.policy.depth
        assert depth.initialization.kind == each.name != default.initialization.kind
        assert depth.model_copy(update={"initialization": default.initialization}) == default


@pytest.mark.slow
def test_residual_networks_of_every_contestant_end_at_their_depth():
    module = build_model(RESIDUAL.model, (3, 32, 32), 10, seed=0)
    full = {stage.name: stage.num_blocks for stage in ExpandableNetwork(module, torch.zeros(2, 3, 32, 32)).stages}
    assert set(full.values()) == {4} and len(full) == 3
    for each in RESIDUAL_CONTESTANTS:
        depth = each.policy.depth
        ends = 4 if each not in RESIDUAL_STATICS else int(each.name.partition("_")[2])
        assert {depth.max_blocks_of(number) for number in full.values()} == {ends}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sine"], "--full is not for sine: only stacking has more parts"),
        (["stacking", "--quick"], "exclude each other"),
    ],
)
def test_only_stacking_has_more_parts(arguments, said, capsys):
    assert cli(["reproduce", *arguments, "--full"]) == 2
    assert said in capsys.readouterr().err
