"""Tasks are told apart in `autogrow.tasks` alone: nothing else compares, lists or looks up a task's name."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

import autogrow
from autogrow.tasks import TASKS

PACKAGE = Path(autogrow.__file__).parent
DATA_SETS = {"data/catalogue.py", "data/generated.py"}
"""Where a data set says which task it is for."""
TEXTS = {"data/npz.py", "data/text.py", "cli/generation.py", "former_names.py"}
"""Where data are text by their form, "text" is what was read, or a file of before says what it was about."""


def files():
    return [path for path in sorted(PACKAGE.rglob("*.py")) if "tasks" not in path.relative_to(PACKAGE).parts[:1]]


def names_in(tree, *, allows_declarations, names=frozenset(TASKS)):
    """Lines that hold a task's name as a string; docstrings and messages hold it among other words."""
    declared = {
        id(keyword.value)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        for keyword in call.keywords
        if keyword.arg == "task" and allows_declarations
    }
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in names and id(node) not in declared
    ]


def constants_in(tree, names=frozenset(TASKS)):
    """Lines that import what is a task's name."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("autogrow.tasks")
        for alias in node.names
        if isinstance(value := getattr(import_module(node.module), alias.name, None), str) and value in names
    ]


@pytest.mark.slow
def test_no_task_is_named_outside_of_the_tasks():
    found = {}
    for path in files():
        name = path.relative_to(PACKAGE).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = set(TASKS) - {"text"} if name in TEXTS else set(TASKS)
        lines = names_in(tree, allows_declarations=name in DATA_SETS, names=names) + constants_in(tree, names)
        if lines:
            found[name] = lines
    assert not found, f"a task's name is written out in {found}: ask TASKS[name] for what differs"


@pytest.mark.parametrize(
    "code",
    [
        'if task == "regression": pass',
        'found = [each for each in rows if each.task != "classification"]',
        'match task:\n    case "multi_label": pass',
        'Kind = Literal["classification", "regression"]',
        '{"regression": 1}[task]',
        'Results(task="regression")',
    ],
)
def test_every_way_of_naming_one_is_found(code):
    assert names_in(ast.parse(code), allows_declarations=False)


def test_a_constant_that_is_a_name_is_found_and_others_are_not():
    assert constants_in(ast.parse("from autogrow.tasks.text import MOST_TOKENS, TEXT")) == [1]
    assert constants_in(ast.parse("from autogrow.tasks import TASKS\nfrom autogrow.tasks.text import Text")) == []
