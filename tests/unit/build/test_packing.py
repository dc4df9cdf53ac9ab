"""Packing wheels from an environment, whatever a hostile build has put there."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from kvern.build import packing
from kvern.build.packing import Packing, UnfitError, noted

KEY = "0123"


class Place:
    """An environment, and where its wheels go."""

    def __init__(self, root: Path) -> None:
        self.environment = root / "environment"
        self.site = self.environment / "lib" / "python3.13" / "site-packages"
        self.wheels = root / "wheels"
        self.work = root / "work"
        for folder in (self.site, self.environment / "bin", self.wheels, self.work):
            folder.mkdir(parents=True)

    def install(self, name: str, record: Sequence[str] | None = None) -> Path:
        """Install a distribution with one module, and a RECORD that names it, or what is given."""
        info = self.site / f"{name}-1.0.dist-info"
        info.mkdir()
        (self.site / f"{name}.py").write_text("x = 1\n")
        (info / "WHEEL").write_text("Wheel-Version: 1.0\nTag: py3-none-any\n")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        names = [f"{name}.py", *(f"{info.name}/{each}" for each in ("WHEEL", "METADATA", "RECORD"))]
        (info / "RECORD").write_text("".join(f"{each},,\n" for each in (names if record is None else record)))
        return info

    def pack(self) -> list[tuple[str, str]]:
        Packing(self.environment, self.wheels, self.work).run(KEY, "")
        assert not list(self.work.iterdir())
        return [(name, digest) for name, digest in json.loads((self.wheels / f"{KEY}.json").read_bytes())["wheels"]]

    def content(self, wheel: tuple[str, str]) -> dict[str, bytes]:
        with zipfile.ZipFile(self.wheels / wheel[1] / wheel[0]) as archive:
            assert archive.testzip() is None
            return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_same_environment_gives_the_same_wheels(place: Place, tmp_path: Path) -> None:
    place.install("alpha")
    other = Place(tmp_path / "other")
    other.install("alpha")
    os.utime(other.site / "alpha.py", (1, 1))
    ((name, digest),) = place.pack()
    assert other.pack() == [(name, digest)]
    assert name == "alpha-1.0-py3-none-any.whl"
    content = place.content((name, digest))
    assert content["alpha.py"] == b"x = 1\n"
    assert "alpha.py,sha256=" in content["alpha-1.0.dist-info/RECORD"].decode()


def test_what_an_earlier_run_has_packed_is_not_packed_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("alpha", "beta", "gamma"):
        place.install(name)
    with monkeypatch.context() as patch:

        def cut(info: Path) -> str:
            if info.name.startswith("gamma"):
                raise KeyboardInterrupt
            return "py3-none-any"

        patch.setattr(packing, "_tag", cut)
        with pytest.raises(KeyboardInterrupt):
            place.pack()
    progress = place.wheels / f"{KEY}.part"
    for path in place.work.iterdir():  # goes with the staging folder
        path.unlink()
    assert len(noted(progress)) == 2
    assert not list(place.wheels.glob("*.json"))
    with progress.open("a") as file:
        file.write('["gamma-1.0.dist-info", "gamm')
    (beta,) = place.wheels.glob("*/beta-*.whl")
    beta.unlink()  # that is packed once more, alpha is not
    (place.site / "alpha.py").unlink()
    wheels = place.pack()
    assert [name.partition("-")[0] for name, _ in wheels] == ["alpha", "beta", "gamma"]
    assert all((place.wheels / digest / name).is_file() for name, digest in wheels)
    assert not progress.exists()


def test_only_what_the_installer_wrote_into_a_script_is_taken_out(place: Place) -> None:
    stub = b"#!/bin/sh\n'''exec' \"$(dirname -- \"$0\")/python\" \"$0\" \"$@\"\n' '''\n"
    scripts = {
        "moved": (stub + b"main()\n", b"#!python\nmain()\n"),
        "named": (b"#!%s/bin/python\nmain()\n" % os.fsencode(place.environment), b"#!python\nmain()\n"),
        "own": (b"#!/usr/bin/env python3\nmain()\n", b"#!/usr/bin/env python3\nmain()\n"),
    }
    for name, (installed, _) in scripts.items():
        (place.environment / "bin" / name).write_bytes(installed)
    tool = place.environment / "share" / "tool.py"
    tool.parent.mkdir()
    tool.write_bytes(b"#!/usr/bin/python3 -s\n")
    place.install("alpha", [*(f"../../../bin/{name}" for name in scripts), "../../../share/tool.py"])
    (wheel,) = place.pack()
    content = place.content(wheel)
    for name, (_, brought) in scripts.items():
        assert content[f"alpha-1.0.data/scripts/{name}"] == brought
    assert content["alpha-1.0.data/data/share/tool.py"] == b"#!/usr/bin/python3 -s\n"


def test_a_file_that_is_named_often_is_packed_once(place: Place) -> None:
    place.install("alpha", ["alpha.py", "./alpha.py", "odd/../alpha.py"] * 1000)
    (wheel,) = place.pack()
    assert list(place.content(wheel)) == ["alpha.py", "alpha-1.0.dist-info/RECORD"]


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_link(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [a_pipe, a_link])
@pytest.mark.parametrize("name", ["RECORD", "WHEEL", "entry_points.txt", "METADATA"])
def test_nothing_is_read_but_plain_files(place: Place, name: str, make: Callable[[Path], None]) -> None:
    info = place.install("alpha")
    (info / name).unlink(missing_ok=True)
    make(info / name)
    with pytest.raises(UnfitError, match=name):
        place.pack()
    assert not list(place.wheels.glob("*.json"))


def test_a_distribution_that_is_a_link_is_not_followed(place: Place, tmp_path: Path) -> None:
    info = place.install("alpha")
    info.rename(tmp_path / "elsewhere")
    info.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnfitError, match=r"alpha-1\.0\.dist-info is no folder"):
        place.pack()


def test_files_too_large_together_are_not_packed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_MOST", 1_000_000)
    place.install("alpha")
    with (place.site / "alpha.py").open("wb") as file:
        file.truncate(1_000_000_000_000)  # which takes no room on the disk
    with pytest.raises(UnfitError, match="more than 1000000 bytes"):
        place.pack()
