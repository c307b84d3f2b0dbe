"""Where a policy comes from, as its file says it: what commands take from there where they are not told."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from autogrow.former_names import with_present_names
from autogrow.reading.fields import PlainTable


class Origin(BaseModel):
    """The fields of ``found_by`` that something is made of; whatever else stands there is for readers."""

    model_config = ConfigDict(extra="allow", frozen=True)

    study: str | None = None
    dataset: str | None = None
    task: str | None = None
    layout: str | None = None
    fingerprint: str | None = None
    train_size: int | None = None
    model: str | None = None
    model_options: PlainTable | None = None
    metrics: Annotated[PlainTable | None, BeforeValidator(with_present_names)] = None
    confirmed: PlainTable | None = None
