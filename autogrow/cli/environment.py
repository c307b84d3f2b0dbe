"""``autogrow list`` and ``doctor``: what there is to choose from, and whether this machine can do it."""

import json
import os
import shutil
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import click

from autogrow.cli.options import data_dir_option
from autogrow.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from autogrow.policy.part import PolicyChoice
    from autogrow.registry import Registry


LIST_WIDTH = 110
"""Columns of text that lists are wrapped to; fewer where the terminal is narrower."""


@click.command("list")
@click.argument("kind", required=False)
def list_names(kind: str | None) -> None:
    """List what policies and commands can name: triggers, initializations, models, objectives ...

    With a KIND, its entries in full: formula, source, fields with their defaults.
    """
    parts, others = part_kinds(), _other_kinds()
    if kind is not None and kind not in (*parts, *others):
        raise UsageError(unknown_name("kind", kind, [*parts, *others]))
    if kind in parts:
        _show_in_full(parts[kind])
        return
    for name in [kind] if kind else [*parts, *others]:
        entries = _summaries(parts[name]) if name in parts else others[name]()
        click.echo(f"{name}:")
        for entry, summary in entries.items():
            click.echo(f"  {entry:20} {summary}")


def part_kinds() -> dict[str, "Registry[type[Any]]"]:
    """The registries of what stands in a policy, and of what a network is shrunk by."""
    from autogrow.policy.block_initializations import BLOCK_INITIALIZATIONS
    from autogrow.policy.depth import DEPTH_GROWTHS
    from autogrow.policy.freezing import FREEZINGS
    from autogrow.policy.initializations import INITIALIZATIONS
    from autogrow.policy.layer_selection import LAYER_SELECTIONS
    from autogrow.policy.removals import REMOVALS
    from autogrow.policy.triggers import TRIGGERS
    from autogrow.policy.unit_scores import UNIT_SCORES
    from autogrow.policy.width_shrinking import WIDTH_SHRINKINGS

    return {
        "triggers": TRIGGERS,
        "layer-selections": LAYER_SELECTIONS,
        "initializations": INITIALIZATIONS,
        "freezings": FREEZINGS,
        "depth-growths": DEPTH_GROWTHS,
        "width-shrinkings": WIDTH_SHRINKINGS,
        "block-initializations": BLOCK_INITIALIZATIONS,
        "unit-scores": UNIT_SCORES,
        "removals": REMOVALS,
    }


def _summaries(registry: "Registry[type[Any]]") -> dict[str, str]:
    return {name: part.summary + _from(registry, name) for name, part in registry.items()}


def _from(registry: "Registry[Any]", name: str) -> str:
    """Which package an entry is from, where it is not ours."""
    origin = registry.origin(name)
    return "" if origin is None else f"  [{origin}]"


def _first_line(entry: Any) -> str:
    return ((entry.__doc__ or "").strip().splitlines() or [""])[0]


def _other_kinds() -> dict[str, Callable[[], dict[str, str]]]:
    """What else has a name, as functions that make name and summary of each entry."""

    def models() -> dict[str, str]:
        from autogrow.models import MODELS

        return {name: _first_line(factory) + _from(MODELS, name) for name, factory in MODELS.items()}

    def tasks() -> dict[str, str]:
        from autogrow.tasks import TASKS

        return {name: _first_line(type(task)) + _from(TASKS, name) for name, task in TASKS.items()}

    def tokenizers() -> dict[str, str]:
        from autogrow.data.tokenizers import TOKENIZERS

        return {name: _first_line(each) + _from(TOKENIZERS, name) for name, each in TOKENIZERS.items()}

    def datasets() -> dict[str, str]:
        from autogrow.data.catalogue import ENTRIES, PACKAGED

        ours = {name: entry.title for name, entry in ENTRIES.items()}
        return {**{name: _first_line(load) + _from(PACKAGED, name) for name, load in PACKAGED.items()}, **ours}

    def objectives() -> dict[str, str]:
        from autogrow.metrics.objectives import OBJECTIVES

        # A loss has its unit from the task, which is not known here.
        summaries = {name: objective.summary.replace(" ({loss_unit})", "") for name, objective in OBJECTIVES.items()}
        return {name: summary + _from(OBJECTIVES, name) for name, summary in summaries.items()}

    def search_spaces() -> dict[str, str]:
        from autogrow.study.search_space import shipped_spaces

        return {name: path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
                for name, path in shipped_spaces().items()}  # fmt: skip

    return {
        "models": models,
        "tasks": tasks,
        "datasets": datasets,
        "tokenizers": tokenizers,
        "objectives": objectives,
        "search-spaces": search_spaces,
    }


def _show_in_full(registry: "Registry[type[Any]]") -> None:
    entries = registry.items()
    for name, part in entries:
        click.echo(_in_full(name, part) + "\n")
    if entries[0][1].notation:
        click.echo(_paragraph("where", entries[0][1].notation))


def _in_full(name: str, part: type["PolicyChoice"]) -> str:
    """One method: name and summary, formula, source, and a paragraph for every field."""
    lines = [f"{name}: {part.summary}"]
    lines += [_paragraph("formula", part.formula)] if part.formula else []
    lines += [_paragraph("source", part.source)]
    for field, info in part.model_fields.items():
        about = " ".join((info.description or "").split())
        allowed = _allowed(info)
        lines.append(_paragraph(f"{field}: {_written(info.default)}", about + (f" ({allowed})" if allowed else "")))
    return "\n".join(lines)


def _paragraph(head: str, text: str) -> str:
    width = max(60, min(LIST_WIDTH, shutil.get_terminal_size().columns))
    indent = " " * 31
    return textwrap.fill(text, width, initial_indent=f"  {head:28} ", subsequent_indent=indent, break_on_hyphens=False)


def _written(value: Any) -> str:
    """A default as it would stand in a policy file."""
    if hasattr(value, "kind"):
        return str(value.kind)
    if hasattr(value, "model_dump"):  # a part with fields of its own: those that are other than usual
        value = value.model_dump(exclude_defaults=True)
    return json.dumps(value).strip('"')


def _allowed(info: "FieldInfo") -> str:
    """The values that a field takes, where its type limits them."""
    if get_origin(info.annotation) is Literal:
        return "one of " + ", ".join(map(str, get_args(info.annotation)))
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    limits = {key: getattr(limit, key) for limit in info.metadata for key in words if hasattr(limit, key)}
    return ", ".join(f"{words[key]} {value}" for key, value in limits.items())


@click.command()
@data_dir_option
def doctor(data_dir: str | None) -> None:
    """Show versions, devices, memory, free disk and data sets, and what is missing."""
    import torch

    from autogrow.data import list_datasets
    from autogrow.inputs import resolve_data_dir
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
