"""Schedules with their policies: by way of HTTP, for the SDK knows only what the contract has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kvern.client import CogniteClient

PATH = "/functions/schedules"

_POLICIES = ("timeZone", "missed", "missedWindow", "overlap")
_MOST = 10_000


def create(client: CogniteClient, wanted: dict[str, Any]) -> dict[str, Any]:
    """Make a schedule of what `POST /functions/schedules` takes; a None in it is left out."""
    item = {key: value for key, value in wanted.items() if value is not None}
    item["nonce"] = client.iam.sessions.create().nonce
    return dict(client.post(PATH, {"items": [item]}).json()["items"][0])


def of_function(client: CogniteClient, function_id: int) -> list[dict[str, Any]]:
    """The schedules of a function as the service shows them, each with its `data`."""
    body = {"filter": {"functionId": function_id}, "limit": _MOST}
    found = [dict(one) for one in client.post(f"{PATH}/list", body).json()["items"]]
    for one in found:
        one["data"] = client.functions.schedules.get_input_data(one["id"])
    return found


def create_again(client: CogniteClient, schedule: dict[str, Any], function_id: int) -> None:
    """Make a schedule that `of_function` gave again, for another function; a paused one is paused."""
    kept = {key: schedule.get(key) for key in ("name", "cronExpression", "description", "data", *_POLICIES)}
    made = create(client, {**kept, "functionId": function_id})
    if schedule.get("pausedTime") is not None:
        client.post(f"{PATH}/pause", {"items": [{"id": made["id"]}]})
