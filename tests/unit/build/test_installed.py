"""What an environment holds, against its lock."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvern.build.errors import InstallError
from kvern.build.installed import check


def installed(environment: Path, name: str, version: str, *files: str) -> Path:
    place = environment / "lib/python3.13/site-packages"
    info = place / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nA text.\n")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in (f"{info.name}/METADATA", *files)))
    return place


def test_what_is_as_locked_is_good(tmp_path: Path) -> None:
    place = installed(tmp_path, "My_Own.Thing", "1.0.0", "thing.py", "gone.pyc", "../../../../elsewhere")
    (place / "thing.py").touch()
    installed(tmp_path, "torch", "2.5.1+cpu")
    installed(tmp_path, "local", "7")
    check(tmp_path, ["my-own-thing==1.0", "torch==2.5.1+cpu", "local[x] @ file:///bundle/local-7.whl"])


@pytest.mark.parametrize(
    ("pin", "reason"),
    [("other==1.0", "other is missing"), ("thing==2.0", "has the version 1, not 2"), ("thing==1.0", "file thing.py")],
)
def test_what_is_not_as_locked_is_named(tmp_path: Path, pin: str, reason: str) -> None:
    place = installed(tmp_path, "thing", "1.0", "thing.py")
    if "file" not in reason:
        (place / "thing.py").touch()
    with pytest.raises(InstallError, match=reason):
        check(tmp_path, [pin])
