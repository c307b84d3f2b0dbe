"""Types of fields that several records have, with their bounds."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from autogrow.errors import UsageError, shortened
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


def check_seed(seed: int) -> None:
    """Raises `UsageError` for a seed that there cannot be."""
    if not 0 <= seed < 2**32:
        raise UsageError(f"seed {seed} is not between 0 and {2**32 - 1}: leave it out for 0")


def parse_bytes(text: str | None, flag: str) -> int | None:
    """Bytes of a size such as 800M or 4G, as a flag gives it; None stays None."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    unit = 1024 ** (1 + "KMGT".find(match[2].upper())) if match is not None and match[2] else 1
    if match is None or float(match[1]) * unit < 1:
        raise UsageError(f"{flag} {shortened(text, 40)!r} is not a size above 0: write for example 800M or 4G")
    if float(match[1]) * unit > MOST_BYTES:
        raise UsageError(f"{flag} {shortened(text, 40)!r} is more than {MOST_BYTES} bytes, which no machine has")
    return int(float(match[1]) * unit)
