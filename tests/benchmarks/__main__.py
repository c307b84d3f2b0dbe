"""``python -m tests.benchmarks [--gpu] [--quick] [--threads N] [PART ...]``: tables, and results/benchmarks/PART.json.

On cores that others use too, take fewer threads than there are cores: threads of one operation wait for each other.
"""

import argparse
import sys
from pathlib import Path

import torch

from autogrow.errors import DataError
from tests.benchmarks.parts import PARTS
from tests.benchmarks.setting import Setting, data_dir_of_user
from tests.benchmarks.table import Row, print_rows, write_rows

FOLDER = Path("results/benchmarks")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description="Measures, and compares with goals."
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all that the device allows")
    parser.add_argument("--gpu", action="store_true", help="measure on the GPU, and write to PART-gpu.json")
    parser.add_argument("--quick", action="store_true", help="sizes too small to mean anything; to PART-quick.json")
    parser.add_argument("--threads", type=int, help="of PyTorch's operations on the CPU, at least 1 [PyTorch's choice]")
    arguments = parser.parse_args()
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    wanted = _checked(arguments.parts, arguments.gpu, arguments.quick)
    if arguments.gpu and not torch.cuda.is_available():
        sys.exit("--gpu, but PyTorch sees no GPU here: leave it out to measure on the CPU")
    setting = Setting(torch.device("cuda" if arguments.gpu else "cpu"), arguments.quick, data_dir_of_user())
    for name in wanted:
        try:
            print_rows(_measured(name, setting))
        except DataError as error:
            sys.exit(f"{name}: {error}")


def _checked(parts: list[str], gpu: bool, quick: bool) -> list[str]:
    """The parts that are meant. Exits with one line for an unknown one, or one that has no such size or device."""
    for name in parts:
        if name not in PARTS:
            sys.exit(f"unknown part {name!r}: known are {', '.join(PARTS)}")
        if (gpu or quick) and not PARTS[name].on_any_device:
            sys.exit(f"part {name!r} is measured on the CPU, at one size: leave out --gpu and --quick")
    return parts or [name for name, part in PARTS.items() if part.on_any_device or not (gpu or quick)]


def _measured(name: str, setting: Setting) -> list[Row]:
    """The rows of one part, written after each of them: what is cut off by a time limit is not lost."""
    path = FOLDER / f"{name}{'-quick' if setting.quick else ''}{'-gpu' if setting.is_gpu else ''}.json"
    rows: list[Row] = []
    for row in PARTS[name].rows(setting):
        rows.append(row)
        write_rows(rows, path, setting.device)
    return rows


if __name__ == "__main__":
    main()
