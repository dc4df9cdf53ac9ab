"""What nobody needs any more: gone from its place at once, from the disk in the background."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from kvern.build import trash
from kvern.build.staging import remove
from kvern.build.trash import Trash


class Removing:
    """In place of the removal: each waits until it is let go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go, self.all_gone = threading.Event(), threading.Event()
        self.gone: list[str] = []
        self.expected = 1
        monkeypatch.setattr(trash, "remove", self._remove)

    def _remove(self, path: Path) -> None:
        assert self.go.wait(30)
        content = path.read_text() if path.is_file() else ",".join(sorted(one.name for one in path.iterdir()))
        remove(path)
        self.gone.append(content)
        if len(self.gone) == self.expected:
            self.all_gone.set()


@pytest.fixture
def removing(monkeypatch: pytest.MonkeyPatch) -> Removing:
    return Removing(monkeypatch)


def tree(path: Path) -> Path:
    (path / path.name).mkdir(parents=True)
    return path


def test_a_tree_vanishes_before_it_is_removed(tmp_path: Path, removing: Removing) -> None:
    one = tree(tmp_path / "one")
    Trash(tmp_path / "trash").take(one)
    assert not one.exists()
    assert len(list((tmp_path / "trash").iterdir())) == 1

    removing.go.set()
    assert removing.all_gone.wait(30)
    assert list((tmp_path / "trash").iterdir()) == []


def test_what_comes_meanwhile_goes_as_well(tmp_path: Path, removing: Removing) -> None:
    removing.expected = 3
    bin_ = Trash(tmp_path / "trash")
    (tmp_path / "file").write_text("text")
    for path in (tree(tmp_path / "one"), tree(tmp_path / "two"), tmp_path / "file"):
        bin_.take(path)
    assert [path.name for path in tmp_path.iterdir()] == ["trash"]
    removing.go.set()
    assert removing.all_gone.wait(30)
    assert sorted(removing.gone) == ["one", "text", "two"]


def test_what_is_gone_is_no_fault(tmp_path: Path) -> None:
    Trash(tmp_path / "trash").take(tmp_path / "none")
    assert list((tmp_path / "trash").iterdir()) == []


def test_the_next_start_takes_what_a_server_left(tmp_path: Path, removing: Removing) -> None:
    tree(tmp_path / "trash" / "0123")
    bin_ = Trash(tmp_path / "trash")
    bin_.resume()
    removing.go.set()
    assert removing.all_gone.wait(30)
    assert list((tmp_path / "trash").iterdir()) == []


def test_a_first_start_has_nothing_to_take_up(tmp_path: Path) -> None:
    Trash(tmp_path / "trash").resume()
