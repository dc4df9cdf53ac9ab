"""A worker's frames, put together from what its socket gives."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from kvern.runner import frames


class Answers:
    """Takes bytes as they come; a frame that comes whole, as most do, is not copied."""

    def __init__(self) -> None:
        self._begun = bytearray()

    def feed(self, data: bytes, most: int) -> frames.Frame | None:
        """The frame that `data` completes, or None.

        Args:
            data: what came.
            most: bytes that a frame may have; one that announces more is not waited for.

        Raises:
            ValueError: what came is no frame, too long, or more than one: code in the worker wrote to its socket.
        """
        if self._begun:
            self._begun += data
        whole = self._begun or data
        length = frames.length(whole) if len(whole) >= frames.HEADER.size else frames.HEADER.size
        if length > most or len(whole) > length:
            raise ValueError(f"a frame of {length} bytes, of {most} allowed, and {len(whole)} bytes came")
        if len(whole) < length:
            if not self._begun:
                self._begun += data
            return None
        frame = frames.decode(bytes(whole), _loads)
        self._begun.clear()
        return frame


def _loads(text: bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:  # it does not read lone surrogates, which a traceback may have
        return json.loads(text)
