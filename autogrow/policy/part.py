"""The base of everything that stands in a policy: a frozen, validated record, chosen by `kind` where there are several.

A part is data and pure functions of data. It never sees a module or a tensor.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from autogrow.errors import PolicyError, nearest
from autogrow.registry import Registry


class PolicyPart(BaseModel):
    """A frozen record whose unknown or impossible fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PolicyChoice(PolicyPart):
    """A part of which several kinds exist; written as ``{kind: NAME, ...}`` or, with its defaults, as ``NAME``."""

    kind: ClassVar[str]
    summary: ClassVar[str]
    """One line for lists: what it does, and the source."""

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
        known = list(model.model_fields)
        return f"unknown field {path!r}; known are {', '.join(known)}{nearest(path, known)}"
    if problem["type"] == "missing":
        return f"field {path!r} is missing"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    return f"{path} is {problem['input']!r}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"
