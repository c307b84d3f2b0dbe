"""One rule for what a path is, for every argument."""

import json
import os
import pwd
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import autogrow as package
from autogrow.errors import UsageError
from autogrow.paths import is_npz_name, is_url, resolved, resolved_place
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.search_plans import plan_new_search
from autogrow.study.search_space import find_space


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def test_a_tilde_is_the_home_folder_and_the_rest_counts_from_here(home, tmp_path):
    assert resolved("~/data/x.npz") == home / "data" / "x.npz"
    assert resolved("~") == home
    assert resolved("runs/../x") == tmp_path / "runs" / ".." / "x"  # a link stays what it is
    assert resolved("a~b") == tmp_path / "a~b"
    assert resolved("./~") == tmp_path / "~"
    assert resolved("/x") == resolved(resolved("/x"))


def test_another_user_s_home(home):
    user = pwd.getpwuid(os.getuid())
    assert str(resolved(f"~{user.pw_name}/x")) == f"{user.pw_dir.rstrip('/')}/x"


BAD = {
    "empty": ("", "a path is empty"),
    "unknown user": ("~nosuchuser/x", "there is no user 'nosuchuser' here"),
    "NUL": ("a\0b", "holds a NUL character"),
    "long name": ("x/" + "n" * 256, "a name of 256 bytes: file systems take 255"),
    "long name in UTF-8": ("ä" * 128, "a name of 256 bytes"),
    "long path": ("/d" * 2100, "has 4200 bytes, a path has at most 4095"),
    "half a character": ("\ud800", "characters that no file name can have"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_path(case, home):
    text, message = BAD[case]
    with pytest.raises(UsageError, match=message) as caught:
        resolved(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_the_longest_name_is_taken(home, tmp_path):
    assert resolved("n" * 255) == tmp_path / ("n" * 255)


def test_without_a_home_folder(monkeypatch):
    def no_entry(number):
        raise KeyError(number)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    with pytest.raises(UsageError, match="this user has no home folder, and HOME is not set"):
        resolved("~/x")


def test_a_current_folder_that_is_gone(tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    here.rmdir()
    with pytest.raises(UsageError, match="the current folder, which is gone"):
        resolved("x")
    assert str(resolved("/x")) == "/x"


def test_urls_stay_as_they_are(home, tmp_path):
    assert is_url("s3://bucket/x") and not is_url("C:/x")
    assert resolved_place("s3://bucket/~x") == "s3://bucket/~x"
    assert resolved_place("x") == str(tmp_path / "x")


@pytest.mark.parametrize("name", ["x.npz", "X.NPZ", "~/a.Npz"])
def test_users_own_data_by_name(name):
    assert is_npz_name(name)
    assert not is_npz_name(name + "z")


def test_no_other_place_makes_paths_of_what_users_write():
    """Every other one would have a rule of its own."""
    sources = Path(package.__file__).parent
    found = {
        str(path.relative_to(sources))
        for path in sources.rglob("*.py")
        if re.search(r"expanduser|abspath|click\.Path\(|\.absolute\(\)", path.read_text())
    }
    assert found == {
        "paths.py",
        "files.py",  # in messages
        "study/session_folder.py",  # of temporary files, which nobody gives a path
    }


@pytest.fixture
def at_home(home, monkeypatch):
    """A data set and a policy in the home folder, and a folder to stand in that has neither."""
    home.mkdir()
    x = np.random.default_rng(0).normal(size=(120, 4)).astype("f4")
    np.savez(home / "d.npz", x_train=x, y_train=(x[:, 0] > 0).astype(int), x_test=x[:20], y_test=(x[:20, 0] > 0) * 1)
    GrowthPolicy().save(home / "policy.yaml")
    shutil.copy(find_space("quick"), home / "space.yaml")
    shutil.copytree(Path(__file__).parent / "fixtures" / "run-format-1", home / "run")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    return home


COMMANDS = [
    ("search", "--dataset", "~/d.npz", "--space", "~/space.yaml", "--from", "~/policy.yaml", "--from", "~/run",
     "--data-dir", "~/data", "--out", "~/results", "--storage", "sqlite:///~/studies.db", "--dry-run", "--json"),
    ("train", "~/policy.yaml", "--dataset", "~/d.npz", "--out", "~/model", "--epochs", 1, "--quiet"),
    ("evaluate", "~/model", "--dataset", "~/d.npz"),
    ("report", "~/run", "--html", "~/page.html"),
    ("export", "~/run", "--to", "~/exported.yaml"),
    ("status", "~/run"),
    ("data", "list", "--data-dir", "~/data"),
    ("inspect", "mlp", "--dataset", "~/d.npz"),
]  # fmt: skip


@pytest.mark.slow
def test_every_argument_of_every_command_follows_it(at_home, autogrow, tmp_path):
    """The shell leaves a tilde alone in --out=~/x, in quotes, and in files."""
    for command in COMMANDS:
        code, out, err = autogrow(*command)
        assert code == 0, (command, err)
        if command[0] == "search":
            plan = json.loads(out)
            assert plan["dataset"] == str(at_home / "d.npz")
            assert plan["data_dir"] == str(at_home / "data")
            assert plan["storage"] == f"sqlite:///{at_home}/studies.db"
            assert plan["run"].startswith(str(at_home / "results"))
    assert {"model", "page.html", "exported.yaml"} <= {path.name for path in at_home.iterdir()}
    assert [path.name for path in tmp_path.iterdir()] == ["home"]  # nothing came to lie where the caller stands


@pytest.mark.slow
def test_and_so_do_those_of_python(at_home, tmp_path):
    plan = plan_new_search("~/d.npz", space="~/space.yaml", data_dir="~/data")
    assert plan.settings.dataset == str(at_home / "d.npz")
    package.train("mlp", "~/d.npz", "~/policy.yaml", epochs=1, out="~/model")
    package.load("~/model")
    package.evaluate("~/model", "~/d.npz")
    assert package.GrowthPolicy.load("~/policy.yaml") == GrowthPolicy()
    GrowthPolicy().save("~/saved.yaml")
    assert (at_home / "saved.yaml").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.slow
@pytest.mark.parametrize("bad", ["~nosuchuser/x", "n" * 256, "a\0b", "ftp://me:pw@host/x"])
@pytest.mark.parametrize(
    "command",
    [("status", "{}"), ("report", "run", "--html", "{}"), ("export", "run", "--to", "{}"), ("evaluate", "{}"),
     ("train", "{}"), ("train", "policy.yaml", "--out", "{}"), ("search", "--dataset", "{}.npz", "--dry-run"),
     ("search", "--space", "{}.yaml", "--dry-run"), ("search", "--from", "{}", "--dry-run"),
     ("search", "--out", "{}", "--dry-run"), ("search", "--name", "{}", "--dry-run"),
     ("data", "list", "--data-dir", "{}"), ("confirm", "run", "--out", "{}"), ("reproduce", "sine", "--out", "{}")],
    ids=" ".join,
)  # fmt: skip
def test_what_is_no_path_is_one_line_everywhere(command, bad, workplace, autogrow):
    code, out, err = autogrow(*(part.format(bad) for part in command))
    assert (code, out, err.count("autogrow: error: ")) == (2, "", 1)
    assert "pw" not in err
