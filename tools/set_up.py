"""`make setup`: the environment in `.venv` as `uv.lock` has it, wherever the clone lies, however the machine is set.

uv itself is installed first, in the version and with the hashes of `uv.lock`. Where the machine has a mirror, the
packages are asked for there, and their hashes checked; else they come from the addresses in `uv.lock`, to which uv goes
without regard to any mirror. Standard library only.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tools.machine import Sources

HERE = Path(__file__).resolve()
ROOT = HERE.parents[1]
MADE = ROOT / ".make"
TEMPORARY = MADE / "temporary"  # uv leaves its lock files in such a folder
VENV = ROOT / ".venv"
STAMP = VENV / "set-up"
MADE_OF = (ROOT / "uv.lock", ROOT / "pyproject.toml", HERE, HERE.with_name("machine.py"))


def base_python() -> str:
    """The interpreter, not the one of an environment that may be made anew here."""
    return str(getattr(sys, "_base_executable", "") or sys.executable)


def stamp() -> str:
    """Says what an environment was made of, and where: its scripts name their folder, its packages fit one Python."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in MADE_OF)).hexdigest()
    return f"{ROOT}\n{base_python()} {sys.version}\n{digest}\n"


def pinned(name: str) -> tuple[str, list[str]]:
    """The version and the hashes of a package in `uv.lock`."""
    import tomllib

    for package in tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]:
        if package["name"] == name:
            files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())]
            return package["version"], [file["hash"] for file in files]
    sys.exit(f"uv.lock has no package {name}")


def run(command: Sequence[str | Path], environment: dict[str, str]) -> bool:
    return subprocess.run([str(word) for word in command], cwd=ROOT, env=environment, check=False).returncode == 0


def uv_itself(environment: dict[str, str]) -> Path | None:
    """uv in the version of `uv.lock`; None when it cannot be had."""
    version, hashes = pinned("uv")
    folder = MADE / f"uv-{version}"
    uv = folder / "bin" / "uv"
    done = subprocess.run([uv, "--version"], capture_output=True, check=False) if uv.exists() else None
    if done and done.returncode == 0:
        return uv
    shutil.rmtree(folder, ignore_errors=True)
    if not run([base_python(), "-m", "venv", folder], environment):
        sys.exit("This Python makes no environments: on Debian and Ubuntu, apt install python3-venv.")
    wanted = folder / "uv.txt"
    wanted.write_text(" ".join([f"uv=={version}", *(f"--hash={value}" for value in hashes)]) + "\n")
    pip = [folder / "bin" / "python", "-m", "pip", "install", "-qq", "--require-hashes", "--no-deps"]
    return uv if run([*pip, "--requirement", wanted], environment) else None


def main() -> None:
    if sys.version_info < (3, 11):
        version = sys.version.split()[0]
        sys.exit(f"Kvern needs Python 3.11 or newer, this is {version}. If there is one: make PYTHON=python3.12")
    sys.path.insert(0, str(HERE.parent))
    import machine

    TEMPORARY.mkdir(parents=True, exist_ok=True)
    with (MADE / "set-up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another `make` of this clone may be at it
        wanted = stamp()
        python = VENV / "bin" / "python"
        told = STAMP.read_text(encoding="utf-8") if STAMP.exists() else ""
        if told == wanted and os.access(python, os.X_OK):
            return
        STAMP.unlink(missing_ok=True)
        sources = machine.sources(os.environ)
        environment = machine.plain(os.environ) | sources.for_pip() | sources.for_uv()
        environment |= {"TMPDIR": str(TEMPORARY)}
        uv = uv_itself(environment)
        is_same = told.split("\n")[:2] == wanted.split("\n")[:2] and os.access(python, os.X_OK)
        anew = ["venv", "--quiet", "--no-project", "--clear", "--python", base_python(), VENV]
        if uv and (is_same or run([uv, *anew], environment)) and _install(uv, environment, sources):
            # Nothing is compiled at a start then, not even where Python is told to write no bytecode.
            run([python, "-m", "compileall", "-q", ROOT / "src"], environment)
            STAMP.write_text(wanted, encoding="utf-8")
            return
    sys.exit(
        f"\nThe packages could not be installed from {_shown(sources.index)}. Where only a mirror is reached, set it:\n"
        "  python3 -m pip config set global.index-url https://MIRROR/simple\n"
        "or UV_DEFAULT_INDEX in the environment. A proxy is read from HTTPS_PROXY, certificates from SSL_CERT_FILE."
    )


def _install(uv: Path, environment: dict[str, str], sources: Sources) -> bool:
    if sources.index is None and not sources.links_alone:
        sync = [uv, "sync", "--quiet", "--frozen", "--all-extras", "--no-progress", "--compile-bytecode"]
        return run([*sync, "--python", VENV], environment)
    listed = MADE / "requirements.txt"
    export = [uv, "export", "--quiet", "--frozen", "--all-extras", "--no-header", "--output-file", listed]
    install = [uv, "pip", "sync", "--quiet", "--no-progress", "--compile-bytecode", "--python", VENV, listed]
    if not run(export, environment):
        return False
    # Links that do not have everything are no reason to fail where an index can be reached.
    return bool(sources.links_alone and run([*install, "--no-index"], environment)) or run(install, environment)


def _shown(index: str | None) -> str:
    """The index without the login that its URL may hold."""
    if not index:
        return "the public index"
    scheme, _, rest = index.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


if __name__ == "__main__":
    main()
