"""``autogrow list`` and ``doctor``: what there is to choose from, and whether this machine can do it."""

import os
import shutil
from collections.abc import Callable

import click

from autogrow.cli.options import data_dir_option
from autogrow.errors import UsageError, unknown_name


@click.command("list")
@click.argument("kind", required=False)
def list_names(kind: str | None) -> None:
    """List what policies and commands can name: triggers, initializations, models, objectives ..."""
    kinds = _kinds()
    if kind is not None and kind not in kinds:
        raise UsageError(unknown_name("kind", kind, kinds))
    for name in [kind] if kind else kinds:
        click.echo(f"{name}:")
        for entry, summary in kinds[name]().items():
            click.echo(f"  {entry:20} {summary}")


def _kinds() -> dict[str, Callable[[], dict[str, str]]]:
    from autogrow.policy.freezing import FREEZINGS
    from autogrow.policy.initializations import INITIALIZATIONS
    from autogrow.policy.layer_selection import LAYER_SELECTIONS
    from autogrow.policy.triggers import TRIGGERS

    def models() -> dict[str, str]:
        from autogrow.models import MODELS

        return {name: (factory.__doc__ or "").splitlines()[0] for name, factory in MODELS.items()}

    def objectives() -> dict[str, str]:
        from autogrow.study.objectives import OBJECTIVES

        return {name: f"{objective.direction} the {objective.title}" for name, objective in OBJECTIVES.items()}

    return {
        "triggers": lambda: {name: part.summary for name, part in TRIGGERS.items()},
        "layer-selections": lambda: {name: part.summary for name, part in LAYER_SELECTIONS.items()},
        "initializations": lambda: {name: part.summary for name, part in INITIALIZATIONS.items()},
        "freezings": lambda: {name: part.summary for name, part in FREEZINGS.items()},
        "models": models,
        "objectives": objectives,
    }


@click.command()
@data_dir_option
def doctor(data_dir: str | None) -> None:
    """Show versions, devices, memory, free disk and data sets, and what is missing."""
    import torch

    from autogrow.api import resolve_data_dir
    from autogrow.data import list_datasets
    from autogrow.study.settings import available_cores, versions

    for name, version in versions().items():
        click.echo(f"{name:14} {version}")
    click.echo(f"{'cores':14} {available_cores()}")
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    click.echo(f"{'memory':14} {memory_gib:.1f} GiB")
    click.echo(f"{'disk':14} {shutil.disk_usage('.').free / 2**30:.1f} GiB free here")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            click.echo(f"{f'gpu {index}':14} {properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    else:
        click.echo(f"{'gpu':14} none that PyTorch {torch.__version__} sees: trials run on the CPU")
    folder = resolve_data_dir(data_dir)
    present = [listing.name for listing in list_datasets(folder) if listing.present]
    click.echo(f"{'data':14} {', '.join(present)} (in {folder})")
