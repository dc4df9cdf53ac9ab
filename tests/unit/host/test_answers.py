from __future__ import annotations

import pytest

from kvern.host.answers import Answers
from kvern.runner import frames

ANSWER = frames.encode(frames.RETURNED, 7, {"spent": "x"}, b"[1,2,3]")


@pytest.mark.parametrize("cut", range(1, len(ANSWER)))
def test_a_frame_may_come_in_two_pieces(cut: int) -> None:
    answers = Answers()
    assert answers.feed(ANSWER[:cut], 1000) is None
    assert answers.feed(ANSWER[cut:], 1000) == frames.Frame(frames.RETURNED, 7, {"spent": "x"}, b"[1,2,3]")
    assert answers.feed(ANSWER, 1000) == frames.decode(ANSWER)


def test_a_frame_may_come_byte_by_byte() -> None:
    answers = Answers()
    found = [answers.feed(ANSWER[i : i + 1], 1000) for i in range(len(ANSWER))]
    assert found == [None] * (len(ANSWER) - 1) + [frames.decode(ANSWER)]


@pytest.mark.parametrize(
    "data",
    [
        ANSWER + b"x",
        ANSWER + ANSWER,
        b"\xff" * 17,
        frames.HEADER.pack(frames.RETURNED, 0, 1001, 7),
        frames.HEADER.pack(frames.RETURNED, 2, 0, 7) + b"{]",
    ],
)
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        Answers().feed(data, 1000)
