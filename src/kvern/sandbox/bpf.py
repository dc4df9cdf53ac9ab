"""A small assembler for the kernel's classic BPF, in which seccomp filters are written (seccomp(2), linux/filter.h)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

INSTRUCTION = struct.Struct("=HBBI")

LOAD = 0x20
"""BPF_LD | BPF_W | BPF_ABS: the 32-bit word at an offset."""
EQUAL = 0x15
"""BPF_JMP | BPF_JEQ | BPF_K"""
AT_LEAST = 0x35
"""BPF_JMP | BPF_JGE | BPF_K"""
ANY_BIT = 0x45
"""BPF_JMP | BPF_JSET | BPF_K"""
RETURN = 0x06
"""BPF_RET | BPF_K"""

NEXT = ""
"""As a label: the instruction that follows."""


@dataclass(slots=True)
class Program:
    """A program as it is written: instructions that jump forward to labels."""

    _lines: list[tuple[int, int, str, str]] = field(default_factory=list[tuple[int, int, str, str]])
    _labels: dict[str, int] = field(default_factory=dict[str, int])

    def load(self, offset: int) -> None:
        """Load the word at `offset` of the data."""
        self._lines.append((LOAD, offset, NEXT, NEXT))

    def jump(self, test: int, value: int, then: str = NEXT, otherwise: str = NEXT) -> None:
        """Go to the label `then` when the loaded word passes `test` against `value`, else to `otherwise`."""
        self._lines.append((test, value, then, otherwise))

    def give(self, value: int) -> None:
        """End with `value`."""
        self._lines.append((RETURN, value, NEXT, NEXT))

    def label(self, name: str) -> None:
        """Name the next instruction. Raises ValueError when the name is taken."""
        if name in self._labels:
            raise ValueError(f"the label {name!r} is taken")
        self._labels[name] = len(self._lines)

    def assemble(self) -> bytes:
        """The program as the kernel reads it.

        Raises:
            ValueError: a jump goes to no label, backward, or further than the 255 instructions that it can.
        """
        return b"".join(
            INSTRUCTION.pack(code, self._distance(at, then), self._distance(at, otherwise), value)
            for at, (code, value, then, otherwise) in enumerate(self._lines)
        )

    def _distance(self, at: int, label: str) -> int:
        if label == NEXT:
            return 0
        distance = self._labels.get(label, -1) - at - 1
        if not 0 <= distance <= 255 or self._labels[label] >= len(self._lines):
            raise ValueError(f"instruction {at} cannot jump to {label!r}")
        return distance
