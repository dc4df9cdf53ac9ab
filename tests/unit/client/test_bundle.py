"""The zip that a function is made from."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kvern.client import bundle

HANDLER = "def handle(data):\n    return data\n"


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def names(content: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.namelist()


def read(content: bytes, name: str) -> str:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.read(name).decode()


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    files = {"handler.py": HANDLER, "b/two.py": "", "a.txt": "text", "requirements.txt": "requests\n"}
    one = tree(tmp_path / "one", files)
    two = tree(tmp_path / "two", dict(reversed(files.items())))
    os.utime(two / "a.txt", (0, 0))
    (two / "b").chmod(0o700)
    assert bundle.of_folder(one, "handler.py") == bundle.of_folder(two, "handler.py")


def test_other_files_give_other_bytes(tmp_path: Path) -> None:
    one = tree(tmp_path / "one", {"handler.py": HANDLER})
    two = tree(tmp_path / "two", {"handler.py": HANDLER + "\n"})
    assert bundle.of_folder(one, "handler.py") != bundle.of_folder(two, "handler.py")


def test_programs_stay_programs(tmp_path: Path) -> None:
    root = tree(tmp_path, {"handler.py": HANDLER, "run.sh": "#!/bin/sh\n"})
    (root / "run.sh").chmod(0o755)
    with zipfile.ZipFile(io.BytesIO(bundle.of_folder(root, "handler.py"))) as archive:
        modes = {info.filename: info.external_attr >> 16 & 0o777 for info in archive.infolist()}
    assert modes == {"handler.py": 0o644, "run.sh": 0o755}


def test_what_is_no_part_of_a_function_is_left_out(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "handler.py": HANDLER,
            ".git/config": "",
            "__pycache__/handler.pyc": "",
            "package/__pycache__/x.pyc": "",
            "package/module.pyc": "",
            "package/__init__.py": "",
            ".venv/lib/x.py": "",
            "my-environment/pyvenv.cfg": "",
            "my-environment/lib/x.py": "",
            ".DS_Store": "",
            ".hidden": "",
        },
    )
    assert names(bundle.of_folder(root, "handler.py")) == [".hidden", "handler.py", "package/__init__.py"]


def test_ignore_files_are_heeded(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "handler.py": HANDLER,
            ".gitignore": "*.log\nmodel.bin\n/build/\n",
            ".funcignore": "tests/\n!model.bin\n",
            "a.log": "",
            "deep/b.log": "",
            "model.bin": "",
            "build/x": "",
            "deep/build/y": "",
            "tests/t.py": "",
            "deep/tests/t.py": "",
        },
    )
    assert names(bundle.of_folder(root, "handler.py")) == [
        ".funcignore",
        ".gitignore",
        "deep/build/y",
        "handler.py",
        "model.bin",
    ]


def test_a_handler_that_is_ignored_is_told(tmp_path: Path) -> None:
    root = tree(tmp_path, {"handler.py": HANDLER, ".gitignore": "*.py\n"})
    with pytest.raises(FileNotFoundError, match="left out by"):
        bundle.of_folder(root, "handler.py")


PATTERNS = """
# comment
*.log
!keep.log
/top.txt
docs/*.md
**/cache
cache2/**
a/**/z
tmp?/
data[0-9].csv
data[!0-9].tsv
\\#file
\\!file
TRAILING
dir-only/
*.tmp
sub/inner.txt
""".replace("TRAILING", "trailing   ")

PATHS = [
    "x.log",
    "keep.log",
    "deep/x.log",
    "deep/keep.log",
    "top.txt",
    "deep/top.txt",
    "docs/a.md",
    "docs/deep/b.md",
    "cache/x",
    "deep/cache/y",
    "cache2/x",
    "cache2/deep/y",
    "a/z",
    "a/b/z",
    "a/b/c/z",
    "z",
    "tmp1/x",
    "tmp/x",
    "tmp12/x",
    "data1.csv",
    "datax.csv",
    "data1.tsv",
    "datax.tsv",
    "#file",
    "!file",
    "trailing",
    "dir-only/x",
    "deep/dir-only/x",
    "x.tmp/inside",
    "sub/inner.txt",
    "deep/sub/inner.txt",
    "plain.txt",
]


def test_patterns_mean_what_they_mean_to_git(tmp_path: Path) -> None:
    root = tree(tmp_path, dict.fromkeys(PATHS, ""))
    tree(root, {".gitignore": PATTERNS, "deep/.gitignore": "!top.txt\nkeep.log\n"})
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    listed = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard", "-z"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    assert list(bundle.files_of(root)) == sorted_as_walked(root, listed.stdout.rstrip("\0").split("\0"))


def sorted_as_walked(root: Path, found: list[str]) -> list[str]:
    walked = [name for name in bundle.files_of(root) if name in found]
    return walked + sorted(set(found) - set(walked))


def test_links_are_followed_to_files_and_to_folders(tmp_path: Path) -> None:
    outside = tree(tmp_path / "outside", {"file.txt": "linked", "folder/x": ""})
    root = tree(tmp_path / "root", {"handler.py": HANDLER})
    (root / "file.txt").symlink_to(outside / "file.txt")
    (root / "folder").symlink_to(outside / "folder")
    content = bundle.of_folder(root, "handler.py")
    assert names(content) == ["file.txt", "folder/x", "handler.py"]
    assert read(content, "file.txt") == "linked"


def test_what_is_skipped_is_warned_of(tmp_path: Path) -> None:
    root = tree(tmp_path, {"handler.py": HANDLER})
    os.mkfifo(root / "pipe")
    with pytest.warns(UserWarning, match="'pipe' is a named pipe; it is left out"):
        assert names(bundle.of_folder(root, "handler.py")) == ["handler.py"]


@pytest.mark.parametrize(
    "source", [b"\xef\xbb\xbf" + HANDLER.encode(), b"# coding: latin-1\n# \xe5\n" + HANDLER.encode()]
)
def test_a_handler_in_another_coding(tmp_path: Path, source: bytes) -> None:
    (tmp_path / "handler.py").write_bytes(source)
    assert names(bundle.of_folder(tmp_path, "handler.py")) == ["handler.py"]


def handle(client: NotImported, data):  # type: ignore[name-defined]  # noqa: F821
    """Uses an annotation that nobody imports.

    [requirements]
    numpy>=1.26,<3
    requests[socks]  # with a comment

    [/requirements]
    """
    import math

    return math.sqrt(data["x"]) + sum(range(3))


def test_a_function_is_deployed_with_its_source_and_requirements() -> None:
    content = bundle.of_handle(handle)
    assert names(content) == ["handler.py", "requirements.txt"]
    assert read(content, "requirements.txt") == "numpy>=1.26,<3\nrequests[socks]\n"
    scope: dict[str, object] = {}
    exec(read(content, "handler.py"), scope)
    assert scope["handle"](None, {"x": 4}) == 5.0  # type: ignore[operator]


def test_a_nested_function_is_deployed_without_its_indentation(recwarn: pytest.WarningsRecorder) -> None:
    def handle(data):
        return data

    assert read(bundle.of_handle(handle), "handler.py").endswith("def handle(data):\n    return data\n")
    assert list(recwarn) == []


def test_names_from_outside_are_warned_of() -> None:
    secret = 3

    def handle(data):
        return secret + len(names) + zip(data)

    with pytest.warns(UserWarning, match="names, secret from outside"):
        bundle.of_handle(handle)


def test_a_function_without_source_is_refused() -> None:
    scope: dict[str, object] = {}
    exec("def handle(data): ...", scope)
    with pytest.raises(TypeError, match="cannot be found"):
        bundle.of_handle(scope["handle"])  # type: ignore[arg-type]


def test_nothing_of_the_import_stays_behind(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {"handler.py": "import own_module\n" + HANDLER, "own_module.py": "import os\nos.environ['LEAK'] = '1'\n"},
    )
    bundle.of_folder(root, "handler.py")
    assert "own_module" not in sys.modules and "LEAK" not in os.environ
    assert sorted(path.name for path in root.iterdir()) == ["handler.py", "own_module.py"]
