"""A number that a record refuses is told with its bounds, whichever of them it breaks, and what to give instead."""

from typing import Annotated

import pytest
from pydantic import BaseModel, Field

from autogrow.errors import PolicyError, UsageError
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.limits import SizeLimits
from autogrow.policy.training_settings import TrainingSettings
from autogrow.reading.fields import Count
from autogrow.reading.typed import typed, types_in
from autogrow.study.settings import SearchSettings


class Numbers(BaseModel, extra="forbid", allow_inf_nan=False):
    both: int = Field(default=1, ge=1, le=100)
    half_open: int = Field(default=0, ge=0, lt=2**32)
    open_below: float = Field(default=0.5, gt=0, le=1)
    below: Annotated[float, Field(lt=2.5)] | None = None
    most: float = Field(default=0.0, le=-1.5)
    count: Count | None = None
    free: float = 0.0
    by_name: dict[str, Count] = {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"both": 0}, "both is 0: give a whole number from 1 to 100"),
        ({"both": 101}, "both is 101: give a whole number from 1 to 100"),
        ({"both": 1.5}, "both is 1.5: give a whole number from 1 to 100"),
        ({"both": "many"}, "both is 'many': give a whole number from 1 to 100"),
        ({"both": None}, "both is None: give a whole number from 1 to 100"),
        ({"both": 10**400}, "give a whole number from 1 to 100"),
        ({"half_open": -1}, "half_open is -1: give a whole number from 0 to 4294967295"),
        ({"open_below": 0}, "open_below is 0: give a number above 0 and at most 1"),
        ({"open_below": float("nan")}, "open_below is nan: give a number above 0 and at most 1"),
        ({"below": 2.5}, "below is 2.5: give a number below 2.5"),
        ({"most": 0}, "most is 0: give a number of at most -1.5"),
        ({"count": 0}, "count is 0: give a whole number of at least 1"),
        ({"count": 2**63}, f"count is {2**63}: give a whole number from 1 to {2**63 - 1}"),
        ({"free": "much"}, "free is 'much': give a number"),
        ({"by_name": {"a": 0}}, "by_name.a is 0: give a number of at least 1"),
        ({"by_name": 3}, "by_name is 3: give a valid dictionary"),
    ],
)
def test_the_fix_names_both_bounds(fields, message):
    with pytest.raises(UsageError) as caught:
        typed(Numbers, fields, "here", UsageError)
    assert str(caught.value).startswith("here: ")
    assert str(caught.value).endswith(message)


A_SEARCH = {
    **{"dataset": "digits", "fingerprint": "", "task": "classification", "model": "mlp", "space": {}},
    **{"data_dir": ".", "working_directory": "."},
}
NUMBERS = [
    (record, name)
    for record in (SearchSettings, TrainingSettings, SizeLimits, GrowthPolicy)
    for name, field in record.model_fields.items()
    if {*types_in(field.annotation)} - {type(None)} in ({int}, {float}) and name != "new_unit_lr"  # may be a word
]


@pytest.mark.parametrize(("record", "name"), NUMBERS, ids=[f"{each.__name__}.{name}" for each, name in NUMBERS])
@pytest.mark.parametrize("value", [-1, float("nan")])
def test_so_it_is_of_every_setting_of_a_search(record, name, value):
    needed = A_SEARCH if record is SearchSettings else {}
    with pytest.raises(PolicyError, match="give a (whole )?number") as caught:
        record(**{**needed, name: value})
    assert "put should" not in str(caught.value)
