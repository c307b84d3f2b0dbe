"""``autogrow data list`` and ``fetch``."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from autogrow.cli.groups import Commands, help_alone
from autogrow.cli.options import data_dir_option, json_option

if TYPE_CHECKING:
    from autogrow.data import DatasetListing


@click.group(cls=Commands)
@click.pass_context
def data(ctx: click.Context) -> None:
    """Data sets: what is there, and getting the others."""
    help_alone(ctx)


@data.command("list")
@data_dir_option
@json_option
def list_data(data_dir: str | None, as_json: bool) -> None:
    """Show the data sets that have a name: autogrow's own, and those of installed packages."""
    from autogrow.data import list_datasets
    from autogrow.inputs import resolve_data_dir

    listings = list_datasets(resolve_data_dir(data_dir))
    if as_json:
        click.echo(json.dumps([asdict(listing) for listing in listings], default=str))
        return
    for listing in listings:
        click.echo(_line(listing))
    click.echo("or the path of a .npz file with x_train, y_train and, if there is one, x_test, y_test; or of a text")


def _line(listing: "DatasetListing") -> str:
    start = f"{listing.name:14} {'there' if listing.present else 'missing':8}"
    if listing.package is not None:
        return f"{start} {listing.title}  [{listing.package}]"
    shape = " x ".join(map(str, listing.input_shape or ()))
    counts = f"{listing.num_train:>6} train {listing.num_test:>6} test"
    return f"{start} {listing.task:15} {shape:12} {counts}  {listing.title}"


@data.command()
@click.argument("name")
@data_dir_option
def fetch(name: str, data_dir: str | None) -> None:
    """Download a data set's official files, checksums verified; without a network, say what to put where."""
    from autogrow.data import fetch_dataset
    from autogrow.inputs import resolve_data_dir

    click.echo(fetch_dataset(name, resolve_data_dir(data_dir)).message)
