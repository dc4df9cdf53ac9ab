"""What an operation needs to know before its own request: the id behind an external id, and a session's nonce."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvern.client.data_classes.iam import ClientCredentials

if TYPE_CHECKING:
    from kvern.client.async_client import AsyncCogniteClient


async def function_id_of(client: AsyncCogniteClient, wanted: int | str) -> int:
    """The id of a function.

    Args:
        client: The client.
        wanted: An int is the id itself, a str the external id.

    Raises:
        ValueError: when no function has this external id.
    """
    if isinstance(wanted, int):
        return wanted
    function = await client.functions.retrieve(external_id=wanted)
    if function is None:
        raise ValueError(f"There is no function with the external id {wanted!r}")
    return function.id


async def new_nonce(
    client: AsyncCogniteClient, client_credentials: dict[str, str] | ClientCredentials | None = None
) -> str:
    """The nonce of a new session.

    Args:
        client: The client.
        client_credentials: The application to make it for; the client itself if not given.
    """
    if isinstance(client_credentials, dict):
        client_credentials = ClientCredentials(client_credentials["client_id"], client_credentials["client_secret"])
    session = await client.iam.sessions.create(client_credentials)
    return session.nonce
