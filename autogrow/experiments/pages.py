"""What is written of an experiment for readers: a Markdown page, and pictures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autogrow.experiments.drawing import draw_scores, score_marks
from autogrow.experiments.results import Results
from autogrow.experiments.tables import markdown
from autogrow.policy.growth_policy import GrowthPolicy


@dataclass(frozen=True)
class Pages:
    """Documents as text."""

    table: str | None
    """Markdown; None where one page of several experiments says it."""
    figures: Mapping[str, str] = field(default_factory=dict)
    """SVG by name, without the ending."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """What the JSON file holds beside runs and summary."""
    policy: GrowthPolicy | None = None
    """What has been chosen, where there was a choice."""


def default_pages(results: Results, heading: str) -> Pages:
    """All tables, and the score over compute."""
    return Pages(markdown(results, heading), score_figure(results, heading))


def score_figure(results: Results, heading: str) -> dict[str, str]:
    """By its name; nothing where the runs that compute is measured by have all failed."""
    return {"figure": draw_scores(results, heading)} if score_marks(results) else {}
