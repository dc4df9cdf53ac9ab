from __future__ import annotations

import asyncio
from typing import Any, NoReturn

import pytest

from kvern.runner.call import kind_of, response
from kvern.runner.errors import MESSAGE_LIMIT, TRACE_LIMIT, describe
from kvern.runner.frames import NO_MEMORY, RETURNED, UNUSABLE


def caught(raiser: Any) -> BaseException:
    try:
        raiser()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class Hostile(Exception):
    @property
    def __cause__(self) -> NoReturn:  # type: ignore[override]
        raise SystemExit("gotcha")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("no"), "ValueError: no"),
        (ValueError(), "ValueError"),
        (ValueError("first\nsecond"), "ValueError: first"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyError("k"), "KeyError: 'k'"),
        (asyncio.TimeoutError("late"), "TimeoutError: late"),
        (Exception("\ud800"), "Exception: ?"),
        (Mute(), f"{__name__}.Mute: <exception str() failed>"),
    ],
)
def test_the_message_is_the_last_line_of_the_traceback(error: BaseException, message: str) -> None:
    assert describe(error)[0].replace("asyncio.exceptions.", "") == message


def test_an_exception_that_cannot_be_shown_is_named() -> None:
    assert describe(Hostile("x"))[0].startswith(("Hostile: <the exception cannot be shown", f"{__name__}.Hostile: x"))


def test_long_texts_are_cut() -> None:
    message, trace = describe(ValueError("x" * 200_000))
    assert len(message) == MESSAGE_LIMIT
    assert len(trace) < TRACE_LIMIT + 10


def test_causes_are_shown() -> None:
    def raiser() -> None:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error

    message, trace = describe(caught(raiser))
    assert message == "ValueError: outer"
    assert "KeyError: 'inner'" in trace
    assert "direct cause" in trace


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, b"null"),
        ({"a": [1, 2.5]}, b'{"a":[1,2.5]}'),
        ("ø", '"ø"'.encode()),
        ("\ud800", b'"\\ud800"'),
        ({1: 2}, b'{"1":2}'),
    ],
)
def test_a_response_is_compact_json(value: object, text: bytes) -> None:
    assert response(value, 100) == (RETURNED, {}, text)


@pytest.mark.parametrize("value", [{1}, object(), float("inf"), {(1,): 2}, b"x"])
def test_what_is_no_json_is_unusable_and_named(value: object, capsys: pytest.CaptureFixture[str]) -> None:
    kind, meta, body = response(value, 100)
    assert (kind, body) == (UNUSABLE, b"")
    assert kind_of(value) in meta["message"]


def test_the_limit_counts_bytes() -> None:
    assert response("ø", 4)[0] == RETURNED
    assert response("ø", 3)[0] == UNUSABLE


def test_a_response_for_which_memory_fails_is_told_apart() -> None:
    class Huge(dict[str, int]):
        def items(self) -> Any:
            raise MemoryError

    assert response(Huge(a=1), 100)[0] == NO_MEMORY
