"""Numbers in `data` that no handler could be given as they are."""

from __future__ import annotations

import msgspec
import pytest

from kvern.wire.calls import CallWrite
from kvern.wire.schedules import ScheduleWrite

GOOD = [
    "0e999",
    "1e-9999",
    "1e308",
    "-1.7976931348623157e308",
    "123456789012345678901234567890",
    "9" * 4000,
    '"1e400"',
    '{"1e400":["9e999999"]}',
]
BAD = ["1e400", "-1e400", "1E+400", "1e0000400", '{"a":[{"b":1e999}]}', "1" + "0" * 400 + ".0", "9" * 5000, "[1.5e309]"]


def call(text: str) -> CallWrite:
    return msgspec.json.decode(f'{{"data":{text}}}', type=CallWrite)


def schedule(text: str) -> ScheduleWrite:
    fields = '"name":"x","cronExpression":"* * * * *","functionId":1'
    return msgspec.json.decode(f'{{{fields},"data":{text}}}', type=ScheduleWrite)


@pytest.mark.parametrize("text", GOOD)
def test_numbers_that_can_be_held_are_kept_to_the_letter(text: str) -> None:
    assert bytes(call(text).data).decode() == text
    assert (schedule(text).input_data() or b"").decode() == text


@pytest.mark.parametrize("text", BAD)
def test_numbers_that_cannot_be_held_are_refused(text: str) -> None:
    for read in (call, schedule):
        with pytest.raises(msgspec.ValidationError, match="Expected numbers that a float or an int can hold in `data`"):
            read(text)
