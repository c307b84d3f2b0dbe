"""The code of docs/extending.md, installed as the page says and used."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

import autogrow
from autogrow.data.catalogue import PACKAGED
from autogrow.data.tokenizers import TOKENIZERS
from autogrow.metrics.objectives import OBJECTIVES
from autogrow.models import MODELS
from autogrow.policy.block_initializations import BLOCK_INITIALIZATIONS
from autogrow.policy.initializations import INITIALIZATIONS
from autogrow.policy.layer_selection import LAYER_SELECTIONS
from autogrow.policy.triggers import TRIGGERS
from autogrow.policy.unit_scores import UNIT_SCORES
from autogrow.tasks import TASKS

from .test_plugins import install

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
REGISTRIES = {
    "autogrow.triggers": TRIGGERS,
    "autogrow.layer_selections": LAYER_SELECTIONS,
    "autogrow.initializations": INITIALIZATIONS,
    "autogrow.block_initializations": BLOCK_INITIALIZATIONS,
    "autogrow.unit_scores": UNIT_SCORES,
    "autogrow.tasks": TASKS,
    "autogrow.datasets": PACKAGED,
    "autogrow.models": MODELS,
    "autogrow.objectives": OBJECTIVES,
    "autogrow.tokenizers": TOKENIZERS,
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The page's package, installed."""
    package = tmp_path / "source" / "my_growth"
    package.mkdir(parents=True)
    for name, code in re.findall(r"```python\n# my_growth/(\w+\.py)\n(.*?)```", PAGE, re.DOTALL):
        (package / name).write_text(code)
    project = tomllib.loads(re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)[1])["project"]
    place = tmp_path / "site"
    place.mkdir()
    install(project, [package], place)
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield project
    for name in [name for name in sys.modules if name.split(".")[0] == "my_growth"]:
        del sys.modules[name]


def test_every_entry_point_of_the_page_is_loaded_and_nothing_is_left_out(project):
    assert project["entry-points"].keys() == REGISTRIES.keys()
    for group, points in project["entry-points"].items():
        for name in points:
            assert REGISTRIES[group].origin(name) == "my-growth 1.0"
            assert REGISTRIES[group][name] is not None


@pytest.mark.slow
def test_they_train_a_network_together(project, one_thread):
    parts = {"trigger": "third", "layer_selection": "first", "initialization": "small"}
    policy = autogrow.GrowthPolicy.from_dict({"initial_fraction": 0.25, "chunk_fraction": 0.25, **parts})
    result = autogrow.train("tiny", "lines", policy, epochs=20, device="cpu")
    assert result.events[0].trigger_reason == "3 measurements"
    assert result.test.score > 0.5
