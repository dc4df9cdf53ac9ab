"""What may be sent: each field of contract sections 3 to 7 at its limit and one beyond it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from kvern.wire import base, calls, files, functions, schedules, sessions

GREATEST = 2**53 - 1


def read(kind: Any, body: Any) -> Any:
    return msgspec.json.decode(json.dumps(body), type=kind)


def refusal(kind: Any, body: Any) -> str:
    with pytest.raises(msgspec.ValidationError) as caught:
        read(kind, body)
    return str(caught.value)


FUNCTION = {"name": "f", "fileId": 1}
SCHEDULE = {"name": "s", "functionId": 1, "cronExpression": "* * * * *"}
FILE = {"name": "a.zip"}
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "function": (functions.FunctionWrite, FUNCTION),
    "function filter": (functions.FunctionFilter, {}),
    "schedule": (schedules.ScheduleWrite, SCHEDULE),
    "schedule filter": (schedules.ScheduleFilter, {}),
    "call": (calls.CallWrite, {}),
    "call filter": (calls.CallFilter, {}),
    "call query": (calls.CallQuery, {}),
    "session": (sessions.SessionWrite, {}),
    "file": (files.FileWrite, FILE),
    "file filter": (files.FileFilter, {}),
}


def pairs(count: int, key: int = 1, value: int = 1) -> dict[str, str]:
    return {str(number).rjust(key, "k"): "v" * value for number in range(count)}


@pytest.mark.parametrize(
    ("kind", "field", "good", "bad"),
    [
        # 3.1
        ("function", "name", ["f", "x" * 140, "æ" * 140], ["", "x" * 141, 7]),
        ("function", "fileId", [1, GREATEST], [0, -1, GREATEST + 1, 1.0, "1", 10**30, True]),
        ("function", "externalId", ["x", "x" * 255, "é/#?"], ["", "x" * 256, 5]),
        ("function", "owner", ["", "x" * 128], ["x" * 129]),
        ("function", "description", ["", "x" * 500], ["x" * 501]),
        ("function", "functionPath", ["a", "./src/handler.py", "x" * 500], ["", "x" * 501]),
        ("function", "metadata", [{}, pairs(16), {"": ""}, {"k" * 32: "v" * 512}], [pairs(17), {"k" * 33: ""}, {"k": "v" * 513}, {"k": 1}, []]),
        ("function", "secrets", [{}, pairs(30), {"a-1": ""}, {"a" * 15: "v"}, {"k": "v" * 24_999}], [pairs(31), {"a" * 16: "v"}, {"A": "v"}, {"a_b": "v"}, {"": "v"}, {"é": "v"}, {"a\n": "v"}, {"token": "v"}, {"indexUrl": "v"}, {"k": "v" * 25_000}, {"k": 1}]),
        ("function", "envVars", [{}, pairs(100), {"A_b1": ""}, {"1": "\n"}], [pairs(101), {"A-B": "v"}, {"": "v"}, {"A=B": "v"}, {"Æ": "v"}, {"A\n": "v"}, {"A": "\0"}, {"A": 1}]),
        ("function", "cpu", [0, 1, 0.25, 1000], ["1", True]),
        ("function", "memory", [0, 1, 1.5], ["1", []]),
        ("function", "runtime", ["py313", "anything"], [313]),
        ("function", "indexUrl", ["https://u:p@host/simple"], ["x" * 2049, 1]),
        ("function", "extraIndexUrls", [[], ["https://host"] * 20], [["https://host"] * 21, ["x" * 2049], "https://host"]),
        # 3.4
        ("function filter", "status", ["Queued", "Deploying", "Ready", "Failed"], ["ready", "Retired", ""]),
        ("function filter", "externalIdPrefix", ["", "x" * 255], ["x" * 256]),
        ("function filter", "createdTime", [{}, {"min": 0}, {"max": GREATEST}, {"min": 5, "max": 1}], [{"min": -1}, {"min": 1.5}, {"max": "1"}, {"max": GREATEST + 1}, 5]),
        # 4.2, 4.4
        ("call", "nonce", ["x", "x" * 32_768], ["", "x" * 32_769, 5]),
        ("call", "data", [{}, [], 1, "x", True, {"Any_Key": None}], []),
        ("call filter", "status", ["Running", "Completed", "Failed", "Timeout"], ["running", "Queued"]),
        ("call filter", "scheduleId", [1], [0, "1"]),
        ("call query", "limit", [1, 1000, 10**9], [0, -1, 1.5, "10"]),
        ("call query", "cursor", ["x", "x" * 1024], ["x" * 1025, 5]),
        # 5.1
        ("schedule", "name", ["s", "x" * 140], ["", "x" * 141]),
        ("schedule", "description", ["", "x" * 500], ["x" * 501]),
        ("schedule", "cronExpression", ["* * * * *", "x" * 1024], ["", "x" * 1025, 5]),
        ("schedule", "nonce", ["x"], [""]),
        ("schedule", "data", [{}, [], {"Any_Key": None}], []),
        # 6.2
        ("session", "tokenExchange", [True], [False, 1]),
        ("session", "oneshotTokenExchange", [True], [False, "true"]),
        # 7.1
        ("file", "name", ["a", "x" * 256], ["", "x" * 257]),
        ("file", "externalId", ["x" * 255], ["", "x" * 256]),
        ("file", "mimeType", ["", "application/zip", "x" * 256], ["x" * 257, "a\nb", "a\n", "æ"]),
        ("file", "directory", ["/", "/a/b", "/" + "x" * 511], ["a", "", "/" + "x" * 512]),
        ("file", "source", ["", "x" * 128], ["x" * 129]),
        ("file", "metadata", [{}, pairs(256), {"k" * 128: "v"}, {"k": "v" * 10_239}], [pairs(257), {"k" * 129: "v"}, {"é" * 65: "v"}, {"k": "v" * 10_240}, {"k": None}]),
        ("file", "assetIds", [[], [1] * 1000], [[1] * 1001, [0], ["1"]]),
        ("file", "sourceCreatedTime", [0, GREATEST], [-1, 1.5, GREATEST + 1]),
        ("file filter", "uploaded", [True, False], ["true", 1]),
    ],
)  # fmt: skip
def test_a_field_at_its_limits(kind: str, field: str, good: list[Any], bad: list[Any]) -> None:
    struct, least = KINDS[kind]
    for value in good:
        read(struct, {**least, field: value})
    for value in bad:
        assert refusal(struct, {**least, field: value})


def test_metadata_of_a_function_has_a_limit_as_a_whole() -> None:
    """4096 bytes, counted as UTF-8."""
    exact = {f"{number:02}": "v" * 510 for number in range(8)}
    read(functions.FunctionWrite, {**FUNCTION, "metadata": exact})
    assert "4096 bytes of metadata, given 4097" in refusal(
        functions.FunctionWrite, {**FUNCTION, "metadata": {**exact, "": "v"}}
    )
    refusal(functions.FunctionWrite, {**FUNCTION, "metadata": {f"{number}": "é" * 300 for number in range(8)}})


@pytest.mark.parametrize(("kind", "body"), [(kind, body) for kind, body in KINDS.values() if body])
def test_what_is_required(kind: Any, body: dict[str, Any]) -> None:
    for field in body:
        rest = {name: value for name, value in body.items() if name != field}
        assert refusal(kind, rest)
        assert refusal(kind, {**rest, field: None})


@pytest.mark.parametrize(("kind", "body"), KINDS.values(), ids=KINDS)
def test_null_counts_as_absent(kind: Any, body: dict[str, Any]) -> None:
    if kind is sessions.SessionWrite:
        body = {"tokenExchange": True}
    optional = {field.encode_name: None for field in msgspec.structs.fields(kind) if field.encode_name not in body}
    assert optional
    given, without = read(kind, {**body, **optional}), read(kind, body)
    for field in msgspec.structs.fields(kind):
        if field.encode_name == "data":
            assert bytes(given.data) in (b"null", b"")  # kept as it came; the service reads it as absent
        elif field.encode_name in optional and field.default in (None, msgspec.NODEFAULT):
            assert getattr(given, field.name) == getattr(without, field.name)


@pytest.mark.parametrize(
    "kind",
    [functions.FunctionQuery, calls.CallQuery, schedules.ScheduleQuery, files.FileQuery],
)
def test_a_query_may_be_empty_and_all_of_it_null(kind: Any) -> None:
    for body in ({}, {"filter": None, "limit": None}, {"filter": {}}):
        query = read(kind, body)
        assert base.page_size(query.limit, 1000) == 100


@pytest.mark.parametrize(
    ("limit", "most", "size"), [(None, 1000, 100), (1, 1000, 1), (5000, 1000, 1000), (None, 25, 25)]
)
def test_too_large_a_limit_is_clamped(limit: int | None, most: int, size: int) -> None:
    assert base.page_size(limit, most) == size


@pytest.mark.parametrize(("kind", "body"), KINDS.values(), ids=KINDS)
def test_unknown_fields_are_ignored(kind: Any, body: dict[str, Any]) -> None:
    if kind is sessions.SessionWrite:
        body = {"tokenExchange": True}
    read(kind, {**body, "noSuchField": {"a": [1]}, "file_id": "snake"})


@pytest.mark.parametrize(
    ("kind", "most"),
    [
        (functions.FunctionWrites, 1),
        (schedules.ScheduleWrites, 1),
        (sessions.SessionWrites, 1),
        (functions.FunctionIds, 10),
        (files.FileIds, 1000),
        (files.DownloadIds, 100),
        (sessions.SessionIds, 1000),
        (schedules.ScheduleIds, 10_000),
        (base.Ids, 10_000),
    ],
)
def test_how_many_items_a_batch_may_have(kind: Any, most: int) -> None:
    item: dict[str, Any] = {"tokenExchange": True, **FUNCTION, **SCHEDULE}
    ids = kind not in (functions.FunctionWrites, schedules.ScheduleWrites, sessions.SessionWrites)

    def items(count: int) -> dict[str, Any]:
        return {"items": [{"id": number + 1} if ids else item for number in range(count)]}

    assert len(read(kind, items(most)).items) == most
    assert refusal(kind, items(most + 1))
    for empty in ({"items": []}, {}, {"items": None}, {"items": {}}, []):
        assert refusal(kind, empty)


@pytest.mark.parametrize("kind", [base.ByIdOrExternalId, files.FileId])
def test_exactly_one_identifier(kind: Any) -> None:
    assert read(kind, {"id": 1}).as_dict() == {"id": 1}
    assert read(kind, {"externalId": "x"}).as_dict() == {"externalId": "x"}
    assert read(kind, {"id": None, "externalId": "x"}).as_dict() == {"externalId": "x"}
    for body in ({}, {"id": None}, {"id": 1, "externalId": "x"}, {"externalId": ""}):
        assert refusal(kind, body)


def test_files_may_be_named_by_instance_as_well() -> None:
    named = {"instanceId": {"space": "s", "externalId": "x"}}
    assert read(files.FileId, named).as_dict() == named
    assert refusal(files.FileId, {**named, "id": 1})


def test_ids_of_calls_and_schedules_come_once_each() -> None:
    assert "given 2 more than once" in refusal(base.Ids, {"items": [{"id": 1}, {"id": 2}, {"id": 2}]})


@pytest.mark.parametrize(
    ("named", "good"),
    [
        ({"functionId": 1}, True),
        ({"functionExternalId": "x"}, True),
        ({"functionId": 1, "nonce": "n"}, True),
        ({}, False),
        ({"functionId": 1, "functionExternalId": "x"}, False),
        ({"functionExternalId": "x", "nonce": "n"}, False),
    ],
)
def test_a_schedule_names_its_function_in_one_way(named: dict[str, Any], good: bool) -> None:
    body = {"name": "s", "cronExpression": "* * * * *", **named}
    if good:
        read(schedules.ScheduleWrite, body)
    else:
        assert "functionExternalId" in refusal(schedules.ScheduleWrite, body)


def test_a_schedule_filter_takes_the_old_spelling() -> None:
    assert read(schedules.ScheduleFilter, {"FunctionId": 7}).function_id == 7
    assert read(schedules.ScheduleFilter, {"FunctionExternalId": "x"}).function_external_id == "x"
    for both in ({"functionId": 1, "functionExternalId": "x"}, {"FunctionId": 1, "functionExternalId": "x"}):
        assert "at most one" in refusal(schedules.ScheduleFilter, both)


@pytest.mark.parametrize(
    ("body", "good"),
    [
        ({"clientId": "a", "clientSecret": "b"}, True),
        ({"tokenExchange": True}, True),
        ({"oneshotTokenExchange": True}, True),
        ({"clientId": "a", "clientSecret": "b", "tokenExchange": False}, True),
        ({}, False),
        ({"clientId": "a"}, False),
        ({"clientSecret": "b"}, False),
        ({"clientId": "a", "clientSecret": "b", "tokenExchange": True}, False),
        ({"tokenExchange": True, "oneshotTokenExchange": True}, False),
        ({"clientId": "", "clientSecret": "b"}, False),
    ],
)
def test_a_session_is_made_in_one_way(body: dict[str, Any], good: bool) -> None:
    if good:
        read(sessions.SessionWrite, body)
    else:
        assert refusal(sessions.SessionWrite, body)


@pytest.mark.parametrize(
    ("partition", "good"),
    [
        ("1/1", True),
        ("3/3", True),
        ("0/3", False),
        ("4/3", False),
        ("1/0", False),
        ("1", False),
        ("a/b", False),
        ("1/3 ", False),
    ],
)
def test_partitions(partition: str, good: bool) -> None:
    if good:
        read(files.FileQuery, {"partition": partition})
    else:
        assert refusal(files.FileQuery, {"partition": partition})


def test_the_data_of_a_call_and_a_schedule_stay_as_they_were_written() -> None:
    text = '{"B" : 1.50,\n "a":[ null ], "\\u00e6": 1e5, "B": 2}'
    call = msgspec.json.decode(f'{{"data": {text}, "nonce": "n"}}', type=calls.CallWrite)
    assert bytes(call.data).decode() == text
    schedule = msgspec.json.decode(json.dumps(SCHEDULE)[:-1] + f', "data": {text}}}', type=schedules.ScheduleWrite)
    assert schedule.input_data() == text.encode()
    for absent in ("", ', "data": null', ', "data":  null '):
        body = json.dumps(SCHEDULE)[:-1] + absent + "}"
        assert msgspec.json.decode(body, type=schedules.ScheduleWrite).input_data() is None
    assert bytes(calls.CallWrite().data) == b"{}"
