"""Every list in a request is bounded, and what is bounded is looked up in one question."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.api import Api

LABEL = {"externalId": "x"}
ID = {"id": 1}
NAME = {"name": "x"}


def filtered(**keys: Any) -> dict[str, Any]:
    return {"filter": keys}


def updated(**keys: Any) -> dict[str, Any]:
    return {"items": [{"id": 1, "update": keys}]}


MANY = 20_000
PAIRS = {str(number): "x" for number in range(MANY)}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/files/list", filtered(dataSetIds=[{"id": number + 1} for number in range(MANY)])),
        ("/files/list", filtered(dataSetIds=[{"externalId": str(number)} for number in range(MANY)])),
        ("/files/list", filtered(assetIds=[1] * MANY)),
        ("/files/list", filtered(assetExternalIds=["x"] * MANY)),
        ("/files/list", filtered(assetSubtreeIds=[ID] * MANY)),
        ("/files/list", filtered(labels={"containsAny": [LABEL] * MANY})),
        ("/files/list", filtered(labels={"containsAll": [LABEL] * MANY})),
        ("/files/list", filtered(metadata=PAIRS)),
        ("/files/list", filtered(name="x" * MANY)),
        ("/files/list", filtered(directoryPrefix="/" * MANY)),
        ("/files/byids", {"items": [ID] * MANY}),
        ("/files/delete", {"items": [ID] * MANY}),
        ("/files/update", {"items": [{"id": 1, "update": {}}] * MANY}),
        ("/files/update", updated(assetIds={"add": [1] * MANY})),
        ("/files/update", updated(labels={"remove": [LABEL] * MANY})),
        ("/files/update", updated(metadata={"add": PAIRS})),
        ("/files/update", updated(metadata={"remove": ["x"] * MANY})),
        ("/files/downloadlink", {"items": [ID] * MANY}),
        ("/files", {**NAME, "labels": [LABEL] * MANY}),
        ("/files", {**NAME, "labels": [PAIRS]}),
        ("/files", {**NAME, "geoLocation": {"x": "y" * 200_000}}),
        ("/files", {**NAME, "assetIds": [1] * MANY}),
        ("/files", {**NAME, "metadata": PAIRS}),
        ("/datasets", {"items": [NAME] * MANY}),
        ("/datasets/list", filtered(metadata=PAIRS)),
        ("/datasets/byids", {"items": [ID] * MANY}),
        ("/datasets/update", {"items": [{"id": 1, "update": {}}] * MANY}),
        ("/functions/list", filtered(metadata=PAIRS)),
        ("/functions/list", filtered(name="x" * MANY)),
        ("/functions/byids", {"items": [ID] * MANY}),
        ("/functions/delete", {"items": [ID] * MANY}),
        ("/functions", {"items": [{**NAME, "fileId": 1, "envVars": {"A": "x" * 200_000}}]}),
        ("/functions/schedules/list", filtered(name="x" * MANY)),
        ("/functions/schedules/byids", {"items": [ID] * MANY}),
        ("/functions/schedules/delete", {"items": [ID] * MANY}),
        ("/sessions/byids", {"items": [ID] * MANY}),
        ("/sessions/revoke", {"items": [ID] * MANY}),
        ("/groups", {"items": [NAME] * MANY}),
        ("/groups", {"items": [{**NAME, "metadata": PAIRS}]}),
        (
            "/groups",
            {"items": [{**NAME, "capabilities": [{"eventsAcl": {"actions": ["READ"], "scope": {"x": PAIRS}}}] * 4}]},
        ),
        ("/groups/delete", {"items": [1] * MANY}),
        ("/kvern/clients/delete", {"items": ["x"] * MANY}),
    ],
    ids=lambda value: value if isinstance(value, str) else ",".join(value.get("filter", {}) or value)[:40],
)
def test_a_list_that_is_too_long_is_refused_before_anything_is_looked_up(api: Api, path: str, body: Any) -> None:
    answer = api.post(path, body)
    assert answer.status_code == 400, answer.text[:300]
    message = answer.json()["error"]["message"]
    assert message.startswith("Expected")
    assert len(message) < 300


def test_labels_that_are_no_text_are_refused(api: Api) -> None:
    strange = [{"externalId": ["x"]}]
    for path, body in (
        ("/files", {**NAME, "labels": strange}),
        ("/files/list", filtered(labels={"containsAny": strange})),
    ):
        assert api.post(path, body).status_code == 400


def test_as_many_as_are_allowed_are_found_in_their_order(api: Api) -> None:
    wanted = [{"externalId": f"set {number}", "name": "x"} for number in range(10)]
    sets = api.post("/datasets", {"items": wanted}).json()["items"]
    file = api.post("/files", {**NAME, "externalId": "in a set", "dataSetId": sets[3]["id"]}).json()
    names = [{"externalId": f"no set {number}"} for number in range(999)]
    found = api.post("/files/list", filtered(dataSetIds=[*names, {"id": sets[3]["id"]}])).json()["items"]
    assert [one["id"] for one in found] == [file["id"]]
    asked = [{"id": one["id"]} if number % 2 else {"externalId": one["externalId"]} for number, one in enumerate(sets)]
    answer = api.post("/datasets/byids", {"items": asked[::-1]}).json()["items"]
    assert [one["id"] for one in answer] == [one["id"] for one in sets[::-1]]
    twice = {"items": [{"externalId": "in a set"}, {"id": file["id"]}]}
    assert [one["id"] for one in api.post("/files/byids", twice).json()["items"]] == [file["id"]] * 2
    changed = [
        {"externalId": "in a set", "update": {"source": {"set": "a"}}},
        {"id": file["id"], "update": {"metadata": {"add": {"b": "c"}}}},
    ]
    last = api.post("/files/update", {"items": changed}).json()["items"][-1]
    assert (last["source"], last["metadata"]) == ("a", {"b": "c"})
