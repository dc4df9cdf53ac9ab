"""Zips that would fill the service's disk, or lead out of their folder."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from tests.acceptance.api import Api, bundle
from tests.acceptance.server import Server, until


def zipped(*entries: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("handler.py", "def handle(data): return 1\n")
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


def sizes_changed(content: bytes, size: int) -> bytes:
    """The last entry declares another size than it has."""
    data = bytearray(content)
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = data.rfind(signature) + at
        data[place : place + 4] = size.to_bytes(4, "little")
    return bytes(data)


def deep_folders(count: int) -> bytes:
    return zipped(*((f"{number}/" + "d/" * 30, b"") for number in range(count)), method=zipfile.ZIP_STORED)


ATTACKS = {
    "128,000 folders by 4,000 paths": (lambda: deep_folders(4_000), "at most 25000 are made"),
    "more entries than are allowed": (
        lambda: zipped(*((str(number), b"") for number in range(20_000)), method=zipfile.ZIP_STORED),
        "too many entries",
    ),
    "a file of half a gigabyte and more": (
        lambda: sizes_changed(zipped(("zeros", bytes(1_000_000))), 600_000_000),
        "at most 500000000",
    ),
    "a file that is more than it says": (lambda: sizes_changed(zipped(("zeros", bytes(5_000_000))), 10), "more than"),
    "a path beyond all depth": (lambda: zipped(("d/" * 40 + "f", b"")), "names deep"),
    "a way out": (lambda: zipped(("../../evil", b"")), "leaves the zip's root"),
    "another file for a path": (lambda: zipped(("./handler.py", b"import os")), "twice, with different content"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_it_is_refused_and_leaves_nothing(api: Api, server: Server, attack: str) -> None:
    make, told = ATTACKS[attack]
    before = set((server.data / "build" / "revisions").glob("*"))
    made = api.deployed(make())
    assert made["status"] == "Failed"
    assert told in made["error"]["message"]
    assert set((server.data / "build" / "revisions").glob("*")) <= before
    api.post("/functions/delete", {"items": [{"id": made["id"]}]})


def test_many_files_are_off_the_disk_after_their_function(api: Api, server: Server) -> None:
    entries = [(f"{number}/{inner}", b"") for number in range(20) for inner in range(30)]
    made = api.deployed(zipped(*entries, method=zipfile.ZIP_STORED))
    assert made["status"] == "Ready", made["error"]
    assert api.post("/functions/delete", {"items": [{"id": made["id"]}]}).status_code == 200
    trash = Path(server.data / "build" / "trash")
    until(lambda: not any(trash.iterdir()), 60, "the trash is empty")


def test_bundles_are_served_meanwhile(api: Api) -> None:
    assert api.deployed(bundle(handler="def handle(data): return 1"))["status"] == "Ready"
