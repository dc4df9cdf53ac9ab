"""The profiles that `kvern login` writes: named servers and how to log in there, in one file for each user.

The file is `profiles.json` in `$KVERN_CONFIG_DIR`, else in `kvern` below `$XDG_CONFIG_HOME` or `~/.config`. It holds
secrets: it is written with mode 0600 and refused when others may write to it.

    {"default": "local",
     "profiles": {"local": {"base_url": "http://localhost:8000", "project": "kvern",
                            "credentials": {"client_credentials": {"token_url": "...", "client_id": "...",
                                                                   "client_secret": "...", "scopes": null}}}}}
"""

from __future__ import annotations

import json
import os
import stat
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from kvern.client.config import ClientConfig, user_name
from kvern.client.credentials import CredentialProvider

FILE_NAME = "profiles.json"


@dataclass(frozen=True)
class Profile:
    """A server and how to log in there.

    Args:
        base_url: Address of the server.
        project: Name of the project.
        credentials: As `CredentialProvider.load` takes them: `{"token": ...}`, `{"client_credentials": {...}}`,
            `{"interactive": {...}}` or `{"device_code": {...}}`.
    """

    base_url: str
    project: str
    credentials: dict[str, Any] = field(repr=False)

    def config(self, client_name: str | None = None) -> ClientConfig:
        """The config of a client for this server.

        Args:
            client_name: What your program is called; the name of the user if not given.
        """
        return ClientConfig(
            client_name=client_name or user_name(),
            project=self.project,
            credentials=CredentialProvider.load(self.credentials),
            base_url=self.base_url,
        )


@dataclass
class Profiles:
    """All profiles of a user.

    Args:
        profiles: The profiles by name.
        default: Name of the one to use when none is named.
    """

    profiles: dict[str, Profile] = field(default_factory=dict[str, Profile])
    default: str | None = None

    def get(self, name: str) -> Profile:
        """The profile of that name. Raises `KeyError` when there is none."""
        if name not in self.profiles:
            known = ", ".join(sorted(self.profiles)) or "none"
            raise KeyError(f"There is no profile {name!r} in {profiles_path()}; there is: {known}")
        return self.profiles[name]


def profiles_path() -> Path:
    """Where the file is, whether or not it exists."""
    configured = os.environ.get("KVERN_CONFIG_DIR")
    if configured:
        return Path(configured) / FILE_NAME
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    else:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return base / "kvern" / FILE_NAME


def read_profiles(path: Path | None = None) -> Profiles:
    """All profiles; none when there is no file.

    Args:
        path: The file; `profiles_path()` if not given.

    Raises:
        PermissionError: when others may write to the file.
        ValueError: when the file is not as it must be.
    """
    path = path or profiles_path()
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Profiles()
    if os.name == "posix" and mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"Others may write to {path}: chmod 600 {path}")
    try:
        content = cast("dict[str, Any]", json.loads(text))
        profiles = {
            name: Profile(fields["base_url"], fields["project"], fields["credentials"])
            for name, fields in content["profiles"].items()
        }
        default = content.get("default")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no file of profiles ({error!r}): `kvern login` writes a new one") from error
    return Profiles(profiles, default)


def write_profiles(profiles: Profiles, path: Path | None = None) -> Path:
    """Replaces the file, in one step and readable by its owner only.

    Args:
        profiles: What it shall hold.
        path: The file; `profiles_path()` if not given.

    Returns:
        The file.
    """
    path = path or profiles_path()
    content = {
        "default": profiles.default,
        "profiles": {
            name: {"base_url": profile.base_url, "project": profile.project, "credentials": profile.credentials}
            for name, profile in sorted(profiles.profiles.items())
        },
    }
    write_private(path, json.dumps(content, indent=2) + "\n")
    return path


def save_profile(name: str, profile: Profile, make_default: bool = True, path: Path | None = None) -> Path:
    """Adds a profile, or replaces the one of that name.

    Args:
        name: Its name.
        profile: The profile.
        make_default: Use it from now on when none is named; the first one is the default in any case.
        path: The file; `profiles_path()` if not given.

    Returns:
        The file.
    """
    profiles = read_profiles(path)
    profiles.profiles[name] = profile
    if make_default or profiles.default is None:
        profiles.default = name
    return write_profiles(profiles, path)


def delete_profile(name: str, path: Path | None = None) -> None:
    """Removes a profile; another one becomes the default if it was that.

    Args:
        name: Its name.
        path: The file; `profiles_path()` if not given.

    Raises:
        KeyError: when there is none of that name.
    """
    profiles = read_profiles(path)
    profiles.get(name)
    del profiles.profiles[name]
    if profiles.default == name:
        profiles.default = next(iter(sorted(profiles.profiles)), None)
    write_profiles(profiles, path)


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner can read, replacing what is there (a link too) in one step."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Made with mode 0600, so that the text is never readable to others.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
