"""Where uv's cache lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvern.build.cache import cache_folder
from kvern.build.errors import SettingsError


def test_the_chosen_folder_then_uvs_own_then_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, home = tmp_path / "own", tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(tmp_path)
    assert cache_folder(Path("relative"), own, {}) == tmp_path / "relative"
    assert cache_folder(None, own, {"HOME": str(home)}) == home / ".cache/uv"
    assert cache_folder(None, own, {"HOME": str(home), "XDG_CACHE_HOME": str(tmp_path / "x")}) == tmp_path / "x/uv"


def test_no_home_is_made_and_none_is_needed(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    for home in ("/", str(gone), "/proc"):
        assert cache_folder(None, tmp_path / "own", {"HOME": home}) == tmp_path / "own"
    assert not gone.exists()


def test_a_chosen_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"/proc/cache cannot be used: .*UV_CACHE_DIR"):
        cache_folder(Path("/proc/cache"), tmp_path, {})
