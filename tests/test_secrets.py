"""What lets others in is neither printed nor written down, whoever is asked, and in whichever way it was given."""

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from autogrow.errors import AutogrowError
from autogrow.paths import resolved
from autogrow.study.finding_runs import named_run
from autogrow.study.remote_folder import RemoteFolder
from autogrow.study.study_location import SharedStudy, readable_errors, without_password
from autogrow.urls import scrubbed, without_secrets

SECRET = "hunter22"
STORAGES = [
    f"postgresql://me:{SECRET}@host/db",
    *(f"postgresql://me@host/db?{name}={SECRET}" for name in
      ("password", "passfile", "sslkey", "sslcert", "sslpassword", "options", "token", "Token", "krbsrvname", "new")),
    f"mysql+pymysql://me:{SECRET}@host/db?charset=utf8&ssl_key={SECRET}",
    f"mssql+pyodbc:///?odbc_connect=DRIVER%3DX%3BPWD%3D{SECRET}",
]  # fmt: skip


@pytest.mark.parametrize("url", STORAGES)
def test_of_a_database_s_url_only_what_is_harmless_is_shown(url):
    for shown in (without_password(url), without_secrets(url, keeps_user=True), str(SharedStudy(url, "run"))):
        assert SECRET not in shown and "***" in shown
    assert without_password(without_password(url)) == without_password(url)


def test_what_is_harmless_stays():
    url = "postgresql://me@host:5432/db?application_name=x&connect_timeout=10&sslmode=require"
    assert without_password(url) == without_secrets(url, keeps_user=True) == url
    assert without_secrets("s3://bucket/a@b/c") == "s3://bucket/a@b/c"
    assert without_secrets("no URL me:pw@host?x=1") == "no URL me:pw@host?x=1"


@pytest.mark.parametrize(
    "url, shown",
    [
        (f"ftp://me:{SECRET}@host/runs", "ftp://***@host/runs"),
        (f"ftp://{SECRET}@host/runs", "ftp://***@host/runs"),
        (f"ftp://me:{SECRET}/x@host/runs", "ftp://***@host/runs"),
        (f"ftp://me:{SECRET}@x@host/runs", "ftp://***@host/runs"),
        (f"https://host/runs?sig={SECRET}&user=me", "https://host/runs?sig=***&user=me"),
        (f"simplecache::sftp://me:{SECRET}@host/runs", "simplecache::sftp://***@host/runs"),
    ],
)
def test_of_a_folder_s_url_nobody_s_name_either(url, shown):
    assert without_secrets(url) == shown


def test_a_driver_s_message_is_scrubbed():
    url = "postgresql://me:p%40ss%20word@host/db?sslkey=/home/me/key"
    said = 'connection to "host" failed: p@ss word of me is wrong, /home/me/key is not readable, p%40ss%20word'
    assert (
        scrubbed(said, url, keeps_user=True)
        == 'connection to "host" failed: *** of me is wrong, *** is not readable, ***'
    )


def test_what_a_database_says_of_an_error(caplog):
    location = SharedStudy(f"postgresql://me:{SECRET}@host/db", "run")
    with pytest.raises(AutogrowError) as caught, readable_errors(location):
        raise RuntimeError(f"could not connect with password={SECRET} to postgresql://me:{SECRET}@host/db")
    assert SECRET not in str(caught.value)


class Guarded(MemoryFileSystem):
    """Storage that is reached with a user's name and password, and repeats both in its errors."""

    protocol = "guarded"
    store: dict = {}
    pseudo_dirs = [""]
    seen: list = []
    fails = False

    @classmethod
    def _strip_protocol(cls, path):
        cls.seen.append(path)
        return "/" + str(path).removeprefix("guarded://").rpartition("@")[2].lstrip("/")

    def _open(self, path, *arguments, **options):
        if self.fails:
            raise PermissionError(f"me with {SECRET} may not open guarded://me:{SECRET}@host{path}")
        return super()._open(path, *arguments, **options)


@pytest.fixture
def guarded(monkeypatch):
    fsspec.register_implementation("guarded", Guarded, clobber=True)
    monkeypatch.setattr(Guarded, "store", {})
    return f"guarded://me:{SECRET}@host/runs"


class TestRunsAtURLs:
    def test_trials_are_told_and_nobody_else(self, guarded):
        run = named_run(guarded, "digits-1")
        folder = run.trial(3).path
        assert run.address_of(folder) == f"{guarded}/digits-1/trials/00003"
        assert run.place == "guarded://***@host/runs/digits-1"
        assert run.place_of(folder) == "guarded://***@host/runs/digits-1/trials/00003"

    def test_nor_is_it_in_errors(self, guarded, monkeypatch):
        monkeypatch.setattr(Guarded, "fails", True)
        with pytest.raises(AutogrowError) as caught:
            RemoteFolder(guarded).write("x", b"")
        assert "cannot use guarded://***@host/runs" in str(caught.value)
        assert SECRET not in str(caught.value)

    @pytest.mark.parametrize("command", ["status", "report", "export", "confirm"])
    def test_nor_in_what_a_command_prints(self, command, guarded, workplace, autogrow):
        code, out, err = autogrow(command, f"{guarded}/none")
        assert (code, out) == (2, "") and "***@host" in err
        assert SECRET not in err

    def test_nor_in_a_plan(self, guarded, workplace, autogrow, monkeypatch):
        arguments = ("--out", guarded, "--name", "x", "--storage", STORAGES[2], "--dry-run")
        for more in ((), ("--json",)):
            code, out, err = autogrow("search", *arguments, *more)
            assert code == 0, err
            assert "***" in out and SECRET not in out + err

    @pytest.mark.parametrize("url", [f"nosuch://me:{SECRET}@host/x", f"ftp://me:{SECRET}@host:port/x"])
    def test_what_reaches_nothing(self, url, workplace, autogrow):
        for arguments in (("status", url), ("search", "--out", url), ("train", "p.yaml", "--out", url)):
            code, out, err = autogrow(*arguments, *(["--dataset", "digits"] if arguments[0] == "train" else []))
            assert (code, out, err.count("autogrow: error: ")) == (2, "", 1)
            assert SECRET not in err


def test_a_url_is_no_path():
    with pytest.raises(AutogrowError, match=r"ftp://\*\*\*@host/x is a URL, where a file or folder"):
        resolved(f"ftp://me:{SECRET}@host/x")


def test_whatever_an_error_repeats(workplace, autogrow):
    code, _, err = autogrow("list", f"postgresql://me:{SECRET}@host/db")
    assert code == 2 and "me:***@host" in err
    assert SECRET not in err
