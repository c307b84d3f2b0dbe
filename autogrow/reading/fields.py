"""Types of fields that several records have, with their bounds."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from autogrow.reading import plain

MOST_SECONDS = 10 * 365 * 24 * 3600.0
MOST_BYTES = 2**60


def _plain(value: Any) -> Any:
    return plain.checked(value)


PlainTable = Annotated[dict[str, Any], AfterValidator(_plain)]
"""Names and values of any kind that a file can hold and give back."""
Seconds = Annotated[float, Field(gt=0, le=MOST_SECONDS)]
"""A stretch of time of at most ten years."""
Bytes = Annotated[int, Field(ge=1, le=MOST_BYTES)]
Count = Annotated[int, Field(ge=1, le=plain.LARGEST_INTEGER)]
