"""What ``config.json`` of a saved network holds, field by field, with bounds: nothing is built before it is checked."""

import math
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from autogrow.data.arrays import Layout
from autogrow.data.tokenizers import TokenRecord
from autogrow.errors import NetworkError
from autogrow.network.shape import NetworkShape
from autogrow.reading.json_files import read_json
from autogrow.reading.typed import typed
from autogrow.tasks.labels import ClassName
from autogrow.tasks.registry import TaskName

FORMAT_NAME = "autogrow-network"
FORMAT_VERSION = 1
FORMAT = f"{FORMAT_NAME}/{FORMAT_VERSION}"
MOST_INPUTS = 2**27
"""Numbers of one example."""
FIX = "restore it from a copy"

_Count = Annotated[int, Field(strict=True, ge=1, le=10_000_000)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Part(BaseModel):
    """What newer versions have written besides is left as it is."""

    model_config = ConfigDict(extra="allow", frozen=True)


class SavedModel(_Part):
    """The factory, and what it is called with."""

    name: str
    options: dict[str, Any]


class SavedPreprocessing(_Part):
    """One mean and standard deviation per channel or feature."""

    mean: list[float] = Field(min_length=1)
    std: list[_Positive] = Field(min_length=1)


class SavedData(_Part):
    """Which data set the network was trained on."""

    name: str | None = None
    fingerprint: str | None = None
    train_size: _Count | None = None


class SavedLineage(_Part):
    """Of a network that others were made smaller for."""

    test_readings: int = Field(default=0, strict=True, ge=0, le=1_000_000_000)


class NetworkRecord(_Part):
    """The fields that something is made of; the others are for readers."""

    model: SavedModel
    input_shape: tuple[_Count, ...] = Field(min_length=1, max_length=8)
    num_outputs: _Count
    task: TaskName
    widths: dict[str, _Count]
    blocks: dict[str, _Count] | None = None
    """Older files lack these two."""
    norm_eps: dict[str, _Positive] | None = None
    preprocessing: SavedPreprocessing
    target_scale: SavedPreprocessing | None = None
    """Of a regression's targets; networks of classes, and older ones, lack it."""
    takes_bytes: bool | None = None
    dataset: SavedData | None = None
    layout: Layout | None = None
    classes: tuple[ClassName, ...] | None = None
    tokens: TokenRecord | None = None
    """Of a network of text: what its tokens stand for."""
    held_out_validation: Annotated[bool, Field(strict=True)] | None = None
    split_seed: Annotated[int, Field(strict=True, ge=0)] | None = None
    """Of the validation examples, where another than usual has drawn them."""
    metrics: dict[str, Any] | None = None
    lineage: SavedLineage | None = None

    @model_validator(mode="after")
    def _is_no_larger_than_anything(self) -> Self:
        if math.prod(self.input_shape) > MOST_INPUTS:
            raise ValueError(f"input_shape is {list(self.input_shape)}, more than {MOST_INPUTS} numbers")
        if self.tokens is not None and (self.tokens.context, self.tokens.num_tokens) != (
            self.input_shape[0],
            self.num_outputs,
        ):
            raise ValueError(f"tokens are {self.tokens.num_tokens} in windows of {self.tokens.context}, the network "
                             f"has {self.num_outputs} outputs for {self.input_shape[0]}")  # fmt: skip
        return self

    @property
    def shape(self) -> NetworkShape:
        return NetworkShape(self.widths, self.blocks or {}, self.norm_eps or {})


def read_record(path: Path) -> tuple[NetworkRecord, dict[str, Any]]:
    """The record in a configuration file, and all that the file holds.

    Raises `NetworkError` where there is none, or none that this version reads.
    """
    content = read_json(path, "network's configuration", NetworkError, fix=FIX)
    if content.get("format") != FORMAT:
        raise NetworkError(f"{path}: format is {content.get('format')!r}, this autogrow reads {FORMAT!r}")
    return typed(NetworkRecord, content, f"{path} is damaged, {FIX}", NetworkError), content
