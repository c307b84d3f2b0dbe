"""Policy files: YAML that is data only, with a version and without import strings. They say where they are from."""

import re
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict

from autogrow.errors import PolicyError
from autogrow.former_names import with_present_names
from autogrow.reading.fields import PlainTable
from autogrow.reading.yaml_files import read_yaml

FORMAT_NAME = "autogrow-policy"
FORMAT_VERSION = 1


class Origin(BaseModel):
    """Where a policy comes from, which commands take what they are not told from: of ``found_by`` the fields that
    something is made of. Whatever else stands there is for readers."""

    model_config = ConfigDict(extra="allow", frozen=True)

    study: str | None = None
    dataset: str | None = None
    task: str | None = None
    layout: str | None = None
    fingerprint: str | None = None
    train_size: int | None = None
    model: str | None = None
    model_options: PlainTable | None = None
    metrics: Annotated[PlainTable | None, BeforeValidator(with_present_names)] = None
    confirmed: PlainTable | None = None


def read_policy_file(path: Path) -> dict[str, Any]:
    """The fields of a policy file, without its format line."""
    fields = read_yaml_mapping(path, "policy file")
    check_format(fields.pop("format", None), path)
    return fields


def policy_text(fields: dict[str, Any]) -> str:
    """The content of a policy file."""
    document = {"format": f"{FORMAT_NAME}/{FORMAT_VERSION}", **fields}
    return yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=110)


def check_format(value: object, path: Path) -> None:
    """Raises `PolicyError` unless `value` names a policy format that this version reads."""
    expected = f"{FORMAT_NAME}/{FORMAT_VERSION}"
    match = re.fullmatch(rf"{FORMAT_NAME}/(\d{{1,6}})", value) if isinstance(value, str) else None
    if match is None:
        raise PolicyError(f"{path}: format is {value!r}, expected {expected!r} in the first line")
    if int(match[1]) > FORMAT_VERSION:
        raise PolicyError(
            f"{path}: format {value!r} is newer than {expected!r}, the newest this autogrow reads; update it"
        )


def read_yaml_mapping(path: Path, what: str) -> dict[str, Any]:
    """The top-level mapping of a small YAML file. Raises `PolicyError` with the place of the fault."""
    return read_yaml(path, what, PolicyError)
