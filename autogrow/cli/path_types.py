"""Types of options and arguments that are paths, by the one rule for all: see `autogrow.paths`."""

import os
from pathlib import Path
from typing import Any

import click

from autogrow.paths import is_url, resolved


class ResolvedPath(click.Path):
    """A path, made absolute; nothing has to stand there, but nothing of another kind may."""

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(resolved(value), param, ctx)


class Place(ResolvedPath):
    """A folder, or a URL, which stays as it is."""

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return os.fspath(value) if is_url(value) else str(super().convert(value, param, ctx))


FOLDER = ResolvedPath(file_okay=False, path_type=Path)
FILE = ResolvedPath(dir_okay=False, path_type=Path)
PLACE = Place(file_okay=False)
