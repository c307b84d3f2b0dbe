"""Plain data held against the types of a record: pydantic models and dataclasses."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from autogrow.errors import AutogrowError, kind_of, nearest, shortened

Record = TypeVar("Record")
LARGEST_TELLING_BOUND = 2**53
"""A larger one only says that no machine has so many, and is told where a number is above it."""
MAX_VALUE_LENGTH = 80
"""Characters of a wrong value that a message repeats."""

BOUNDS = ("ge", "gt", "le", "lt")
"""As pydantic calls them: the least value and the greatest, or those just outside."""


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
        known = list(getattr(_model_at(record, problem["loc"][:-1]), "model_fields", {}))
        return f"unknown field {path!r}; known are {', '.join(known)}{nearest(str(problem['loc'][-1]), known)}"
    if problem["type"] == "missing":
        return f"field {path!r} is missing"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    return f"{path} is {_shown(problem['input'])}: {_fix(problem, record)}"


def _fix(problem: Mapping[str, Any], record: type) -> str:
    """What to give instead of a wrong value: of a number within both its bounds, whatever was wrong with it."""
    if number := _number_wanted(problem, record):
        return f"give {number}"
    message = str(problem["msg"])
    fix = message.removeprefix("Input should be ")
    return f"give {fix}" if fix != message else f"{message[:1].lower()}{message[1:]}"


def _number_wanted(problem: Mapping[str, Any], record: type) -> str | None:
    """In words; None where another value than a number may be meant."""
    fields = getattr(_model_at(record, problem["loc"][:-1]), "model_fields", {}) if problem["loc"] else {}
    field = fields.get(problem["loc"][-1]) if fields else None
    kinds = set() if field is None else {*types_in(field.annotation)} - {NoneType}
    if field is None or not kinds or not kinds <= {int, float}:
        passed = {name: bound for name, bound in problem.get("ctx", {}).items() if name in BOUNDS}
        return _number_within("a number", passed) if passed else None
    bounds = _bounds_in(field.annotation, *field.metadata)
    if bounds.get("le", 0) > LARGEST_TELLING_BOUND and not problem["type"].startswith("less"):
        bounds.pop("le")
    return _whole_number_within(bounds) if kinds == {int} else _number_within("a number", bounds)


def types_in(annotation: Any) -> Iterator[type]:
    """The types that an annotation names: itself, or those of a union, with or without bounds."""
    if isinstance(annotation, type):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, Annotated):
        for inside in get_args(annotation):
            yield from types_in(inside)


def _bounds_in(annotation: Any, *rules: Any) -> dict[str, float]:
    """The bounds of a number by their names in `BOUNDS`, of its `rules` and within its annotation."""
    inside = get_args(annotation)
    found: dict[str, float] = {}
    for each in inside if get_origin(annotation) in (Union, UnionType) else ():
        found |= _bounds_in(each)
    for rule in (*rules, *(inside[1:] if get_origin(annotation) is Annotated else ())):
        for part in rule.metadata if isinstance(rule, FieldInfo) else (rule,):
            found |= {name: getattr(part, name) for name in BOUNDS if hasattr(part, name)}
    return found


def _whole_number_within(bounds: Mapping[str, float]) -> str:
    closed = {"gt": ("ge", 1), "lt": ("le", -1)}
    names = {name: closed.get(name, (name, 0)) for name in bounds}
    return _number_within("a whole number", {name: bounds[was] + by for was, (name, by) in names.items()})


def _number_within(name: str, bounds: Mapping[str, float]) -> str:
    """For example "a number from 0 to 1", "a number above 0 and at most 1"."""
    shown = {kind: str(bound) if isinstance(bound, int) else f"{bound:.12g}" for kind, bound in bounds.items()}
    if {"ge", "le"} <= shown.keys():
        return f"{name} from {shown['ge']} to {shown['le']}"
    words = {"ge": "of at least", "gt": "above", "le": "at most" if "gt" in shown else "of at most", "lt": "below"}
    return " ".join(
        (name, " and ".join(f"{word} {shown[kind]}" for kind, word in words.items() if kind in shown))
    ).strip()


def _shown(value: Any) -> str:
    try:
        return shortened(repr(value), MAX_VALUE_LENGTH)
    except Exception:  # noqa: BLE001 - a caller's own object may fail to describe itself in any way
        return kind_of(value)


def _model_at(record: type, path: Sequence[int | str]) -> Any:
    """The model inside `record` that `path` leads to."""
    model: Any = record
    for step in path:
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or step not in model.model_fields:
            break
        annotation = model.model_fields[str(step)].annotation
        inside = [annotation, *get_args(annotation)]  # a record, or a record or None
        model = next((entry for entry in inside if isinstance(entry, type) and issubclass(entry, BaseModel)), model)
    return model
