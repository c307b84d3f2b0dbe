"""The folder that a network is shrunk into: what may lie there, and what is read of a run that was interrupted."""

import json

import pytest

from autogrow.errors import NetworkError, RunFolderError
from autogrow.export.network_record import read_record
from autogrow.export.shrink_folder import FORMAT, RECORD, REQUEST, ShrinkFolder
from autogrow.policy.shrink_records import Footprint, Latency, ShrinkStep

STEP = ShrinkStep(
    "before", "", {}, {"1": 8}, 0.9, 0.3, Footprint(100, 200.0, 400), (Latency(0.5, 1, 1),), notes=("a note",)
)


@pytest.fixture
def begun(tmp_path):
    """A run that was interrupted after its first step."""
    folder = ShrinkFolder(tmp_path)
    folder.begin({"seed": 1}, resume=False)
    folder.write({"steps": [STEP.to_dict()], "test_readings": 4})
    return folder


def test_what_is_written_is_read_again(begun):
    assert begun.begin({"seed": 1}, resume=True) == [STEP]
    assert begun.test_readings() == 4


@pytest.mark.parametrize("content", ["", "{", "[]", "5", "null", '"text"'])
@pytest.mark.parametrize("name", [REQUEST, RECORD])
def test_files_that_hold_no_record(name, content, begun):
    (begun.path / name).write_text(content)
    with pytest.raises(RunFolderError, match=f"{name}.*(remove the folder|restore it)"):
        begun.begin({"seed": 1}, resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "autogrow-shrink/9"}, "format is 'autogrow-shrink/9', this autogrow reads"),
        ({"format": None}, "format is None"),
        ({"steps": None}, "steps is None"),
        ({"steps": [5]}, "steps.0 is 5"),
        ({"steps": [{}]}, "field 'steps.0.name' is missing"),
        ({"test_readings": "x"}, "test_readings is 'x'"),
        ({"test_readings": -1}, "test_readings is -1"),
        ({"test_readings": 1.5}, "test_readings is 1.5"),
    ],
)
def test_a_record_of_another_kind(change, message, begun):
    content = json.loads((begun.path / RECORD).read_text())
    (begun.path / RECORD).write_text(json.dumps({**content, **change}))
    with pytest.raises(RunFolderError, match=message) as raised:
        begun.begin({"seed": 1}, resume=True)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": "x"}, "steps.0.score is 'x'"),
        ({"footprint": {"parameters": 1}}, "steps.0.footprint.flops' is missing"),
        ({"latencies": 5}, "steps.0.latencies is 5"),
        ({"widths": {"1": "x"}}, "steps.0.widths.1 is 'x'"),
        ({"is_kept": False}, "its first step is none to go on from"),
    ],
)
def test_a_step_of_another_kind(change, message, begun):
    begun.write({"steps": [{**STEP.to_dict(), **change}]})
    with pytest.raises(RunFolderError, match=message):
        begun.begin({"seed": 1}, resume=True)


def test_a_folder_that_others_have_put_something_in(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(RunFolderError, match="is not empty: choose another --out"):
        ShrinkFolder(tmp_path).begin({}, resume=False)
    with pytest.raises(RunFolderError, match="nothing to resume at"):
        ShrinkFolder(tmp_path).begin({}, resume=True)


def test_who_was_killed_while_it_began_left_nothing_that_counts(tmp_path):
    for name in ("lock", f".{REQUEST}.abcdefgh.tmp"):
        (tmp_path / name).touch()
    folder = ShrinkFolder(tmp_path)
    assert folder.begin({}, resume=False) == []
    folder.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


@pytest.mark.parametrize("resume", [False, True])
def test_what_has_ended_is_not_begun_again(resume, begun):
    (begun.path / REQUEST).unlink()
    with pytest.raises(RunFolderError, match="was shrunk to its end: choose another --out"):
        begun.begin({"seed": 1}, resume=resume)


def test_links_in_it_are_refused(begun, tmp_path_factory):
    target = tmp_path_factory.mktemp("target")
    (begun.path / "after-00001").symlink_to(target)
    with pytest.raises(RunFolderError, match="after-00001 is a link"):
        begun.begin({"seed": 1}, resume=True)


CONFIG = {
    "format": "autogrow-network/1", "model": {"name": "mlp", "options": {}}, "input_shape": [4], "num_outputs": 2,
    "task": "classification", "widths": {}, "preprocessing": {"mean": [0.0], "std": [1.0]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"held_out_validation": "no"}, "held_out_validation is 'no'"),
        ({"held_out_validation": 1}, "held_out_validation is 1"),
        ({"dataset": {"train_size": "x"}}, "dataset.train_size is 'x'"),
        ({"dataset": {"train_size": -5}}, "dataset.train_size is -5"),
        ({"lineage": 5}, "lineage is 5"),
        ({"lineage": {"test_readings": -3}}, "lineage.test_readings is -3"),
        ({"metrics": [1]}, r"metrics is \[1\]"),
        ({"split_seed": "x"}, "split_seed is 'x'"),
    ],
)
def test_what_it_goes_by_in_a_saved_network_is_checked_when_that_is_read(change, message, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    assert read_record(path)[0].held_out_validation is None
    path.write_text(json.dumps({**CONFIG, **change}))
    with pytest.raises(NetworkError, match=message) as raised:
        read_record(path)
    assert "is damaged, restore it from a copy" in str(raised.value)


def test_the_format_is_written(begun):
    assert json.loads((begun.path / RECORD).read_text())["format"] == FORMAT
