"""A PostgreSQL server of a test's own, in a temporary folder and on a free port of this machine."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

PASSWORD = "s3cret-Of-The-Tests"
USER = "searcher"
UNPRIVILEGED = "nobody"
"""Who runs the server where the tests run as root, which PostgreSQL refuses to."""
NUM_TRIES = 3
"""To start it: somebody else may take the port that was free a moment ago."""


class Server:
    """A server that asks for a password. Every study gets a database to itself."""

    def __init__(self, programs):
        self._programs = programs
        self._user = UNPRIVILEGED if os.geteuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self._num_databases = 0
        self._port = None
        password_file = self._folder / "password"
        password_file.write_text(PASSWORD)
        if self._user:
            for path in (self._folder, password_file):
                shutil.chown(path, self._user)
        options = ["--auth=scram-sha-256", f"--username={USER}", f"--pwfile={password_file}"]
        self._call("initdb", *options, "--locale=C", "--encoding=UTF8", "--no-sync", "-D", self._folder / "data")
        for _ in range(NUM_TRIES):
            self._port = _free_port()
            if self.control("start", check=False) == 0:
                return
        raise AssertionError((self._folder / "log").read_text())

    def control(self, command, *options, check=True):
        """``pg_ctl start``, ``stop`` or ``restart``; returns once that is done."""
        if command != "stop":
            settings = f"-p {self._port} -c listen_addresses=127.0.0.1 -c fsync=off -k {self._folder}"
            options = ("-l", self._folder / "log", "-o", settings, *options)
        return self._call("pg_ctl", command, "-w", "-D", self._folder / "data", *options, check=check)

    def new_database(self):
        """The URL of an empty database."""
        import psycopg2

        self._num_databases += 1
        connection = psycopg2.connect(self.url("postgres"))
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE study_{self._num_databases}")
        connection.close()
        return self.url(f"study_{self._num_databases}")

    def url(self, database, password=PASSWORD):
        return f"postgresql://{USER}:{password}@127.0.0.1:{self._port}/{database}"

    def remove(self):
        self.control("stop", "-m", "immediate", check=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _call(self, program, *arguments, check=True):
        with (self._folder / "output").open("a") as output:
            # Not captured: the server keeps what pg_ctl writes to open.
            return subprocess.run(
                [self._programs / program, *map(str, arguments)],
                user=self._user,
                group=self._user and pwd.getpwnam(self._user).pw_gid,
                extra_groups=[] if self._user else None,
                cwd=self._folder,
                stdout=output,
                stderr=output,
                check=check,
            ).returncode


@pytest.fixture(scope="session")
def server():
    pytest.importorskip("psycopg2", reason="no psycopg2, by which Python talks to PostgreSQL")
    programs = _programs()
    if programs is None:
        pytest.skip("no PostgreSQL server on this machine: install postgresql")
    running = Server(programs)
    yield running
    running.remove()


def _programs():
    """The folder of PostgreSQL's programs: Debian keeps those of the server off the path."""
    found = shutil.which("pg_ctl")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if found is None and not debian:
        return None
    return Path(found or debian[-1]).resolve().parent


def _free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
