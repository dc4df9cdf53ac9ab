"""From the options, the variables and the profiles to a client for the service that is meant."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

from kvern.cli.complaint import Complaint

if TYPE_CHECKING:
    from kvern.cli.options import Options
    from kvern.client import CogniteClient
    from kvern.client.profiles import Profile

ACCESS_FILE = "client.json"
"""What `kvern serve` leaves in its data folder for the commands of the same user."""

NOWHERE = (
    'no service is known here. Start one: kvern serve. Or say where it is: kvern login, or eval "$(kvern env)" '
    "with its --data-dir"
)

_VARIABLES = ("KVERN_URL", "KVERN_PROFILE", "CDF_URL", "CDF_CLUSTER")
_KEYS = ("baseUrl", "project", "tokenUrl", "clientId", "clientSecret", "scopes")


def connect(options: Options) -> CogniteClient:
    """A client for the service that the user means. Nothing is sent yet.

    In this order: the data folder or the profile of the options; what a client finds by itself, in the environment or
    as the default profile; the data folder of `KVERN_DATA_DIR`, else `.kvern` in the current folder.

    Raises:
        Complaint: when none of them tells of a service.
    """
    if options.data_dir is not None:
        return _client(profile_of(access_file(options.data_dir)))
    if options.profile is not None:
        return _client(_profile(options.profile))
    if _is_configured():
        return _discovered()
    data_dir = default_data_dir()
    if (data_dir / ACCESS_FILE).exists():
        return _client(profile_of(access_file(data_dir)))
    raise Complaint(NOWHERE)


def _is_configured() -> bool:
    from kvern.client.profiles import read_profiles

    try:
        return any(os.environ.get(name) for name in _VARIABLES) or read_profiles().default is not None
    except ValueError as error:
        raise Complaint(str(error)) from None


def _discovered() -> CogniteClient:
    from kvern.client import CogniteClient

    try:
        return CogniteClient()
    except (KeyError, ValueError) as error:
        raise Complaint(str(error.args[0])) from None


def _profile(name: str) -> Profile:
    from kvern.client.profiles import read_profiles

    try:
        return read_profiles().get(name)
    except (KeyError, ValueError) as error:
        raise Complaint(f"{error.args[0]}. Make it: kvern login --profile {name}") from None


def _client(profile: Profile) -> CogniteClient:
    from kvern.client import CogniteClient

    return CogniteClient(profile.config("kvern"))


def profile_of(access: dict[str, str]) -> Profile:
    """What a service left for its user, as a profile."""
    from kvern.client.profiles import Profile

    credentials = {
        "token_url": access["tokenUrl"],
        "client_id": access["clientId"],
        "client_secret": access["clientSecret"],
        "scopes": access["scopes"].split() or None,
    }
    return Profile(access["baseUrl"], access["project"], {"client_credentials": credentials})


def access_file(data_dir: Path) -> dict[str, str]:
    """What a service on this machine left for its user.

    Args:
        data_dir: its data folder.

    Raises:
        Complaint: when there is no such file, or it is not what a service writes.
    """
    path = data_dir / ACCESS_FILE
    try:
        found: object = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Complaint(f"no service was ever started with {data_dir}: kvern serve --data-dir {data_dir}") from None
    except ValueError:
        raise Complaint(f"{path} is damaged; start the service again, which writes it anew") from None
    if not isinstance(found, dict) or any(not isinstance(found.get(key), str) for key in _KEYS):  # pyright: ignore[reportUnknownMemberType]
        raise Complaint(f"{path} is not what a service writes; start the service again, which writes it anew")
    return cast("dict[str, str]", found)


def default_data_dir() -> Path:
    """Where `kvern serve` keeps its data unless it is told otherwise."""
    return Path(os.environ.get("KVERN_DATA_DIR") or ".kvern")
