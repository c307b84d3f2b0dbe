"""No file, and nobody on the network, makes autogrow run code: how files are read, and how the cluster is started.

What each reader does with hostile input is tested beside it; here is that there is no reader but those.
"""

import ast
from pathlib import Path

import pytest

import autogrow
from autogrow.errors import UsageError

SOURCES = Path(autogrow.__file__).parent
UNSAFE_MODULES = {"marshal", "shelve", "joblib", "dill", "cloudpickle", "runpy", "code"}
"""Reading what they write, or calling them, runs code."""
UNSAFE_CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "torch.jit.load", "pandas.read_pickle"),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "tarfile.TarFile.extract"),
}
UNSAFE_METHODS = {"extractall"}
NEEDED = {"torch.load": ("weights_only", True), "numpy.load": ("allow_pickle", False)}
"""Calls that are safe with one argument, which has to be there."""
ALLOWED = {
    # The reader of CIFAR's files, which admits only what those hold: see tests/data/test_restricted_pickle.py.
    "data/restricted_pickle.py": {"pickle.Unpickler"},
    # Networks that the caller has given as objects, handed to processes of the same user on this machine.
    "models/given.py": {"cloudpickle", "pickle.loads"},
    "api/networks.py": {"compile"},  # the option of that name
    "api/studies.py": {"compile"},
    "api/options.py": {"compile"},
}
IMPORTING = {"__init__.py", "data/__init__.py", "models/building.py"}
"""Where a module is imported by a name: two tables of our own, and the model that a user names on the command line."""


def unsafe_uses(source):
    """What of a module's source might run code that it has read, as "line: what"."""
    tree = ast.parse(source)
    names = imported_names(tree)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names]
            found += [(node.lineno, module) for module in modules if module.partition(".")[0] in UNSAFE_MODULES]
        elif isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
            # Wherever the name stands: as a base class or an argument, it is as unsafe as when it is called.
            name = full_name(node, names)
            if name in UNSAFE_CALLS or (isinstance(node, ast.Attribute) and node.attr in UNSAFE_METHODS):
                found.append((node.lineno, name))
        elif isinstance(node, ast.Call):
            found += [(node.lineno, each) for each in missing_argument(node, names)]
    return [f"{line}: {what}" for line, what in found]


def missing_argument(call, names):
    """The name of a called function if the argument that makes it safe is not given, as a literal."""
    name = full_name(call.func, names)
    if name in NEEDED:
        argument, value = NEEDED[name]
        given = {keyword.arg: keyword.value for keyword in call.keywords}.get(argument)
        if not (isinstance(given, ast.Constant) and given.value is value):
            yield f"{name} without {argument}={value}"
    if any(keyword.arg == "shell" for keyword in call.keywords):
        yield f"{name} with shell"


def imported_names(tree):
    """What each imported name of a module stands for: ``np`` for ``numpy``, ``load`` for ``torch.load``."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update({each.asname: each.name for each in node.names if each.asname})
        elif isinstance(node, ast.ImportFrom):
            names.update({each.asname or each.name: f"{node.module}.{each.name}" for each in node.names})
    return names


def full_name(node, names):
    """The dotted name that an expression stands for, or an empty string."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{full_name(node.value, names)}.{node.attr}"
    return ""


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.loads(content)",
        "from pickle import load as read\nread(file)",
        "import pickle\nclass Mine(pickle.Unpickler): pass",
        "import torch\ntorch.load(path)",
        "import torch as t\nt.load(path, weights_only=False)",
        "import torch\ntorch.load(path, weights_only=chosen)",
        "import numpy as np\nnp.load(path)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "from yaml import load\nload(text, Loader=loader)",
        "import yaml\nyaml.unsafe_load(text)",
        "eval(text)",
        "exec(text)",
        "import joblib",
        "from shelve import open",
        "import tarfile\nwith tarfile.open(path) as archive: archive.extractall()",
        "import subprocess\nsubprocess.run(command, shell=True)",
    ],
)
def test_what_is_unsafe_is_found(source):
    assert unsafe_uses(source)


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load(path, weights_only=True)",
        "import numpy as np\nnp.load(path, mmap_mode='r', allow_pickle=False)",
        "import yaml\nyaml.safe_load(text)",
        "model.eval()",
        "import re\nre.compile(pattern)",
        "import json\njson.load(file)",
    ],
)
def test_what_is_safe_is_not(source):
    assert unsafe_uses(source) == []


def sources():
    paths = {str(path.relative_to(SOURCES)): path.read_text() for path in sorted(SOURCES.rglob("*.py"))}
    assert len(paths) > 50
    return paths


@pytest.mark.slow
def test_nothing_that_is_read_is_run():
    found = {
        path: [use for use in unsafe_uses(source) if use.partition(": ")[2] not in ALLOWED.get(path, ())]
        for path, source in sources().items()
    }
    assert {path: uses for path, uses in found.items() if uses} == {}


def test_every_exception_is_needed():
    for path, allowed in ALLOWED.items():
        assert {use.partition(": ")[2] for use in unsafe_uses(sources()[path])} == allowed


def test_modules_are_imported_by_a_name_only_where_the_user_gives_it():
    assert {path for path, source in sources().items() if "import_module" in source} == IMPORTING


@pytest.mark.parametrize("mode", ["disabled", "Disabled"])
def test_a_cluster_that_anybody_could_use_is_not_started(mode, monkeypatch):
    """What it listens on, and who may read its token, is in tests/faults/test_interrupts.py."""
    from autogrow.study import ray_executor

    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    monkeypatch.delattr(ray_executor, "RayProcess")  # none is started
    with pytest.raises(UsageError, match="RAY_AUTH_MODE=disabled .*unset it"):
        ray_executor.RayExecutor(ray_executor.Resources(None, 1, 0.0, None)).run(None)


def test_such_a_search_leaves_nothing_behind(monkeypatch, tmp_path, autogrow):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    code, out, err = autogrow("search", "--out", tmp_path / "results", "--name", "run", "--quiet")
    assert (code, out) == (2, "")
    assert err.startswith("autogrow: error: RAY_AUTH_MODE=disabled")
    assert err.count("\n") == 1
    assert not (tmp_path / "results").exists()
