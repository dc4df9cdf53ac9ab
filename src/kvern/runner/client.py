"""The `CogniteClient` of a call, from the official SDK in the function's environment."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

# The SDK is the function's, in a version of its choice: nothing is known of its types here.
_sdk: Any = importlib.import_module("cognite.client")
_credentials: Any = importlib.import_module("cognite.client.credentials")


_sdk.global_config.disable_pypi_version_check = True


def make(access: dict[str, str]) -> Any:
    """A new client that acts with `access` (`base_url`, `project`, `token`).

    Each call gets its own. One kept and given the next call's token would hand that token to a thread that an
    earlier call left running; making one takes 0.4 ms.
    """
    # The SDK doubts any host but its maker's. Said each time, since filters of the function's own may go before it.
    warnings.filterwarnings("ignore", message="Given base URL may be invalid")
    return _sdk.CogniteClient(
        _sdk.ClientConfig(
            client_name="kvern",
            project=access["project"],
            base_url=access["base_url"],
            credentials=_credentials.Token(access["token"]),
        )
    )
