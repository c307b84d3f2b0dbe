"""Nothing is removed or overwritten that another program, or the user, has put somewhere; and never through a link."""

import ast
import json
import os
import shutil
from pathlib import Path

import pytest

import autogrow as package
from autogrow import api
from autogrow.data import open_dataset
from autogrow.errors import RunFolderError, RunFolderInUseError
from autogrow.export import retraining
from autogrow.export.retraining import discard_training
from autogrow.files import append_text, atomic_target, file_stamp
from autogrow.locking import FolderLock
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.removal import remove_emptied, remove_written, temporary_names
from autogrow.search_plans import plan_resumed_search
from autogrow.study.run_folder import RunFolder
from autogrow.study.search import prepare_run
from autogrow.study.session_folder import remove_abandoned
from autogrow.training.checkpoint import save_checkpoint

SOURCES = Path(package.__file__).parent
FIXTURE = Path(__file__).parent / "fixtures" / "run-format-1"


def contents(folder):
    """Every file, link and folder below, with what it holds."""
    return {
        path: os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def killed_writer(path):
    """The temporary file that a writer of `path` leaves when it is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_target(path) as temporary:
        temporary.write_text("half")
        left = temporary.read_bytes()
    path.unlink()
    temporary.write_bytes(left)
    return temporary


class TestRemoving:
    def test_by_exact_names_and_folders_that_become_empty(self, tmp_path):
        for name in ("a/step-1.pt", "b/step-2.pt", "b/notes.txt", "c/step-x.pt", "step-3.pt.bak"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        (tmp_path / "empty").mkdir()
        remove_written(tmp_path, r"[a-z]/step-\d\.pt")
        left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
        assert left == {"b", "b/notes.txt", "c", "c/step-x.pt", "step-3.pt.bak", "empty"}

    def test_no_link_and_nothing_behind_one(self, tmp_path):
        target = tmp_path / "target"
        (target / "x").mkdir(parents=True)
        (target / "x" / "f").touch()
        (target / "f").touch()
        folder = tmp_path / "folder"
        folder.mkdir()
        (folder / "f").symlink_to(target / "f")
        (folder / "x").symlink_to(target / "x")
        before = contents(tmp_path)
        remove_written(folder, ("f", "x/f"))
        remove_written(folder / "x", "f", folder)
        remove_written(folder / "x", "f")
        (tmp_path / "link").symlink_to(folder)
        before[tmp_path / "link"] = str(folder)
        remove_written(tmp_path / "link" / "x", "f", tmp_path)
        assert contents(tmp_path) == before

    def test_folders_that_hold_no_file_any_more(self, tmp_path):
        for name in ("ours/a/b", "ours/c", "full/a"):
            (tmp_path / name).mkdir(parents=True)
        (tmp_path / "full" / "notes.txt").touch()
        (tmp_path / "link").symlink_to(tmp_path / "full")
        for name in ("ours", "full", "link", "missing"):
            remove_emptied(tmp_path / name, tmp_path)
        assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == {"full", "full/notes.txt", "link"}

    def test_temporary_files_are_known_by_what_they_were_to_become(self, tmp_path):
        left = killed_writer(tmp_path / "config.yaml")
        others = [".config.yaml.tmp", ".other.yaml.abcdefgh.tmp", "config.yaml.abcdefgh.tmp", ".config.yaml.ABC.tmp"]
        for name in others:
            (tmp_path / name).touch()
        remove_written(tmp_path, temporary_names(r"config\.yaml"))
        assert not left.exists()
        assert {path.name for path in tmp_path.iterdir()} == set(others)


@pytest.fixture
def mine(workplace):
    """A folder that is none of autogrow's, with files whose names look like it."""
    folder = workplace / "mine"
    (folder / "trials" / "00001" / "checkpoint").mkdir(parents=True)
    for name in (".notes.abcdefgh.tmp", ".study.db.abcdefgh.tmp", "lock", "trials/00001/checkpoint/step-0000000001.pt"):
        (folder / name).write_text("mine")
    return folder


FOREIGN = {
    "search": ("search", "--out", ".", "--name", "mine", "--quiet"),
    "resume": ("search", "--out", ".", "--name", "mine", "--resume", "--quiet"),
    "train": ("train", "policy.yaml", "--dataset", "digits", "--out", "mine", "--quiet"),
    "compare": ("compare", "policy.yaml", "--dataset", "digits", "--out", "mine", "--quiet"),
    "reproduce": ("reproduce", "sine", "--quick", "--out", "mine", "--quiet"),
    "confirm": ("confirm", "run", "--out", "mine", "--quiet"),
    "shrink": ("shrink", "network", "--to-flops", "0.5", "--epochs", "0", "--out", "mine", "--quiet"),
    "shrink-resume": ("shrink", "network", "--to-flops", "0.5", "--resume", "--out", "mine", "--quiet"),
}


def trained_network(workplace):
    """A folder that a small network is saved in, which has not learnt from its validation examples."""
    policy = GrowthPolicy(initial_fraction=0.1)
    options = {"epochs": 1, "train_size": 60, "hold_out_validation": True, "out": workplace / "network"}
    return api.train("mlp", "digits", policy, **options)


@pytest.mark.slow
@pytest.mark.parametrize("command", FOREIGN)
@pytest.mark.parametrize("has_lock", [True, False])
def test_a_folder_of_somebody_else_is_left_as_it_is(command, has_lock, mine, workplace, autogrow):
    GrowthPolicy().save(workplace / "policy.yaml")
    shutil.copytree(FIXTURE, workplace / "run")
    if command.startswith("shrink"):
        trained_network(workplace)
    if not has_lock:
        (mine / "lock").unlink()
    before = contents(mine)
    code, out, err = autogrow(*FOREIGN[command])
    assert (code, out, err.count("autogrow: error: ")) == (2, "", 1), err
    assert contents(mine) == before


@pytest.fixture
def run(workplace):
    shutil.copytree(FIXTURE, workplace / "results" / "run")
    return RunFolder(workplace / "results" / "run")


class TestRuns:
    def test_what_killed_writers_left_is_removed_and_nothing_else(self, run, monkeypatch):
        places = ["config.yaml", "study.db", "policy.yaml", "trials/00001/samples.jsonl",
                  "trials/00001/checkpoint/step-0000000007.pt", "forks/0a1b/0000000007/step-0000000007.pt"]  # fmt: skip
        kept = [(run.path / place).read_bytes() if (run.path / place).exists() else None for place in places]
        left = [killed_writer(run.path / place) for place in places]
        for place, content in zip(places, kept, strict=True):
            if content is not None:
                (run.path / place).write_bytes(content)
        others = [killed_writer(run.path / place) for place in ("confirmation/table.md", "notes.txt", "trials/x/y.txt")]
        prepare_run(plan_resumed_search(run), run, resume=True)
        assert not any(path.exists() for path in left)
        assert all(path.exists() for path in others)  # a confirmation may be at work there

    @pytest.mark.slow
    @pytest.mark.parametrize("place", ["trials/00001", "trials/00001/checkpoint", "forks", "trials", "policy.yaml",
                                       "interrupt", "trials/00001/log.txt", "study.db", "report.html"])  # fmt: skip
    def test_links_are_neither_followed_nor_replaced(self, place, run, workplace, autogrow):
        target = workplace / "target"
        target.mkdir()
        for name in ("checkpoint/step-0000000001.pt", "0a/0000000001/step-0000000001.pt", "step-0000000002.pt"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_text("mine")
        is_file = Path(place).suffix or place == "interrupt"
        (run.path / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(run.path / place, ignore_errors=True)
        (run.path / place).unlink(missing_ok=True)
        (run.path / place).symlink_to(target / "step-0000000002.pt" if is_file else target)
        before = contents(target)
        config = run.config_file.read_bytes()
        code, _, err = autogrow("search", "--resume", "--name", "run", "--quiet")
        assert code == 2 and " link" in err and err.count("autogrow: error: ") == 1
        run.discard_checkpoints(1), run.discard_forks(), run.remove_unfinished()
        assert contents(target) == before
        assert (run.path / place).is_symlink()
        assert run.config_file.read_bytes() == config

    def test_a_link_in_the_place_of_the_lock(self, run, workplace, autogrow):
        target = workplace / "target"
        target.write_text("mine")
        (run.path / "lock").symlink_to(target)
        code, _, err = autogrow("search", "--resume", "--name", "run", "--quiet")
        assert code == 2 and "is a link, not a lock" in err
        assert target.read_text() == "mine"
        assert (run.path / "lock").is_symlink()

    def test_records_are_not_appended_through_a_link(self, tmp_path):
        (tmp_path / "target").write_text("mine")
        (tmp_path / "log.txt").symlink_to(tmp_path / "target")
        with pytest.raises(RunFolderError, match="cannot write"):
            append_text(tmp_path / "log.txt", "more")
        assert (tmp_path / "target").read_text() == "mine"

    def test_old_checkpoints_go_and_others_files_stay(self, tmp_path):
        (tmp_path / "step-mine.pt").touch()
        for step in range(5):
            save_checkpoint(tmp_path, step, {})
        assert {path.name for path in tmp_path.iterdir()} == {
            "step-mine.pt", "step-0000000003.pt", "step-0000000004.pt"
        }  # fmt: skip


def test_a_training_that_diverged_leaves_what_is_not_its_own(workplace):
    out = workplace / "model"
    (out / "checkpoint").mkdir(parents=True)
    for name in ("request.json", "samples.jsonl", "checkpoint/step-0000000001.pt", "notes.txt", "checkpoint/mine.pt"):
        (out / name).touch()
    discard_training(out)
    assert {path.name for path in out.rglob("*")} == {"notes.txt", "checkpoint", "mine.pt"}


def test_a_temporary_folder_of_the_users_own_is_no_session(temporary, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setattr("autogrow.study.session_folder.SHORT_PLACES", ())
    for name, content in {"ag-projects": "mine", "ag-12345678": "somebody", "ag-news": "autogrow session\n"}.items():
        (temporary / name).mkdir()
        (temporary / name / "owner").write_text(content)
        (temporary / name / "notes.txt").touch()
    before = contents(temporary)
    assert remove_abandoned() == []
    assert contents(temporary) == before


class TestLocks:
    @pytest.mark.slow
    @pytest.mark.parametrize("command", ["train", "compare", "reproduce", "confirm", "shrink"])
    def test_one_process_at_a_time(self, command, workplace, autogrow):
        GrowthPolicy().save(workplace / "policy.yaml")
        if command == "shrink":
            trained_network(workplace)
        shutil.copytree(FIXTURE, workplace / "run")
        out = workplace / "mine"
        with FolderLock(out, "x").held():
            holder = json.loads((out / "lock").read_text())
            code, _, err = autogrow(*FOREIGN[command])
            assert code == 3
            assert "mine is in use by" in err
            assert f"in use by process {holder['pid']} on {holder['host']}: wait, or stop it" in err
            assert [path.name for path in out.iterdir()] == ["lock"]
        assert not out.exists()

    @pytest.mark.slow
    def test_a_training_holds_its_folder(self, workplace, autogrow, monkeypatch):
        GrowthPolicy().save(workplace / "policy.yaml")
        codes = []

        def meanwhile(*arguments):
            codes.append(autogrow(*FOREIGN["train"])[0])
            return retraining.Signal.CONTINUE

        api.train("mlp", "digits", GrowthPolicy(), epochs=1, train_size=60, out=workplace / "mine", on_sample=meanwhile)
        assert set(codes) == {3}
        assert {path.name for path in (workplace / "mine").iterdir()} == {
            "model.safetensors", "config.json", "samples.jsonl", "events.jsonl"
        }  # fmt: skip

    @pytest.mark.parametrize("content", ["mine", "{}", '{"pid": "x", "host": 1}', "[1]", "x" * 10_000])
    def test_a_file_of_that_name_that_is_no_lock_stays(self, content, tmp_path):
        (tmp_path / "lock").write_text(content)
        with pytest.raises(RunFolderError, match="is no lock of autogrow's"), FolderLock(tmp_path, "x").held():
            pass
        assert (tmp_path / "lock").read_text() == content

    @pytest.mark.parametrize("content", ["", '{"pid": 1, "host": "gone"}'])
    def test_one_that_a_dead_process_left_is_taken_over(self, content, tmp_path):
        (tmp_path / "lock").write_text(content)
        with FolderLock(tmp_path, "x").held():
            assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
        assert not (tmp_path / "lock").exists()

    def test_what_is_no_file_is_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "lock")
        lock = FolderLock(tmp_path, "x")
        assert not lock.in_use
        with pytest.raises(RunFolderError, match="is no lock"), lock.held():
            pass

    def test_a_holder_is_named_whatever_the_file_says(self, tmp_path):
        lock = FolderLock(tmp_path, "folder x")
        with lock.held():
            (tmp_path / "lock").write_text("nonsense")
            with pytest.raises(RunFolderInUseError, match="folder x is in use by another process"):
                lock.refuse_if_in_use()


class TestReplacedFiles:
    """Another file under the same name is another file, whatever its size and time say."""

    def test_its_stamp_differs(self, tmp_path):
        stamps = set()
        for content in ("one", "two"):
            (tmp_path / "new").write_text(content)
            os.utime(tmp_path / "new", (1.6e9, 1.6e9))
            os.replace(tmp_path / "new", tmp_path / "file")
            stamps.add(file_stamp(tmp_path / "file"))
        with (tmp_path / "file").open("r+") as file:  # in place
            file.write("six")
        os.utime(tmp_path / "file", (1.6e9, 1.6e9))
        stamps.add(file_stamp(tmp_path / "file"))
        assert len(stamps) == 3

    def test_data_are_read_again_and_a_copy_is_the_same(self, workplace):
        import numpy as np

        x = np.random.default_rng(0).normal(size=(60, 3)).astype("f4")
        prints = []
        for inputs in (x, -x):
            np.savez("new.npz", x_train=inputs, y_train=np.arange(60) % 2)
            os.utime("new.npz", (1.6e9, 1.6e9))
            os.replace("new.npz", "d.npz")
            prints.append(open_dataset("d.npz").fingerprint)
        assert prints[0] != prints[1]
        shutil.copy2("d.npz", "copy.npz")
        os.replace("copy.npz", "d.npz")
        assert open_dataset("d.npz").fingerprint == prints[1]


REMOVERS = {"unlink", "rmdir", "rmtree", "removedirs", "rm_file", "rm", "truncate", "ftruncate"}
ALLOWED = {
    "removal.py": {"rmdir", "unlink"},
    "locking.py": {"unlink", "rmdir", "ftruncate"},  # the lock that it holds, the folder that it made
    "files.py": {"unlink"},  # its own temporary file
    "training/checkpoint.py": {"unlink"},  # older ones of the run that writes, by their pattern
    "training/forks.py": {"unlink"},  # those that were not used for longest, by their pattern
    "export/retraining.py": {"unlink"},  # the request of a training that has ended
    "experiments/folder.py": {"unlink"},  # policy.yaml of an experiment that chose none this time
    "study/search.py": {"unlink"},  # config.yaml that it has just written
    "study/run_folder.py": {"unlink"},  # the file by which trials are asked to save
    "study/remote_folder.py": {"rm_file", "rmdir"},  # by pattern, and what was published from a copy
    "study/session_folder.py": {"rmtree"},  # folders of this user that carry our mark
    "data/array_store.py": {"rmtree"},  # what it has just made
    "data/fetching.py": {"unlink"},  # what it has just downloaded
    "data/python_data.py": {"unlink"},  # what it has not finished
    "data/dataset.py": {"unlink", "rmdir"},  # a file of ours that holds given arrays, when its caller discards it
    "models/given.py": {"unlink"},  # what it has not finished, and given networks that nobody has read for two weeks
}
"""Where something is removed, and why that may be. A new place belongs into `autogrow.removal`."""


@pytest.mark.slow
def test_nothing_is_removed_elsewhere():
    found = {}
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and (
                getattr(node.func, "attr", "") in REMOVERS or ast.unparse(node.func) == "os.remove"
            ):
                found.setdefault(str(path.relative_to(SOURCES)), set()).add(node.func.attr)
    assert found == ALLOWED
