"""Whether builds can work on a machine: the operator's settings, uv under them, its cache, the interpreters."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import uv

from kvern.build.cache import cache_folder
from kvern.build.errors import BuildError
from kvern.build.interpreters import Interpreters
from kvern.build.operator.settings import operator_settings
from kvern.build.requirements import Requirements
from kvern.build.revision import Interpreter
from kvern.build.sources import Sources, sources

Complaint = tuple[bool, str]
"""Whether builds fail of it, and what it is and what to do."""

_PATIENCE = 60


def complaints(environ: Mapping[str, str], cache: Path | None, data: Path) -> list[Complaint]:
    """All that stands in the way of builds, and each setting that is left out. Leaves nothing behind.

    Args:
        environ: the server's environment, see `operator.settings`.
        cache: the chosen folder of uv's cache.
        data: the service's data folder; it need not exist.
    """
    operator = operator_settings(environ)
    found: list[Complaint] = [(True, str(problem)) for problem in operator.problems]
    found += [(False, str(remark)) for remark in operator.remarks]
    reason = _cache(cache or operator.cache_dir, data, environ)
    if reason:
        found.append((True, reason))
    if operator.problems:
        return found
    try:
        told = sources(Requirements(), None, [], environ)
    except BuildError as error:
        return [*found, (True, error.message)]
    for interpreter in Interpreters(environ).all().values():
        reason = _compile(told, interpreter)
        if reason:
            found.append((True, f"uv cannot resolve for {interpreter.runtime} ({interpreter.executable}): {reason}"))
    return found


def _cache(chosen: Path | None, data: Path, environ: Mapping[str, str]) -> str:
    """Why the cache cannot be used; empty when it can. Folders made to try that are removed."""
    own = data / "build" / "cache"
    before = {path for place in (chosen, own) if place for path in place.absolute().parents if path.exists()}
    try:
        folder = cache_folder(chosen, own, environ)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"kvern")
    except BuildError as error:
        return error.message
    except OSError as error:
        return f"The package cache cannot be written: {error.strerror}."
    for path in (folder, *folder.parents):
        if path in before:
            break
        with contextlib.suppress(OSError):
            path.rmdir()  # only what is empty goes
    return ""


def _compile(told: Sources, interpreter: Interpreter) -> str:
    """What uv says against resolving nothing at all with these settings; empty when it has nothing against it."""
    with tempfile.TemporaryDirectory(prefix="kvern-doctor") as folder:
        inside = Path(folder)
        (inside / "requirements.in").touch()
        words = [str(uv.find_uv_bin()), "pip", "compile", str(inside / "requirements.in"), "-q", *told.deciding]
        for option, lines in told.deciding_lines.items():
            path = inside / f"{option.strip('-')}.in"
            path.write_text("".join(f"{line}\n" for line in lines))
            words += [option, str(path)]
        netrc = inside / "netrc"
        netrc.touch(mode=0o600)
        netrc.write_text(told.netrc)
        env = {"PATH": os.defpath, "HOME": folder, **told.keyring_env, **told.env}
        env |= {"UV_NO_CONFIG": "1", "UV_CACHE_DIR": str(inside / "cache"), "NETRC": str(netrc), "NO_COLOR": "1"}
        words += ["-p", str(interpreter.executable), *(["--no-index"] if told.no_index else [])]
        done = subprocess.run(
            words,
            env=env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    if done.returncode == 0:
        return ""
    said = told.scrub(" ".join(done.stderr.replace(f"{folder}/", "").split()))
    return said[:400] or f"it ended with status {done.returncode}"
