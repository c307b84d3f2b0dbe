"""What a user's code raises, as one line that says when."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from autogrow.errors import AutogrowError, NetworkError, one_line


@contextmanager
def explained(what: str) -> Iterator[None]:
    """User's code runs inside; whatever it raises becomes a `NetworkError` that begins with `what`.

    Lack of memory stays what it is: other batches or smaller networks help there.
    """
    try:
        yield
    except (AutogrowError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise NetworkError(f"{what}: {one_line(error)[:300]}") from error
