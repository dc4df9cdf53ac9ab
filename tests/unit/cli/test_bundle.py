"""What `kvern deploy` packs."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest

from kvern.cli import bundle
from kvern.cli.complaint import Complaint

EXAMPLES = Path(__file__).parents[3] / "examples"


def names(packed: bundle.Bundle) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(packed.content)).namelist()


def write(folder: Path, *files: str) -> Path:
    for name in files:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("def handle(): ...\n")
    return folder


def test_a_folder_becomes_a_zip_with_its_files_at_the_root(tmp_path: Path) -> None:
    folder = write(tmp_path / "pump", "handler.py", "requirements.txt", "lib/curve.py")

    packed = bundle.pack(folder)

    assert packed.name == "pump"
    assert packed.handler == "handler.py"
    assert sorted(names(packed)) == ["handler.py", "lib/curve.py", "requirements.txt"]


def test_hidden_names_and_caches_stay_behind(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        "handler.py",
        ".env",
        ".git/config",
        "__pycache__/handler.pyc",
        "old.pyc",
        "venv/pyvenv.cfg",
        "a/.b/c.py",
    )

    assert names(bundle.pack(folder)) == ["handler.py"]


def test_the_same_files_make_the_same_bytes(tmp_path: Path) -> None:
    first = bundle.pack(write(tmp_path / "one", "handler.py", "b.py", "a/c.py"))
    second = write(tmp_path / "two", "a/c.py", "b.py", "handler.py")
    (second / "handler.py").chmod(0o600)

    assert bundle.pack(second).content == first.content


def test_programs_stay_programs(tmp_path: Path) -> None:
    (write(tmp_path, "handler.py", "bin/tool") / "bin" / "tool").chmod(0o700)

    infos = zipfile.ZipFile(io.BytesIO(bundle.pack(tmp_path).content)).infolist()
    assert {info.filename: oct(info.external_attr >> 16) for info in infos} == {
        "bin/tool": "0o100755",
        "handler.py": "0o100644",
    }


def test_what_stays_behind_or_comes_from_elsewhere_is_noted(tmp_path: Path) -> None:
    folder = write(tmp_path / "pump", "handler.py")
    os.mkfifo(folder / "pipe")
    (folder / "shared.py").symlink_to(write(tmp_path / "lib", "shared.py") / "shared.py")

    packed = bundle.pack(folder)
    assert names(packed) == ["handler.py", "shared.py"]
    assert packed.notes == (
        "'pipe' is a named pipe; it is left out",
        f"'shared.py' is a link to '{tmp_path}/lib/shared.py'; what is there goes with the function",
    )


def test_a_handler_that_is_ignored_is_told(tmp_path: Path) -> None:
    (write(tmp_path, "handler.py") / ".kvernignore").write_text("*.py\n")

    with pytest.raises(Complaint, match=r"is left out: by .gitignore"):
        bundle.pack(tmp_path)


WITH_A = b'def handle():\n  """\n  [requirements]\n  a\n  [/requirements]\n  """\n'


@pytest.mark.parametrize("source", [b"\xef\xbb\xbf" + WITH_A, b"# coding: latin-1\n# \xe5\n" + WITH_A])
def test_a_single_file_in_another_coding(tmp_path: Path, source: bytes) -> None:
    (tmp_path / "one.py").write_bytes(source)

    assert names(bundle.pack(tmp_path / "one.py")) == ["handler.py", "requirements.txt"]


@pytest.mark.parametrize(
    "source",
    [b"x = '\xe5'", b"# coding: nothing\n", b"\0", "x = 1".encode("utf-16"), b"(" * 5000, b"x = " + b"-" * 200_000],
)
def test_a_single_file_that_cannot_be_read_is_refused(tmp_path: Path, source: bytes) -> None:
    (tmp_path / "one.py").write_bytes(source)

    with pytest.raises(Complaint, match="the handler is not valid Python"):
        bundle.pack(tmp_path / "one.py")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.zip")

    with pytest.raises(Complaint, match="neither a folder"):
        bundle.pack(tmp_path / "a.zip")


def test_a_single_file_becomes_the_handler_with_the_requirements_of_its_docstring() -> None:
    packed = bundle.pack(EXAMPLES / "outliers.py")

    archive = zipfile.ZipFile(io.BytesIO(packed.content))
    assert packed.name == "outliers"
    assert archive.read("handler.py") == (EXAMPLES / "outliers.py").read_bytes()
    assert archive.read("requirements.txt") == b"indsl==8.9.0\npandas>=3,<4\n"


def test_a_single_file_without_requirements_has_no_requirements_file(tmp_path: Path) -> None:
    write(tmp_path, "hello.py")

    assert names(bundle.pack(tmp_path / "hello.py")) == ["handler.py"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def handle():\n  '''\n  [requirements]\n  a==1\n\n  # why\n  b\n  [/requirements]\n  '''", ["a==1", "b"]),
        ("async def handle():\n  '''\n  [requirements]\n  a\n  [/requirements]\n  '''", ["a"]),
        ("def handle():\n  '''\n  [requirements]\n  old\n  [/requirements]\n  '''\ndef handle(): ...", []),
        ("def handle():\n  '''\n  [requirements]\n  never closed\n  '''", []),
        ("def other():\n  '''\n  [requirements]\n  a\n  [/requirements]\n  '''", []),
        ("handle = print", []),
    ],
)
def test_requirements_are_read_from_the_last_handle_at_the_top(source: str, expected: list[str]) -> None:
    assert bundle.requirements(source) == expected


def test_a_zip_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "quality.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("./handler.py", "def handle(): ...")

    packed = bundle.pack(path)

    assert packed == bundle.Bundle("quality", "handler.py", path.read_bytes())


def test_the_entry_file_may_lie_elsewhere(tmp_path: Path) -> None:
    write(tmp_path, "src/main.py")

    assert bundle.pack(tmp_path, "./src/main.py").handler == "./src/main.py"


@pytest.mark.parametrize(
    ("make", "handler", "message"),
    [
        ((), None, "there is no"),
        (("thing.txt",), None, "neither a folder nor a .zip nor a .py file"),
        (("thing/main.py", "thing/tool.py"), None, "it has main.py, tool.py. Name the entry file with --function-path"),
        (("thing/readme.txt",), None, "no .py file at its top"),
        (("thing/handler.py",), "src/handler.py", "there is no src/handler.py in"),
        (("thing.py",), "main.py", "a single .py file is the handler itself"),
    ],
)
def test_what_cannot_be_packed_is_said_with_what_to_do(
    tmp_path: Path, make: tuple[str, ...], handler: str | None, message: str
) -> None:
    write(tmp_path, *make)
    path = next(tmp_path.iterdir(), tmp_path / "thing")

    with pytest.raises(Complaint, match=message.replace("(", "\\(")) as complaint:
        bundle.pack(path, handler)
    assert complaint.value.exit_code == 2


def test_a_single_file_that_is_not_python_is_refused_with_the_line(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("x = 1\ndef handle(:\n")

    with pytest.raises(Complaint, match=r"not valid Python: .* in line 2"):
        bundle.pack(tmp_path / "broken.py")
