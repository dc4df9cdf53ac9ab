"""Environments of their own for what is compared with and for the tools, from pinned requirement files."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
KEPT = HERE.parent / ".make" / "bench"


def python(name: str) -> Path:
    """The interpreter of the environment of `requirements/NAME.txt`; made when it is not there, or not the same.

    Raises:
        RuntimeError: it cannot be installed.
    """
    wanted = HERE / "requirements" / f"{name}.txt"
    folder = KEPT / name
    stamp, told = folder / "installed", hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()
    found = folder / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != told:
        uv = str(BIN / "uv")
        for command in (
            [uv, "venv", "--quiet", "--clear", "--no-project", "--python", sys.executable, str(folder)],
            [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(found), "-r", str(wanted)],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{name} cannot be installed: {done.stderr.strip()[-500:]}")
        stamp.write_text(told)
    return found
