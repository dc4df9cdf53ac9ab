"""What a function's `error` shows (contract 11.1)."""

from __future__ import annotations

from kvern.build.errors import BuildError, tail


def test_a_short_trace_is_kept_whole() -> None:
    error = BuildError("It failed.", "one\ntwo\n")
    assert (str(error), error.message, error.trace) == ("It failed.", "It failed.", "one\ntwo")


def test_a_long_trace_is_cut_to_its_end_at_a_line() -> None:
    trace = BuildError("It failed.", "\n".join(f"line {number}" for number in range(1000))).trace
    assert len(trace) <= 2000
    assert trace.startswith("line ")
    assert trace.endswith("line 999")


def test_one_long_line_is_cut_within() -> None:
    assert tail("x" * 3000) == "x" * 2000


def test_a_cut_between_two_lines_loses_none() -> None:
    assert tail("first\n" + "y" * 10, 10) == "y" * 10
