"""Cursors: what was written is read; what was not written here is refused, never a fault."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kvern.service.cursors import read_cursor, write_cursor
from kvern.wire.errors import InvalidError

positions = st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4)


@given(positions)
@settings(max_examples=50, deadline=None)
def test_a_cursor_leads_back_to_its_position(position: list[int]) -> None:
    assert read_cursor(write_cursor(*position), len(position)) == tuple(position)


@given(positions)
@settings(max_examples=50, deadline=None)
def test_a_cursor_fits_into_a_url_and_a_body(position: list[int]) -> None:
    cursor = write_cursor(*position)
    assert cursor.isascii()
    assert all(letter.isalnum() or letter in "-_" for letter in cursor)
    assert len(cursor) <= 1024


_LETTERS = "".join(map(chr, range(0x250))) + "\u0660\u2028\ud800\udfff\U0001f600"


@given(st.one_of(st.text(_LETTERS, max_size=60), st.text("0123456789abcdefMTIz-_=,", max_size=60)), st.integers(1, 3))
@example("MTIzLDEyMw", 1)
@example("9" * 9000, 1)
@example("LTE", 1)
@example("\ud800", 1)
@example("OTIyMzM3MjAzNjg1NDc3NTgwOA", 1)  # 2^63
@settings(max_examples=50, deadline=None)
def test_any_other_text_is_refused_or_a_position(text: str, parts: int) -> None:
    try:
        position = read_cursor(text, parts)
    except InvalidError as error:
        error.envelope()
    else:
        assert len(position) == parts
        assert all(0 <= part < 2**63 for part in position)


def test_a_cursor_of_another_list_is_refused() -> None:
    with pytest.raises(InvalidError, match="cursor"):
        read_cursor(write_cursor(1), 2)
    with pytest.raises(InvalidError, match="cursor"):
        read_cursor(write_cursor(1, 2), 1)
