"""``python -m tests.benchmarks [PART ...]`` prints a table and writes results/benchmarks/NAME.json."""

import sys
from pathlib import Path

from tests.benchmarks import forks, gromo_comparison, network, orchestration, search, shock
from tests.benchmarks.table import Row, print_rows, write_rows
from tests.benchmarks.timing import measure_command


def start_rows() -> list[Row]:
    shown = measure_command(["-m", "autogrow", "--help"], 11)
    imported = measure_command(["-c", "import autogrow"], 11)
    return [
        Row("autogrow --help", str(shown), "under 0.3 s", shown.median < 0.3),
        Row("import autogrow (whole process)", str(imported), "under 0.2 s", imported.median < 0.2),
    ]


PARTS = {
    "start": start_rows,
    "network": network.rows,
    "search": search.rows,
    "orchestration": orchestration.rows,
    "gromo": gromo_comparison.rows,
    "shock": shock.rows,
    "forks": forks.rows,
}


def main() -> None:
    wanted = sys.argv[1:] or list(PARTS)
    unknown = [name for name in wanted if name not in PARTS]
    if unknown:
        sys.exit(f"unknown part {unknown[0]!r}: known are {', '.join(PARTS)}")
    rows = [row for name in wanted for row in PARTS[name]()]
    print_rows(rows)
    write_rows(rows, Path("results/benchmarks") / f"{'-'.join(wanted)}.json")


if __name__ == "__main__":
    main()
