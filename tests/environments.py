"""Environments with what tests need from elsewhere, made once below `.make` and kept for later runs."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from tools import machine
from tools.machine import ROOT

__all__ = ["ROOT", "kept_environment"]


def kept_environment(name: str, *packages: str) -> Path:
    """The folder of an environment with these packages, whose first is pinned and tells when it has to be made anew.

    Args:
        name: of the folder below `.make`.
    """
    folder = ROOT / ".make" / name
    stamp = folder / packages[0]
    environment = machine.plain(os.environ) | machine.sources(os.environ).for_uv()
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process of this run may be making it
        if not stamp.exists() or stamp.read_text() != str(folder):  # scripts name the folder in which they were made
            uv = str(Path(sys.executable).parent / "uv")
            subprocess.run(
                [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True, env=environment
            )
            install = [
                uv,
                "pip",
                "install",
                "--quiet",
                "--compile-bytecode",
                "--python",
                str(folder / "bin" / "python"),
            ]
            subprocess.run([*install, *packages], check=True, env=environment)
            stamp.write_text(str(folder))
    return folder
