"""Where uv's cache of packages lies."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from kvern.build.errors import SettingsError
from kvern.build.operator.places import home_of, is_there


def cache_folder(chosen: Path | None, own: Path, environ: Mapping[str, str]) -> Path:
    """The folder for uv's cache, which is there: the chosen one, else uv's own below the home folder, else our own.

    The user that a service runs as often has no home folder that it may write to.

    Args:
        chosen: by `--build-cache`, `UV_CACHE_DIR` or uv's settings; a relative path is one from the server's folder.
        own: for a server without a home.
        environ: the server's environment: `XDG_CACHE_HOME`, `HOME`.

    Raises:
        SettingsError: nobody can write to the chosen one.
    """
    if chosen is not None:
        chosen = chosen.absolute()
        reason = _why_unfit(chosen)
        if reason:
            raise SettingsError(
                f"The package cache {chosen} cannot be used: {reason}. Make it writable for the service's user, or "
                "choose another one with --build-cache or UV_CACHE_DIR."
            )
        return chosen
    home = home_of(environ)
    base = environ.get("XDG_CACHE_HOME") or (str(home / ".cache") if home != Path("/") and is_there(home) else "")
    if base and not _why_unfit(Path(base).absolute() / "uv"):
        return Path(base).absolute() / "uv"
    reason = _why_unfit(own)
    if reason:
        raise SettingsError(f"The package cache {own} cannot be used: {reason}.")
    return own


def _why_unfit(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return error.strerror or str(error)
    return "" if os.access(folder, os.R_OK | os.W_OK | os.X_OK) else "it cannot be written"
