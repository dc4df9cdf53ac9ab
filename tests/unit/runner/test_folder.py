from __future__ import annotations

import os
from pathlib import Path

import pytest

from kvern.runner.folder import COPIES, WorkingFolder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkingFolder:
    monkeypatch.chdir(tmp_path)
    code = tmp_path / "code"
    (code / "data" / "__pycache__").mkdir(parents=True)
    (code / "handler.py").write_text("x = 1")
    (code / "data" / "a.csv").write_text("1")
    made = WorkingFolder(str(code), str(tmp_path / "work"))
    made.make()
    return made


def test_small_files_are_copied_and_modules_are_links(folder: WorkingFolder) -> None:
    assert Path("handler.py").is_symlink()
    assert not Path("data/a.csv").is_symlink()
    assert os.listdir("data") == ["a.csv"]
    assert not folder.changed()


def test_what_a_call_changed_is_put_back_and_what_loading_wrote_stays(folder: WorkingFolder) -> None:
    Path("cache").write_text("of the module")
    folder.note()
    Path("data/a.csv").write_text("22")
    Path("data/deep").mkdir()
    Path("data/deep/b").write_text("")
    Path("handler.py").unlink()
    assert folder.changed()
    Path("handler.py").symlink_to("elsewhere")
    folder.restore()
    assert Path("data/a.csv").read_text() == "1"
    assert sorted(os.listdir()) == ["cache", "data", "handler.py"]
    assert not folder.changed()


def test_of_many_files_most_are_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = tmp_path / "code"
    code.mkdir()
    for number in range(COPIES + 10):
        (code / f"{number}.csv").write_text("1")
    WorkingFolder(str(code), str(tmp_path / "work")).make()
    assert sum(path.is_symlink() for path in (tmp_path / "work").iterdir()) == 10
