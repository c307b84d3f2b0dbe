"""A run that starts from a sibling's fork is bit for bit the run from scratch; only what is alike is shared."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from autogrow.training import forks
from autogrow.training.checkpoint import load_checkpoint
from autogrow.training.ending import Signal
from autogrow.training.forks import ForkStore
from autogrow.training.records import TrialFolder
from tests.training.runs import (
    CPU,
    RESNET,
    STAGED,
    data,
    differences,
    ending,
    policy,
    settings,
    trained,
    trainer,
    weights,
)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(autouse=True)
def forks_of_short_runs(monkeypatch):
    monkeypatch.setattr(forks, "LEAST_SECONDS", 0.0)


DONOR = policy(trigger={"kind": "schedule", "every": 5}, initialization="split", freeze="old", chunk_fraction=0.5,
               new_unit_lr=0.5, connection_ramp_steps=3, layer_selection="rank")  # fmt: skip
"""Grows after its fifth sample, and unlike any sibling below."""
SHORT = {"epochs": 2}
WATCHING = {"window": 1, "patience": 2, "min_delta": 0.1, "max_wait": 7}


def store(folder, trial=7, **options):
    return ForkStore(folder / "forks", trial, **options)


def files(folder):
    return sorted((folder / "forks").rglob("*.pt"))


def steps(folder):
    return [int(path.parent.name) for path in files(folder)]


CASES = {
    "schedule": {"the_policy": policy(trigger={"kind": "schedule", "every": 8}), "the_settings": settings(**SHORT)},
    "at the same sample": {"the_policy": policy(trigger={"kind": "schedule", "every": 5})},
    "plateau": {"the_policy": policy(trigger={"kind": "plateau", **WATCHING, "cooldown": 3})},
    "slope": {"the_policy": policy(trigger={"kind": "slope", "window": 4, "max_wait": 9})},
    "gap": {"the_policy": policy(trigger={"kind": "gap", **WATCHING, "cooldown": 3})},
    "ramp": {"the_policy": policy(trigger={"kind": "schedule", "every": 6}, connection_ramp_steps=5,
                                  initialization="xavier"),
             "the_settings": settings(optimizer="adamw", weight_decay=0.01, **SHORT)},
    "rates by cohort": {"the_policy": policy(trigger={"kind": "schedule", "every": 6}, new_unit_lr="cohort"),
                        "the_settings": settings(**SHORT)},
    "thaw": {"the_policy": policy(trigger={"kind": "schedule", "every": 7}, initialization="xavier",
                                  freeze={"kind": "thaw", "hold_samples": 1, "release_samples": 2}),
             "the_settings": settings(optimizer="sgd", learning_rate=0.05)},
    "norms": {"the_policy": policy(trigger={"kind": "schedule", "every": 6}, freeze="old",
                                   initialization={"kind": "paired", "variance_rescaling": True}),
              "the_settings": settings(**SHORT), **RESNET},
    "depth": {"the_policy": policy(initial_fraction=0.5, trigger={"kind": "schedule", "every": 9},
                                   depth={"initial_fraction": 0.5, "trigger": {"kind": "schedule", "every": 6}}),
              "donor": policy(initial_fraction=0.5, trigger={"kind": "schedule", "every": 9},
                              depth={"initial_fraction": 0.5, "initialization": "random",
                                     "trigger": {"kind": "schedule", "every": 5}}),
              "the_settings": settings(**SHORT), **STAGED},
    "copies": {"the_policy": policy(initial_fraction=0.5, trigger={"kind": "schedule", "every": 9},
                                    depth={"initial_fraction": 0.5, "initialization": "interleave",
                                           "trigger": {"kind": "schedule", "every": 6}}),
               "donor": policy(initial_fraction=0.5, trigger={"kind": "schedule", "every": 9},
                               depth={"initial_fraction": 0.5, "initialization": "stack",
                                      "trigger": {"kind": "schedule", "every": 5}}),
               "the_settings": settings(**SHORT), **STAGED},
    "compute": {"the_policy": policy(trigger={"kind": "compute_shares", "shares": [0.12, 0.5]}),
                "the_settings": settings(length="compute", learning_rate_schedule="constant_then_decay",
                                         warmup_steps=3, **SHORT)},
    "limits": {"the_policy": policy(trigger={"kind": "schedule", "every": 6}, limits={"max_parameters": 2300}),
               "the_settings": settings(**SHORT)},
    "nothing fits": {"the_policy": policy(trigger={"kind": "schedule", "every": 6}, limits={"max_parameters": 1000}),
                     "the_settings": settings(learning_rate_schedule="constant_then_cosine", **SHORT)},
    "giving up": {"the_policy": policy(trigger={"kind": "schedule", "every": 9}, grow_until=0.3),
                  "the_settings": settings(learning_rate_schedule="constant_then_cosine")},
    "probe and augmentation": {"the_policy": policy(trigger={"kind": "schedule", "every": 6},
                                                    layer_selection={"kind": "probe", "steps": 2, "candidates": 2}),
                               "the_data": data(augmentation="pad_crop_flip"), "the_settings": settings(**SHORT)},
}  # fmt: skip
"""By name: a sibling that grows no sooner than the donor."""


@pytest.mark.parametrize("case", CASES)
def test_a_run_from_a_fork_is_the_run_from_scratch(case, tmp_path):
    options = dict(CASES[case])
    donor_policy = options.pop("donor", DONOR)
    donor = trained(**{**options, "the_policy": donor_policy}, forks=store(tmp_path))
    assert donor.events[0].step == 5
    scratch = trainer(**options)
    expected = ending(scratch)
    forked = trainer(folder=TrialFolder(tmp_path / "forked"), forks=store(tmp_path, 8), **options)
    assert not differences(expected, ending(forked))
    assert (forked.fork.forked_from, forked.fork.forked_at_step) == (7, 5)
    assert (forked.fork.saved_seconds, forked.fork.saved_flops) == (
        donor.samples[4].train_seconds,
        donor.samples[4].training_flops,
    )
    assert forked.samples[:5] == donor.samples[:5]
    assert TrialFolder(tmp_path / "forked").samples() == forked.samples
    assert TrialFolder(tmp_path / "forked").events() == forked.events
    assert forked.growth.ended_by == scratch.growth.ended_by


def test_seconds_and_flops_are_those_of_the_whole_run(tmp_path):
    options = {"the_policy": CASES["schedule"]["the_policy"]}
    whole = trained(**options)
    donor = trained(the_policy=DONOR, forks=store(tmp_path))
    outcome = trainer(forks=store(tmp_path, 8), **options).run()
    assert outcome.training_flops == whole.samples[-1].training_flops
    assert outcome.train_seconds > donor.samples[4].train_seconds
    assert outcome.steps == 24


@pytest.mark.parametrize("trigger", [
    {"kind": "plateau", **WATCHING}, {"kind": "plateau", **WATCHING, "metric": "validation_score"},
    {"kind": "slope", "window": 4, "threshold": 0.9, "patience": 1}, {"kind": "gap", **WATCHING, "gap_weight": 10},
    {"kind": "schedule", "every": 6, "growth": 2},
])  # fmt: skip
@pytest.mark.parametrize("changes", [{}, {"grow_until": 0.15}], ids=["", "given up"])
def test_replayed_triggers_decide_as_they_did(trigger, changes):
    run = trained(the_policy=policy(trigger=trigger, **changes))
    first = run.events[0].sample if run.events else run.growth.ended_step - 1
    fresh = trainer(the_policy=policy(trigger=trigger, **changes))
    acting = [n for n in range(1, len(run.samples)) if fresh.growth.acts(run.samples[:n])]
    assert acting[0] == first + 1


def test_a_sibling_that_grows_sooner_starts_from_an_earlier_fork_or_from_scratch(tmp_path):
    def sibling(every):
        run = trainer(the_policy=policy(trigger={"kind": "schedule", "every": every}), forks=store(tmp_path, every))
        run.checkpoint_if_due = lambda: None  # leaves the fork of its first event alone
        run.run()
        return run.fork and (run.fork.forked_from, run.fork.forked_at_step)

    assert sibling(6) is None
    assert sibling(3) is None
    assert sibling(5) == (3, 3)
    assert sibling(9) == (6, 6)
    assert sibling(6) == (6, 6)
    assert steps(tmp_path) == [3, 5, 6, 9]


def test_forks_are_also_left_on_the_way(tmp_path, monkeypatch):
    """So that a sibling which grows sooner has some: as often as there are checkpoints, but not after growing."""
    monkeypatch.setattr("autogrow.training.trainer.CHECKPOINT_SHARE", float("inf"))
    monkeypatch.setattr("autogrow.training.trainer.SHORTEST_CHECKPOINT_SECONDS", 0.0)
    trained(the_policy=DONOR, forks=store(tmp_path))
    assert steps(tmp_path) == [1, 2, 3, 4, 5]
    options = {"the_policy": policy(trigger={"kind": "schedule", "every": 3})}
    forked = trainer(forks=store(tmp_path), **options)
    assert not differences(ending(trainer(**options)), ending(forked))
    assert forked.fork.forked_at_step == 3


def test_a_static_run_starts_from_forks_and_leaves_none(tmp_path):
    constant = settings(learning_rate_schedule="constant", **SHORT)
    static = {"the_policy": policy(initial_fraction=0.5, max_fraction=0.5), "the_settings": constant}
    trained(**static, forks=store(tmp_path))
    assert not files(tmp_path)
    trained(the_policy=policy(initial_fraction=0.5, trigger={"kind": "schedule", "every": 7}),
            the_settings=static["the_settings"], forks=store(tmp_path))  # fmt: skip
    forked = trainer(**static, forks=store(tmp_path))
    assert not differences(ending(trainer(**static)), ending(forked))
    assert forked.fork.forked_at_step == 7


def test_after_giving_up_nothing_is_left(tmp_path, monkeypatch):
    """The learning rate of `constant_then_cosine` falls from there on."""
    monkeypatch.setattr("autogrow.training.trainer.CHECKPOINT_SHARE", float("inf"))
    monkeypatch.setattr("autogrow.training.trainer.SHORTEST_CHECKPOINT_SECONDS", 0.0)
    options = {"the_settings": settings(learning_rate_schedule="constant_then_cosine")}
    trained(the_policy=policy(grow_until=0.2, trigger={"kind": "schedule", "every": 9}), forks=store(tmp_path),
            **options)  # fmt: skip
    assert steps(tmp_path) == [1, 2, 3, 4, 5]


def start(identity=None, **options):
    run = trainer(**{"the_policy": policy(), "forks": ForkStore(None, 0, identity), **options})
    return run.start_name


@pytest.mark.parametrize("options", [
    {"seed": 1}, {"the_settings": settings(learning_rate=0.002)}, {"the_settings": settings(batch_size=8)},
    {"the_settings": settings(epochs=5)}, {"the_settings": settings(learning_rate_schedule="cosine")},
    {"the_settings": settings(sample_size=8)}, {"the_settings": settings(optimizer="adamw")},
    {"the_policy": policy(initial_fraction=0.5)}, {"the_policy": policy(limits={"max_parameters": 700})},
    {"the_data": data(train_size=80)}, {"the_data": data(validation=False)},
    {"the_data": data(augmentation="pad_crop_flip")}, {"identity": {"data": "other"}}, {"options": {"hidden": (16,)}},
    {"options": {"hidden": (16, 12), "batch_norm": False}},
], ids=" ".join)  # fmt: skip
def test_runs_that_are_not_alike_never_share(options):
    assert start() == start()
    assert start(**options) != start()


def test_threads_make_a_difference():
    """To the order of sums, and so to the last bits."""
    first = start()
    torch.set_num_threads(2)
    try:
        assert start() != first
    finally:
        torch.set_num_threads(1)


def test_dropout_makes_a_difference_though_it_has_no_weights():
    def module(rate):
        torch.manual_seed(0)
        return torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(192, 16), torch.nn.Dropout(rate), torch.nn.Linear(16, 4)
        )

    assert start(module=module(0.1)) != start(module=module(0.2))


@pytest.mark.parametrize("changes", [
    {"initial_fraction": 0.26}, {"chunk_fraction": 0.5}, {"max_fraction": 0.75}, {"trigger": "plateau"},
    {"initialization": "xavier"}, {"freeze": "old"}, {"new_unit_lr": "cohort"}, {"connection_ramp_steps": 9},
    {"optimizer_state": "reset"}, {"min_gain": 0.1}, {"grow_until": 0.5}, {"limits": {"max_parameters": 99_999}},
    {"layer_selection": "random"},
], ids=str)  # fmt: skip
def test_how_to_grow_makes_no_difference_to_the_start(changes):
    """A starting fraction only does by the widths that it is rounded to."""
    assert start(the_policy=policy(**changes)) == start()


def test_constant_then_cosine_is_constant_until_the_network_grows():
    schedules = [settings(learning_rate_schedule=name) for name in ("constant", "constant_then_cosine", "cosine")]
    constant, then_cosine, cosine = (start(the_settings=each) for each in schedules)
    assert constant == then_cosine != cosine
    static = policy(initial_fraction=1.0, max_fraction=1.0)
    constant, then_cosine, cosine = (start(the_settings=each, the_policy=static) for each in schedules)
    assert len({constant, then_cosine, cosine}) == 3


class TestDamage:
    """What cannot be used is passed over with a warning, and replaced."""

    @staticmethod
    def damage(path):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    def test_a_damaged_fork_costs_time_and_not_the_result(self, tmp_path, caplog):
        options = {"the_policy": CASES["schedule"]["the_policy"]}
        trained(the_policy=DONOR, forks=store(tmp_path))
        for path in files(tmp_path):
            self.damage(path)
        run = trainer(forks=store(tmp_path, 8), **options)
        assert not differences(ending(trainer(**options)), ending(run))
        assert run.fork is None
        assert "step-0000000005.pt is damaged" in caplog.text
        assert steps(tmp_path) == [1, 8]

    def test_the_one_before_is_taken(self, tmp_path):
        trained(the_policy=DONOR, forks=store(tmp_path))
        self.damage(files(tmp_path)[-1])
        assert trained(the_policy=DONOR, forks=store(tmp_path)).fork.forked_at_step == 1
        assert trained(the_policy=DONOR, forks=store(tmp_path)).fork.forked_at_step == 5

    def test_a_folder_that_cannot_be_written(self, tmp_path, caplog):
        (tmp_path / "forks").write_text("not a folder")
        run = trained(the_policy=DONOR, forks=store(tmp_path))
        assert run.events
        assert re.search(r"no fork was left at step 5: cannot write .*", caplog.text)


def test_an_own_checkpoint_comes_first(tmp_path):
    folder = TrialFolder(tmp_path / "run")
    cut = trainer(folder=folder, on_sample=lambda sample: Signal.INTERRUPT if sample.step == 3 else Signal.CONTINUE)
    cut.run()
    trained(the_policy=DONOR, forks=store(tmp_path))
    resumed = trainer(folder=folder, forks=store(tmp_path, 8))
    assert not differences(ending(trainer()), ending(resumed))
    assert resumed.fork is None


@pytest.mark.parametrize("cut", [5, 8])
def test_a_run_from_a_fork_can_be_cut_and_knows_where_it_started(cut, tmp_path):
    """Also right at the fork, which it goes on from when it is told to stop."""
    folder, options = TrialFolder(tmp_path / "run"), {"the_policy": policy(trigger={"kind": "schedule", "every": 5})}
    trained(the_policy=DONOR, forks=store(tmp_path))
    answer = lambda sample: Signal.INTERRUPT if sample.step == cut else Signal.CONTINUE  # noqa: E731
    first = trainer(folder=folder, forks=store(tmp_path, 8), on_sample=answer, **options)
    assert first.run().signal is Signal.INTERRUPT
    assert [sample.step for sample in folder.samples()] == list(range(1, cut + 1))
    resumed = trainer(folder=folder, forks=store(tmp_path, 8), **options)
    assert not differences(ending(trainer(**options)), ending(resumed))
    assert resumed.fork == first.fork is not None


def test_many_leave_the_same_fork_at_a_time(tmp_path):
    state = {"weights": torch.zeros(10_000), "train_seconds": 0.0}
    with ThreadPoolExecutor(16) as pool:
        for trial in range(64):
            pool.submit(store(tmp_path, trial).leave, "start", 5, state)
    (path,) = (path for path in (tmp_path / "forks").rglob("*") if path.is_file())
    assert path.parent.name == "0000000005"
    found = load_checkpoint(path.parent, CPU)
    assert torch.equal(found["weights"], state["weights"])


def test_many_leave_and_make_room_at_a_time(tmp_path, caplog):
    state = {"samples": [], "weights": torch.zeros(10_000), "train_seconds": 0.0, "training_flops": 0.0}

    def work(trial):
        here = store(tmp_path, trial, most_bytes=100_000)
        for step in range(20):
            here.leave(f"start{trial % 2}", step, state)
            here.latest(f"start{trial % 2}", CPU, lambda samples: False)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, trial) for trial in range(8)]:
            done.result()
    assert not caplog.records
    store(tmp_path, most_bytes=100_000).make_room()
    assert 0 < sum(path.stat().st_size for path in files(tmp_path)) <= 100_000


def test_training_that_took_no_time_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(forks, "LEAST_SECONDS", 1000.0)
    trained(the_policy=DONOR, forks=store(tmp_path))
    assert not files(tmp_path)


def test_the_least_recently_used_go_first(tmp_path):
    state = {"samples": [], "weights": torch.zeros(10_000), "train_seconds": 0.0, "training_flops": 0.0}
    here = store(tmp_path, most_bytes=100_000)
    here.leave("first", 1, state)
    here.leave("second", 1, state)
    assert here.latest("first", CPU, lambda samples: False)
    here.leave("third", 1, state)
    assert [path.parent.parent.name for path in files(tmp_path)] == ["first", "third"]


def test_weights_are_those_of_a_run_that_shares_nothing(tmp_path):
    """The donor itself is not changed by leaving forks."""
    first, second = trained(the_policy=DONOR), trained(the_policy=DONOR, forks=store(tmp_path))
    assert not differences(weights(first), weights(second))
