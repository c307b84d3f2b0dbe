"""Plain data held against the types of a record: pydantic models and dataclasses."""

from collections.abc import Hashable, Sequence
from functools import cache
from typing import Any, TypeVar, cast, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError

from autogrow.errors import AutogrowError, kind_of, nearest, shortened

Record = TypeVar("Record")
MAX_VALUE_LENGTH = 80
"""Characters of a wrong value that a message repeats."""


def typed(record: type[Record], fields: Any, where: str, error: type[AutogrowError]) -> Record:
    """An instance of `record`, or an `error` of one line that names the field, the value and the limit.

    Args:
        record: A pydantic model or a dataclass. A dataclass leaves out fields that it does not know.
        where: What the message begins with, such as the file's path.
    """
    try:
        return cast(Record, _adapter(cast(Hashable, record)).validate_python(fields))
    except AutogrowError as inner:  # of a part inside
        raise error(f"{where}: {inner}") from None
    except ValidationError as failure:
        raise error(f"{where}: {_first_problem(failure, record)}") from None
    except (RecursionError, OverflowError) as failure:
        raise error(f"{where}: a value is too deep or too large ({type(failure).__name__})") from None


@cache
def _adapter(record: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(type, record))


def _first_problem(error: ValidationError, record: type) -> str:
    problem = error.errors(include_url=False)[0]
    path = ".".join(str(step) for step in problem["loc"]) or "value"
    if problem["type"] == "extra_forbidden":
        known = _fields_at(record, problem["loc"][:-1])
        return f"unknown field {path!r}; known are {', '.join(known)}{nearest(str(problem['loc'][-1]), known)}"
    if problem["type"] == "missing":
        return f"field {path!r} is missing"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    return f"{path} is {_shown(problem['input'])}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"


def _shown(value: Any) -> str:
    try:
        return shortened(repr(value), MAX_VALUE_LENGTH)
    except Exception:  # noqa: BLE001 - a caller's own object may fail to describe itself in any way
        return kind_of(value)


def _fields_at(record: type, path: Sequence[int | str]) -> list[str]:
    """The fields of the model inside `record` that `path` leads to."""
    model: Any = record
    for step in path:
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or step not in model.model_fields:
            break
        annotation = model.model_fields[str(step)].annotation
        inside = [annotation, *get_args(annotation)]  # a record, or a record or None
        model = next((entry for entry in inside if isinstance(entry, type) and issubclass(entry, BaseModel)), model)
    return list(getattr(model, "model_fields", {}))
