"""Patterns mean what they mean to `git check-ignore`, whatever they are."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from kvern.client.ignoring import IgnoreRules

PIECES = [*"ab/*?[]!-\\^ #.", "**", "**/", "/**/", "[:alpha:]", "[a-b]", "[!a]", "ab", "\\ ", "***"]
NAMES = ["a", "b", "ab", "ba", "a b", "aab", "a-b", "a]", "[a", "!a", "#a", "a*", "a\\", "-", "^", "a ", "b.a"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    return root


def ignored_by_git(root: Path, paths: list[str]) -> set[str]:
    found = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin", "-z"],
        cwd=root,
        input="".join(f"{path}\0" for path in paths).encode(),
        stdout=subprocess.PIPE,
        check=False,
    )
    return set(found.stdout.decode().split("\0")) - {""}


def ignored(root: Path, paths: list[str]) -> set[str]:
    rules = IgnoreRules(root)
    rules.enter(PurePosixPath())

    def is_left_out(path: PurePosixPath) -> bool:
        folders = list(path.parents)[-2::-1]
        return any(rules.leaves_out(one, True) for one in folders) or rules.leaves_out(path, False)

    return {path for path in paths if is_left_out(PurePosixPath(path))}


@pytest.mark.parametrize(
    "lines",
    [
        b"*\n!a\n",
        b"*.a\n!b.a\n",
        b"a/*\n!a/b\n",
        b"/a\n",
        b"a/\n",
        b"/a/\r\nb\r\n",
        b"\xef\xbb\xbfab\n",
        b"a/**/b\n",
        b"**/b\n",
        b"a/**\n",
        b"a**/b\n",
        b"a\\ \nb   \n",
        b"\\#a\n\\!a\n",
        b"[[:alpha:]]b\n",
        b"[[:nothing:]]\n[b-a]\n[\n",
        b"[]a]b\n[!]b]a\na[-]b\n",
        b"a\\\n",
        b"\xe5\n/\n!\n\n",
    ],
)
def test_patterns_as_people_write_them(repository: Path, lines: bytes) -> None:
    paths = [f"{one}/{two}" for one in NAMES for two in NAMES] + [f"{one}/b/{one}/a" for one in NAMES] + NAMES
    (repository / ".gitignore").write_bytes(lines)
    assert ignored(repository, paths) == ignored_by_git(repository, paths)


def test_patterns_as_nobody_writes_them(repository: Path) -> None:
    chosen = random.Random(7)
    paths = sorted({"/".join(chosen.choices(NAMES, k=chosen.randint(1, 4))) for _ in range(150)})
    for _ in range(120):
        pattern = "".join(chosen.choices(PIECES, k=chosen.randint(1, 7)))
        (repository / ".gitignore").write_text(f"{pattern}\n")
        assert ignored(repository, paths) == ignored_by_git(repository, paths), pattern


def test_kvernignore_counts_more_than_the_others(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*.pkl\n")
    (tmp_path / ".funcignore").write_text("*.csv\n!model.pkl\n")
    (tmp_path / ".kvernignore").write_text("!limits.csv\n")
    paths = ["a.pkl", "model.pkl", "a.csv", "limits.csv"]
    assert ignored(tmp_path, paths) == {"a.pkl", "a.csv"}
