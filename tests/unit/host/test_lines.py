from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvern.host.lines import LINE_LIMIT, Lines


def read(*pieces: bytes, limit: int = 1_000_000) -> list[str]:
    lines = Lines(limit)
    found = [line.message for piece in pieces for line in lines.feed(piece)]
    return found + [line.message for line in lines.finish()]


@pytest.mark.parametrize(
    ("output", "lines"),
    [
        (b"", []),
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\r\ntwo", ["one", "two"]),
        (b"\n\n", ["", ""]),
        (b"10%\r20%\r\n", ["10%\r20%"]),
        (b"\xff\x00\n", ["\ufffd\ufffd"]),
        ("ø".encode(), ["ø"]),
    ],
)
def test_output_is_split_into_lines(output: bytes, lines: list[str]) -> None:
    assert read(output) == lines


@given(st.text(alphabet="aø\n\r€", max_size=60), st.lists(st.integers(0, 150), max_size=8))
def test_it_does_not_matter_how_output_is_torn(text: str, cuts: list[int]) -> None:
    output = text.encode()
    places = sorted({0, len(output), *(cut for cut in cuts if cut < len(output))})
    pieces = [output[a:b] for a, b in itertools.pairwise(places)]
    assert read(*pieces) == read(output)


def test_a_long_line_is_cut_between_characters() -> None:
    for pad in range(4):
        text = "x" * pad + "€" * LINE_LIMIT
        lines = read(text.encode())
        assert "".join(lines) == text
        assert all(len(line.encode()) <= LINE_LIMIT for line in lines)
        assert "\ufffd" not in "".join(lines)
        assert "".join(read(text.encode() + b"\nshort\n")) == text + "short"


def test_bytes_that_are_no_text_are_cut_all_the_same() -> None:
    assert sum(map(len, read(b"\x80" * 3 * LINE_LIMIT))) == 3 * LINE_LIMIT


def test_what_is_over_the_limit_is_dropped_and_said() -> None:
    *kept, note = read(b"12345\n", b"789", b"abc\n", b"more\n" * 1000, limit=10)
    assert kept == ["12345", "789a"]
    assert note == "[5003 more bytes of output were dropped: a call may log 10 bytes]"


def test_just_the_limit_is_not_over_it() -> None:
    assert read(b"12345\n6789", limit=10) == ["12345", "6789"]


def test_lines_bear_the_time_of_reading() -> None:
    before = time.time() * 1000
    (line,) = Lines(100).feed(b"x\n")
    assert before - 1 <= line.timestamp <= time.time() * 1000
