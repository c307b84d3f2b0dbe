"""Checkpoints that were damaged between a kill and the resumption cost training, and nothing else."""

import json

import pytest

from autogrow.study.settings import available_cores
from tests.processes import LONG, check_ended, wait_until

pytestmark = pytest.mark.slow


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_one_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0b100
    path.write_bytes(content)


def test_the_previous_one_is_used_or_else_the_trial_restarts(start, records):
    """One trial's newest has a bit flipped; of another the newest is cut short, and the one before is damaged, too."""
    # Without forks, so that a trial that restarts does so at its first step; long, so that two have two checkpoints.
    search = start("--trials", 3, *LONG, "--epochs", 150, "--no-fork-at-growth")
    wait_until(lambda: len(with_previous(records)) >= min(2, available_cores()))
    search.crash()
    assert not (records.run / "forks").exists()
    live = with_previous(records)
    before = {root: records.samples(root) for root in live}
    root, *others = live
    previous, newest = live[root]
    flip_one_bit(newest)
    for other in others:
        for path, damage in zip(live[other], (flip_one_bit, truncate), strict=True):
            damage(path)
    code, _, err = start("--resume", "--quiet").end()
    assert code == 0, err
    check_ended(records, 3)
    assert warnings(records, root) == [f"{newest} is damaged and is passed over"]
    step = int(previous.stem.removeprefix("step-"))
    # A sample names the seconds trained until then, so equal ones were not trained again.
    assert up_to(step, records.samples(root)) == up_to(step, before[root])
    assert up_to(step, before[root])
    for other in others:
        assert warnings(records, other) == [f"{path} is damaged and is passed over" for path in reversed(live[other])]
        assert records.samples(other)[0]["step"] == before[other][0]["step"]
        assert records.samples(other)[0] != before[other][0]
    assert {root, *others} <= {trial.user_attrs.get("root") for trial in records.finished().values()}


def with_previous(records):
    """The checkpoints of the roots that have two of them and no result yet, oldest first."""
    folders = {root: records.run / "trials" / f"{root:05d}" for root in records.to_resume()}
    paths = {root: sorted(folder.glob("checkpoint/step-*.pt")) for root, folder in folders.items()}
    return {root: each for root, each in paths.items() if len(each) == 2}


def warnings(records, root):
    """What was kept of them, in the result and in the log alike."""
    folder = records.run / "trials" / f"{root:05d}"
    kept = json.loads((folder / "result.json").read_text())["warnings"]
    assert (folder / "log.txt").read_text() == "".join(f"warning: {warning}\n" for warning in kept)
    return kept


def up_to(step, samples):
    return [sample for sample in samples if sample["step"] <= step]
