"""The base of everything that stands in a policy: a frozen, validated record, chosen by `kind` where there are several.

A part is data and pure functions of data. It never sees a module or a tensor.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from autogrow.errors import PolicyError, nearest
from autogrow.registry import Registry


class PolicyPart(BaseModel):
    """A frozen record whose unknown or impossible fields are refused."""

    # The docstring under a field is its description, which `autogrow list` shows.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class PolicyChoice(PolicyPart):
    """A part of which several kinds exist; written as ``{kind: NAME, ...}`` or, with its defaults, as ``NAME``."""

    kind: ClassVar[str]
    summary: ClassVar[str]
    """One line for lists: what it does."""
    formula: ClassVar[str] = ""
    """The rule as plain text, where there is one; names in it are fields, or explained in the class's docstring."""
    notation: ClassVar[str] = ""
    """The symbols that the formulas of parts of this sort share."""
    source: ClassVar[str] = ""
    """The paper or the part of the thesis that it comes from, and what is ours."""

    def describe(self) -> dict[str, Any]:
        """The part as it stands in a policy file, its kind first."""
        return {"kind": self.kind, **self.model_dump()}


Choice = TypeVar("Choice", bound=PolicyChoice)
Model = TypeVar("Model", bound=BaseModel)


def choice_parser(registry: Registry[type[Choice]]) -> Callable[[Any], Choice]:
    """A function that turns ``{kind: NAME, ...}``, ``NAME`` or a ready part into the part."""

    def parse(value: Any) -> Choice:
        if isinstance(value, str):
            value = {"kind": value}
        if isinstance(value, PolicyChoice):
            return value  # type: ignore[return-value]
        if not isinstance(value, Mapping) or not isinstance(value.get("kind"), str):
            raise PolicyError(f"{registry.kind}: {value!r} needs a kind, one of: {', '.join(registry)}")
        fields = {name: entry for name, entry in value.items() if name != "kind"}
        return validated(registry[value["kind"]], fields, f"{registry.kind} {value['kind']!r}")

    return parse


def validated(model: type[Model], fields: Mapping[str, Any], where: str) -> Model:
    """An instance of `model`, or a `PolicyError` of one line that names the field, the value and the limit."""
    try:
        return model.model_validate(dict(fields))
    except PolicyError as error:  # of a part inside
        raise PolicyError(f"{where}: {error}") from None
    except ValidationError as error:
        raise PolicyError(f"{where}: {_first_problem(error, model)}") from None


def _first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    problem = error.errors(include_url=False)[0]
    path = ".".join(str(step) for step in problem["loc"]) or "value"
    if problem["type"] == "extra_forbidden":
        known = _fields_at(model, problem["loc"][:-1])
        return f"unknown field {path!r}; known are {', '.join(known)}{nearest(str(problem['loc'][-1]), known)}"
    if problem["type"] == "missing":
        return f"field {path!r} is missing"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    return f"{path} is {problem['input']!r}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"


def _fields_at(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """The fields of the record inside `model` that `path` leads to."""
    for step in path:
        annotation = model.model_fields[str(step)].annotation
        inside = [annotation, *get_args(annotation)]  # a record, or a record or None
        model = next(entry for entry in inside if isinstance(entry, type) and issubclass(entry, BaseModel))
    return list(model.model_fields)
