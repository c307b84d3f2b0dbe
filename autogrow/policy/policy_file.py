"""Policy files: YAML that is data only. Safe loading, a version, a size limit, no aliases, no import strings."""

import re
from pathlib import Path
from typing import Any

import yaml

from autogrow.errors import PolicyError
from autogrow.files import write_text_atomically

FORMAT_NAME = "autogrow-policy"
FORMAT_VERSION = 1
MAX_BYTES = 64 * 1024


def read_policy_file(path: Path) -> dict[str, Any]:
    """The fields of a policy file, without its format line."""
    fields = read_yaml_mapping(path, "policy file")
    check_format(fields.pop("format", None), path)
    return fields


def write_policy_file(path: Path, fields: dict[str, Any]) -> None:
    document = {"format": f"{FORMAT_NAME}/{FORMAT_VERSION}", **fields}
    write_text_atomically(path, yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=110))


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
    """The top-level mapping of a small YAML file, loaded safely; raises `PolicyError` with the place of the fault."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise PolicyError(f"{path}: {size} bytes, a {what} has at most {MAX_BYTES}")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise PolicyError(f"{path}: cannot read the {what}: {reason}") from None
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise PolicyError(f"{path}: a {what} has no YAML aliases (*name); write the value out")
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}" if mark else ""
        raise PolicyError(
            f"{path}: not valid YAML{place}: {getattr(error, 'problem', None) or 'cannot be parsed'}"
        ) from None
    except RecursionError:
        raise PolicyError(f"{path}: the {what} is nested too deeply") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise PolicyError(f"{path}: a {what} is a YAML mapping of names to values")
    return content
