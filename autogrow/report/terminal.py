"""The report in the terminal: `rich` renderables made from the summary. Nothing is printed here."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table as RichTable
from rich.text import Text

from autogrow.report.growth_table import growth_table
from autogrow.report.summary import RunSummary
from autogrow.report.tables import (
    Table,
    best_and_controls,
    differences_table,
    failures_table,
    objectives_table,
    pareto_front_table,
    running_table,
    search_table,
)

MAX_FRONT_ROWS = 15
GAP = 2
"""Characters between two columns."""
_COLOURS = {"ahead": "green", "behind": "red"}
"""Of what is known beyond one seed; everything else is open."""


def render(summary: RunSummary) -> RenderableType:
    """The whole report."""
    best = summary.preferred_trial
    policy = [Text(f"Policy of trial {best.number}: {best.policy}.")] if best is not None else []
    front = pareto_front_table(summary, MAX_FRONT_ROWS), differences_table(summary, MAX_FRONT_ROWS)
    search = search_table(summary), running_table(summary), failures_table(summary)
    return Group(
        _header(summary),
        _verdict(summary),
        *_drawn(objectives_table(summary), best_and_controls(summary)),
        *policy,
        *_drawn(*front, growth_table(summary), *search),
    )


def render_status(summary: RunSummary) -> RenderableType:
    """The short form: counts, the verdict so far, what runs, the best per objective, what was spent, failures."""
    best = objectives_table(summary), best_and_controls(summary)
    tables = running_table(summary), *best, search_table(summary), failures_table(summary)
    return Group(_header(summary), _verdict(summary), *_drawn(*tables))


def _header(summary: RunSummary) -> Text:
    header = Text()
    header.append(summary.name, style="bold")
    header.append(f"  {summary.model} on {summary.dataset}", style="default")
    header.append("  search running\n" if summary.is_running else "\n", style="green")
    header.append(", ".join(f"{number} {state}" for state, number in _shown_counts(summary).items()))
    header.append(f" of {summary.settings['trials']} trials")
    if summary.num_by_confirm:
        header.append(f"; {summary.num_by_confirm} more by autogrow confirm")
    if summary.chance:
        header.append(f"\nchance: {summary.chance}", style="dim")
    if summary.legend:
        header.append(f"\n{summary.legend}", style="dim")
    return header


def _shown_counts(summary: RunSummary) -> dict[str, int]:
    """Complete always, the others where there are any."""
    return {state: number for state, number in summary.counts.items() if number or state == "complete"}


def _verdict(summary: RunSummary) -> RenderableType:
    verdict, searched = summary.verdict, summary.search_verdict
    text = Text(verdict.headline, style="bold")
    for detail in verdict.details:
        text.append(f"\n{detail}", style="not bold")
    text.append(f"\n{verdict.caveat}", style="not bold dim")
    if verdict is not searched:
        text.append(f"\nThe search itself: {searched.reached}", style="not bold")
    colour = _COLOURS.get(verdict.kind, "yellow")
    return Panel(text, title="verdict", title_align="left", border_style=colour, box=box.ROUNDED)


def render_tables(*tables: Table) -> RenderableType:
    """Tables one below the other, those without rows left out."""
    return Group(*_drawn(*tables))


def _drawn(*tables: Table) -> list[RenderableType]:
    return [_table(table) for table in tables if table.rows]


def _table(table: Table) -> RenderableType:
    left_out = f" And {table.num_left_out} more." if table.num_left_out else ""
    note = Text(table.note + left_out, style="dim")
    return Padding(Group(Text(table.caption, style="bold"), _Fitting(table), *([note] if note else [])), (1, 0, 0, 0))


@dataclass(frozen=True)
class _Fitting:
    """A table whose headings are broken into lines where it would be wider than the terminal, then words of labels."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        titles = [column.title for column in self.table.columns]
        widths = [
            0 if column.flexible else max(map(len, cells))
            for column, *cells in zip(self.table.columns, *self.table.rows, strict=True)
        ]
        needed = sum(max(width, len(title)) + GAP for width, title in zip(widths, titles, strict=True))
        if needed > options.max_width:
            titles = [_broken(title, width) for width, title in zip(widths, titles, strict=True)]
        flexible = _flexible_widths(self.table, titles, options.max_width)
        yield _grid(self.table, titles, flexible)


def _flexible_widths(table: Table, headings: Sequence[str], room: int) -> dict[int, int]:
    """By their places, the widths of the flexible columns: they share what the others leave, by what they need.

    Their words stay whole, as far as there is room.
    """
    texts = [(heading, *cells) for heading, *cells in zip(headings, *table.rows, strict=True)]
    places = [place for place, column in enumerate(table.columns) if column.flexible]
    if not places:
        return {}
    fixed = [each for place, each in enumerate(texts) if place not in places]
    room -= sum(max(len(line) for text in each for line in (*text.splitlines(), "")) for each in fixed)
    room -= GAP * (len(texts) - 1)
    wanted = [max(map(len, texts[place])) for place in places]
    words = [
        1 if table.columns[place].one_line else max(len(word) for text in texts[place] for word in (*text.split(), ""))
        for place in places
    ]
    most = next((most for most in range(max(words), 1, -1) if sum(min(most, word) for word in words) <= room), 1)
    widths = [min(most, word) for word in words]
    spare, missing = room - sum(widths), [max(0, full - width) for full, width in zip(wanted, widths, strict=True)]
    if spare > 0:
        share = min(1.0, spare / max(1, sum(missing)))
        widths = [width + int(share * more) for width, more in zip(widths, missing, strict=True)]
        widths[-1] += room - sum(widths)
    return dict(zip(places, widths, strict=True))


def _broken(title: str, width: int) -> str:
    """A heading in lines no wider than the cells below it, words staying whole."""
    return "\n".join(textwrap.wrap(title, max(width, *map(len, title.split())), break_on_hyphens=False))


def _grid(table: Table, headings: Sequence[str], flexible_widths: Mapping[int, int]) -> RichTable:
    drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for place, (column, heading) in enumerate(zip(table.columns, headings, strict=True)):
        drawn.add_column(
            Text(heading),
            justify="right" if column.numeric else "left",
            width=flexible_widths.get(place),
            # Where there is too little room, labels are broken before numbers are cut.
            no_wrap=column.numeric or column.one_line,
            overflow="ellipsis" if column.one_line else "fold",
        )
    for row in table.rows:
        drawn.add_row(*[Text(cell) for cell in row])
    return drawn
