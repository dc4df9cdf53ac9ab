"""The files of a folder that belong to a function."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from kvern.client import folder
from kvern.client.folder import contents


def write(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    return root


def names(root: Path, *, hidden: bool = True) -> list[str]:
    return [member.name for member in contents(root, hidden=hidden).members]


def test_hidden_names_belong_to_it_unless_they_are_not_wanted(tmp_path: Path) -> None:
    write(tmp_path, "a", ".env", ".d/b", "c/.e/f")
    assert names(tmp_path) == [".env", "a", ".d/b", "c/.e/f"]
    assert names(tmp_path, hidden=False) == ["a"]


def test_what_is_no_file_is_left_out_and_named(tmp_path: Path) -> None:
    write(tmp_path, "a")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket"))
    (tmp_path / "null").symlink_to("/dev/null")
    (tmp_path / "nowhere").symlink_to("none")
    (tmp_path / "itself").symlink_to("itself")
    found = contents(tmp_path)
    assert [member.name for member in found.members] == ["a"]
    assert found.skipped == [
        "'itself' is a link that leads nowhere; it is left out",
        "'nowhere' is a link that leads nowhere; it is left out",
        "'null' is a device; it is left out",
        "'pipe' is a named pipe; it is left out",
        "'socket' is a socket; it is left out",
    ]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (b"bl\xe5.txt", "'bl\\xe5.txt' has a name that is not UTF-8"),
        (b"a\\b", "has a backslash or a control character in its name"),
        (b"a\x1b[2Jb", "'a\\x1b[2Jb' has a backslash or a control character in its name"),
    ],
)
def test_names_that_no_zip_can_hold_are_left_out_and_named(tmp_path: Path, name: bytes, told: str) -> None:
    write(tmp_path, "a", os.fsdecode(name))
    found = contents(tmp_path)
    assert [member.name for member in found.members] == ["a"]
    assert told in found.skipped[0]
    assert found.skipped[0].isprintable()


def test_an_ignored_name_is_nothing_to_tell_of(tmp_path: Path) -> None:
    write(tmp_path, "a", os.fsdecode(b"bl\xe5.log"))
    (tmp_path / ".gitignore").write_text("*.log\n")
    assert contents(tmp_path).skipped == []


def test_links_to_folders_inside_and_outside_are_followed(tmp_path: Path) -> None:
    root = write(tmp_path / "root", "real/x")
    write(tmp_path / "other", "deep/y")
    (root / "inside").symlink_to("real")
    (root / "outside").symlink_to(tmp_path / "other")
    found = contents(root)
    assert [member.name for member in found.members] == ["inside/x", "outside/deep/y", "real/x"]
    assert found.followed == [f"'outside' is a link to '{tmp_path}/other'; what is there goes with the function"]


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    root = write(tmp_path / "root", "a/x", "b/y")
    (root / "a" / "up").symlink_to("..")
    (root / "b" / "to-a").symlink_to("../a")
    found = contents(root)
    assert [member.name for member in found.members] == ["a/x", "b/y", "b/to-a/x"]
    assert found.skipped == [
        "'a/up' is a link to a folder that it lies in; it is left out",
        "'b/to-a/up' is a link to a folder that it lies in; it is left out",
    ]


def test_links_that_multiply_a_tree_come_to_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MOST_FILES", 100)
    write(tmp_path / "root", "8/x")
    for number in range(8):
        (tmp_path / "root" / str(number)).mkdir()
        for side in "ab":
            (tmp_path / "root" / str(number) / side).symlink_to(f"../{number + 1}")
    with pytest.raises(ValueError, match="more than 100 files"):
        contents(tmp_path / "root")


def test_a_folder_pattern_leaves_out_a_link_to_a_folder(tmp_path: Path) -> None:
    root = write(tmp_path / "root", "a")
    (root / "data").symlink_to(write(tmp_path / "other", "x"))
    (root / ".kvernignore").write_text("data/\n")
    assert names(root, hidden=False) == ["a"]


def test_what_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "shut/x")
    (tmp_path / "shut").chmod(0)
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    with pytest.raises(PermissionError):
        contents(tmp_path)
