"""What is written of an experiment for readers: a Markdown page, and pictures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autogrow.experiments.drawing import draw_results
from autogrow.experiments.results import Results
from autogrow.experiments.tables import markdown


@dataclass(frozen=True)
class Pages:
    """Documents as text."""

    table: str | None
    """Markdown; None where one page of several experiments says it."""
    figures: Mapping[str, str] = field(default_factory=dict)
    """SVG by name, without the ending."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """What the JSON file holds beside runs and summary."""


def default_pages(results: Results, heading: str) -> Pages:
    """All tables, and accuracy over compute."""
    figures = {"figure": draw_results(results, heading)} if results.runs else {}
    return Pages(markdown(results, heading), figures)
