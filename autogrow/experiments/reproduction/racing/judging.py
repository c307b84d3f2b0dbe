"""Which rule is best: all of them replayed on every table, chosen on all tables but one and judged on that one."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np

from autogrow.experiments.reproduction.racing.replay import STOPPING, Drawn, Outcomes, in_processes, replay
from autogrow.experiments.reproduction.racing.rules import RULES
from autogrow.metrics import numbers
from autogrow.report.tables import Column, Table

BASELINE = "one seed", "half of any, by score"
"""What searches did before they raced."""
MOST_WORSE = 0.1
MOST_REGRET = 0.4
"""Of the baseline's."""
Way = tuple[str, str]
"""A rule, and how runs are stopped early."""


@dataclass(frozen=True)
class Replayed:
    """All ways to search, on one table."""

    name: str
    outcomes: Mapping[Way, Outcomes]

    def regret_share(self, way: Way) -> float:
        """Of the baseline's regret; 1 where that has none."""
        baseline = self.outcomes[BASELINE].regret
        return self.outcomes[way].regret / baseline if baseline > 0 else 1.0

    def meets_goals(self, way: Way) -> bool:
        """Seldom worse than the default policy, less regret than the baseline by far, and than always the default."""
        found = self.outcomes[way]
        return (
            found.worse_than_default <= MOST_WORSE
            and self.regret_share(way) <= MOST_REGRET
            and found.regret <= found.default_regret
        )


def replay_all(name: str, table: Drawn, num_runs: int, num_searches: int, seed: int, jobs: int = 1) -> Replayed:
    """Every rule with every way of stopping; `jobs` processes replay at a time, with one it is this process."""
    ways: list[Way] = list(product(RULES, STOPPING))
    replay_way = partial(_replay_way, table, num_runs, num_searches, seed)
    return Replayed(name, dict(zip(ways, in_processes(replay_way, ways, jobs), strict=True)))


def _replay_way(table: Drawn, num_runs: int, num_searches: int, seed: int, way: Way) -> Outcomes:
    rule, stopping = way
    return replay(table, RULES[rule](table), num_runs, num_searches, seed, stopping)


def chosen_way(tables: Mapping[str, Replayed]) -> Way:
    """The least mean regret, as a share of the baseline's, among ways that are seldom worse than the default policy.

    Where none is seldom worse on all tables, the one that is so least often.
    """
    ways = next(iter(tables.values())).outcomes
    worst = {way: max(each.outcomes[way].worse_than_default for each in tables.values()) for way in ways}
    sound = [way for way in ways if worst[way] <= MOST_WORSE]
    if not sound:
        return min(ways, key=lambda way: worst[way])
    return min(sound, key=lambda way: float(np.mean([each.regret_share(way) for each in tables.values()])))


def ways_table(replayed: Replayed, num_runs: int, num_searches: int) -> Table:
    """What every way comes to on one table."""
    rows = []
    for way, found in replayed.outcomes.items():
        rows.append(
            (
                way[0],
                way[1],
                f"{found.worse_than_default:.0%}",
                numbers.SIGNIFICANT.text(found.regret),
                f"{replayed.regret_share(way):.2f}",
                f"{found.claimed:.0%}",
                "-" if np.isnan(found.claimed_rightly) else f"{found.claimed_rightly:.0%}",
                "-" if np.isnan(found.stopped_good) else f"{found.stopped_good:.0%}",
                f"{found.num_runs:.0f}",
            )
        )
    always = next(iter(replayed.outcomes.values())).default_regret
    titles = ("worse", "regret", "of before", "sure", "rightly", "good stopped", "runs")
    columns = (Column("rule"), Column("stopping"), *(Column(title, numeric=True) for title in titles))
    note = (
        f"{num_searches:,} searches each, at the training FLOPs of {num_runs} average runs. worse: choices that are "
        "truly worse than the default policy; regret: mean distance from the truly best policy (always answering "
        f'"the default policy": {numbers.SIGNIFICANT.text(always)}); of before: as a share of {BASELINE[0]} with '
        f"{BASELINE[1]} stopping; sure: claims, by 95 %, to be better than the default policy, and how many of these "
        "are right; good stopped: of the truly best three."
    )
    return Table(replayed.name, columns, tuple(rows), note)


def left_out_table(tables: Mapping[str, Replayed]) -> Table:
    """The way that the other tables choose, judged on the one left out."""
    rows = []
    for name, replayed in tables.items():
        others = {other: each for other, each in tables.items() if other != name}
        if not others:
            continue
        way = chosen_way(others)
        found = replayed.outcomes[way]
        rows.append(
            (
                name,
                *way,
                f"{found.worse_than_default:.0%}",
                f"{replayed.regret_share(way):.2f}",
                "less" if found.regret < found.default_regret else "more",
                "met" if replayed.meets_goals(way) else "missed",
            )
        )
    titles = ("worse", "regret of before", "than default", "goals")
    columns = (Column("judged on"), Column("rule"), Column("stopping"), *(Column(t, numeric=True) for t in titles))
    note = (
        "Chosen on the other tables, judged on this one. Goals: worse than the default policy at most "
        f"{MOST_WORSE:.0%}, regret at most {MOST_REGRET} of before, and no more than always answering the default."
    )
    return Table("Chosen without the table that judges", columns, tuple(rows), note)
