from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator

import pytest

from kvern.runner import frames


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    yield here, there
    here.close()
    there.close()


@pytest.mark.parametrize(
    "frame",
    [
        frames.Frame(frames.CALL, 2**53 - 1, {"limit": 1, "ø": ["x"]}, b'{"a":1}'),
        frames.Frame(frames.RETURNED, 0, {}, b""),
        frames.Frame(frames.LOADED, 1, {"takes": []}, b"\0\xff"),
    ],
)
def test_a_frame_comes_back_as_it_was(frame: frames.Frame) -> None:
    text = frames.encode(*frame)
    assert frames.decode(text) == frame
    assert frames.length(text) == len(text)


@pytest.mark.parametrize(
    "text",
    [
        frames.encode(frames.CALL, 1, {}, b"abc")[:-1],
        frames.encode(frames.CALL, 1, {}, b"abc") + b"x",
        frames.HEADER.pack(1, 2, 0, 0) + b"[]",
        frames.HEADER.pack(1, 3, 0, 0) + b"{x}",
    ],
)
def test_what_is_no_frame_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        frames.decode(text)


def test_a_frame_is_received_however_it_is_torn(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    text = frames.encode(frames.CALL, 7, {"limit": 5}, b"x" * 300_000)

    def drip() -> None:
        for cut in (1, 5, 16, 18, 25, 100, 70_000, len(text)):
            sent = getattr(drip, "sent", 0)
            there.sendall(text[sent:cut])
            drip.sent = cut  # type: ignore[attr-defined]

    sender = threading.Thread(target=drip)
    sender.start()
    frame = frames.receive(here)
    sender.join()
    assert frame == frames.Frame(frames.CALL, 7, {"limit": 5}, b"x" * 300_000)


@pytest.mark.parametrize("cut", [0, 3, 17, 20, 100_000])
def test_an_end_in_the_middle_is_an_end(pair: tuple[socket.socket, socket.socket], cut: int) -> None:
    here, there = pair
    text = frames.encode(frames.CALL, 7, {"limit": 5}, b"x" * 150_000)
    sender = threading.Thread(target=lambda: (there.sendall(text[:cut]), there.close()))
    sender.start()
    assert frames.receive(here) is None
    sender.join()


def test_the_meta_part_of_an_empty_meta_is_empty() -> None:
    assert len(frames.encode(frames.RETURNED, 1)) == frames.HEADER.size
    assert json.loads(frames.encode(frames.CALL, 1, {"a": 1})[frames.HEADER.size :]) == {"a": 1}
