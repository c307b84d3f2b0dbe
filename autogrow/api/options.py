"""Options that functions take by the command line's names, as the records that hold them."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from autogrow.policy.execution import Execution
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.limits import SizeLimits
from autogrow.reading.fields import parse_bytes


def bytes_of(size: str | int | None, name: str) -> int | None:
    """A size in bytes, of a number or a text such as "800M"; `name` is the argument's."""
    return parse_bytes(size, name) if isinstance(size, str) else size


def merged(given: Any, more: Mapping[str, Any]) -> Any:
    """A record or mapping with what stands in place of its fields; as it is where nothing does."""
    changes = {key: value for key, value in more.items() if value is not None}
    if not changes or not isinstance(given, BaseModel | Mapping | None):
        return given
    before = given.model_dump() if isinstance(given, BaseModel) else dict(given or {})
    return {**before, **changes}


def execution_of(given: Execution, precision: str | None, compile: bool | None) -> Execution:
    """How training is executed: as given, but for what has an option of its own."""
    return Execution(**merged(given.model_dump(), {"precision": precision, "compile": compile}))


def within(
    policy: GrowthPolicy,
    max_params: int | None,
    max_flops: float | None,
    max_memory: str | int | None,
    max_latency_ms: float | None,
) -> GrowthPolicy:
    """The policy with its limits tightened to these.

    Raises:
        PolicyError: A limit that is no positive number.
        UsageError: A memory that is no size.
    """
    return policy.within(
        SizeLimits(
            max_parameters=max_params,
            max_flops=max_flops,
            max_memory_bytes=bytes_of(max_memory, "max_memory"),
            max_latency_ms=max_latency_ms,
        )
    )
