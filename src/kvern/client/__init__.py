"""The client: `CogniteClient` and `AsyncCogniteClient`, as in the official SDK."""

from __future__ import annotations

from kvern import __version__
from kvern.client.async_client import AsyncCogniteClient
from kvern.client.config import ClientConfig, global_config
from kvern.client.sync_client import CogniteClient

__all__ = ["AsyncCogniteClient", "ClientConfig", "CogniteClient", "__version__", "global_config"]
