"""What a user waits for before anything happens."""

from tests.benchmarks.table import Row
from tests.benchmarks.timing import measure_command


def rows() -> list[Row]:
    shown = measure_command(["-m", "autogrow", "--help"], 11)
    imported = measure_command(["-c", "import autogrow"], 11)
    return [
        Row("autogrow --help", str(shown), "under 0.3 s", shown.median < 0.3),
        Row("import autogrow (whole process)", str(imported), "under 0.2 s", imported.median < 0.2),
    ]
