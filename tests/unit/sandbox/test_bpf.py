from __future__ import annotations

import pytest

from kvern.sandbox.bpf import EQUAL, INSTRUCTION, LOAD, RETURN, Program


def test_labels_become_distances() -> None:
    program = Program()
    program.load(4)
    program.jump(EQUAL, 7, "yes", "no")
    program.label("no")
    program.give(1)
    program.label("yes")
    program.give(2)
    assert list(INSTRUCTION.iter_unpack(program.assemble())) == [
        (LOAD, 0, 0, 4), (EQUAL, 1, 0, 7), (RETURN, 0, 0, 1), (RETURN, 0, 0, 2),
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "filling"), [("nowhere", 0), ("back", 0), ("far", 256), ("end", 0)])
def test_a_jump_goes_to_a_label_that_is_there_ahead_and_near(name: str, filling: int) -> None:
    program = Program()
    program.label("back")
    program.jump(EQUAL, 1, name)
    for _ in range(filling):
        program.give(0)
    program.label("far")
    program.give(0)
    program.label("end")
    with pytest.raises(ValueError, match="cannot jump"):
        program.assemble()


def test_a_label_is_given_once() -> None:
    program = Program()
    program.label("one")
    with pytest.raises(ValueError, match="taken"):
        program.label("one")
