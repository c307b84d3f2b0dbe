"""The base of everything that stands in a policy: a frozen, validated record, chosen by `kind` where there are several.

A part is data and pure functions of data. It never sees a module or a tensor.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from autogrow.errors import PolicyError
from autogrow.reading.typed import typed, types_in
from autogrow.registry import Registry

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)  # it has no public name


class _Checked(ModelMetaclass):
    """Has the constructors of records say in one line what a file with the same fields would be told."""

    def __call__(cls, *unnamed: Any, **fields: Any) -> Any:
        if unnamed:
            raise PolicyError(f"{cls.__name__} takes its fields by name: write {cls.__name__}(name=value)")
        return validated(cls, fields, cls.__name__)  # type: ignore[arg-type]  # mypy does not see that cls is a class of records


class PolicyPart(BaseModel, metaclass=_Checked):
    """A frozen record whose unknown or impossible fields are refused, with a `PolicyError` of one line."""

    # The docstring under a field is its description, which `autogrow list` shows.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value_is_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # Python's true is also the number 1, and a YAML file's `yes` would silently be a fraction of 1.0.
        if isinstance(value, bool) and _takes_numbers(cls.model_fields[str(info.field_name)].annotation):
            raise ValueError(f"{info.field_name} is {value}: write a number")
        return value


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


def _takes_numbers(annotation: Any) -> bool:
    """Whether numbers, but no truth values, fit a field."""
    kinds = set(types_in(annotation))
    return bool not in kinds and not kinds.isdisjoint({int, float})


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
    return typed(model, dict(fields), where, PolicyError)
