"""One row per measurement, printed as a table and written as JSON."""

import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from autogrow.files import write_text_atomically
from autogrow.study.settings import versions


@dataclass(frozen=True)
class Row:
    what: str
    measured: str
    goal: str
    reached: bool | None
    """None where there is no goal."""


def print_rows(rows: list[Row]) -> None:
    table = Table("what", "measured", "goal", "reached")
    for row in rows:
        table.add_row(row.what, row.measured, row.goal, {True: "yes", False: "no", None: ""}[row.reached])
    Console(width=140).print(table)


def write_rows(rows: list[Row], path: Path, device: torch.device) -> None:
    content = {
        "date": date.today().isoformat(),
        "machine": _machine(device),
        "versions": versions(),
        "rows": [asdict(row) for row in rows],
    }
    write_text_atomically(path, json.dumps(content, indent=2) + "\n")


def _machine(device: torch.device) -> dict[str, object]:
    """What the figures depend on, beside versions."""
    machine: dict[str, object] = {
        "processor": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
    }
    if device.type == "cuda":
        machine |= {"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return machine
