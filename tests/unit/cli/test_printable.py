"""What functions write cannot give orders to a terminal."""

from __future__ import annotations

import json

import pytest

from kvern.cli import output
from kvern.cli.printable import one_line, printable, printable_json

HOSTILE = "a\x1b[2J\x1b]0;title\x07\x9b31m\x00\x7f\r\u202eb\u2028\ud800\tc\nd"


def test_orders_are_shown_as_escapes_and_lines_stay() -> None:
    told = r"a\x1b[2J\x1b]0;title\x07\x9b31m\x00\x7f\r\u202eb\u2028\ud800"
    assert printable(HOSTILE) == f"{told}\tc\nd"
    assert one_line(HOSTILE) == told + r"\tc\nd"
    assert printable("måling 測定 😀") == "måling 測定 😀"


def test_json_means_what_it_meant() -> None:
    document = printable_json(json.dumps({"a": HOSTILE, HOSTILE: "å"}, ensure_ascii=False))
    assert json.loads(document) == {"a": HOSTILE, HOSTILE: "å"}
    assert document.isprintable()


def test_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    output.say(HOSTILE)
    output.note(HOSTILE)
    output.field("name", "x\nstatus: Ready")
    output.table(["NAME"], [("x\n\x1b[31my",)])
    output.as_json([HOSTILE])
    with output.Progress() as progress:
        progress.show("\x1b[2J")
        progress.line("\x9b2J")
    printed = capsys.readouterr()
    assert printed.out.splitlines()[2:5] == [r"name: x\nstatus: Ready", "NAME", r"x\n\x1b[31my"]
    everything = printed.out + printed.err
    assert [one for one in everything if not one.isprintable() and one not in "\n\t"] == []
