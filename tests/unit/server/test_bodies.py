"""Request bodies: plain or packed, how large, of which type; and errors that say what was wrong and keep secrets."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from tests.unit.server.conftest import Web, error_of, quietly

from kvern.server.bodies import decode
from kvern.wire import calls, clients, functions, schedules, sessions
from kvern.wire.errors import ApiError, InvalidError

LIST = "/functions/list"


def packed(body: Any) -> bytes:
    return gzip.compress(json.dumps(body).encode(), mtime=0)


async def raw(web: Web, content: bytes, path: str = LIST, **headers: str) -> Any:
    return await web.ask(
        "POST", path, content=content, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


# Packed and plain


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", " gzip "])
async def test_a_packed_body_is_unpacked(web: Web, encoding: str) -> None:
    await web.p.create(name="here")
    for name, found in (("here", 1), ("elsewhere", 0)):
        answer = await raw(web, packed({"filter": {"name": name}}), content_encoding=encoding)
        assert (answer.status_code, len(answer.json()["items"])) == (200, found)


async def test_a_packed_body_may_have_several_members(web: Web) -> None:
    text = json.dumps({"filter": {"name": "x"}}).encode()
    content = gzip.compress(text[:5], mtime=0) + gzip.compress(text[5:], mtime=0)
    assert (await raw(web, content, content_encoding="gzip")).status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "identity", ""])
async def test_an_empty_body_is_no_body_whatever_its_encoding(web: Web, encoding: str) -> None:
    """The Toolkit says `gzip` on every request, with zero bytes on GET and on POST without a body (contract 1.3)."""
    headers = {"content-encoding": encoding, "content-type": "application/json", "content-length": "0"}
    assert (await web.ask("GET", "/functions/limits", headers=headers, content=b"")).status_code == 200
    assert (await web.ask("POST", "/functions/status", headers=headers, content=b"")).status_code == 202
    assert (await web.ask("POST", LIST, headers=headers, content=b"")).status_code == 200
    function = await web.p.function()
    answer = await web.ask("POST", f"/functions/{function.record.id}/call", headers=headers, content=b"")
    assert answer.status_code == 201


@quietly
@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "nonsense"])
async def test_another_encoding_is_refused(quiet: Web, encoding: str) -> None:
    answer = await raw(quiet, packed({}), content_encoding=encoding)
    assert encoding in error_of(answer, 415)["message"]


@quietly
@pytest.mark.parametrize(
    "content", [b"{}", b"\x1f\x8b", packed({"a": "b" * 1000})[:-9], b"\x1f\x8b" + b"x" * 50, packed({}) + b"more"]
)
async def test_what_is_not_packed_as_it_says_is_refused(quiet: Web, content: bytes) -> None:
    assert "gzip" in error_of(await raw(quiet, content, content_encoding="gzip"), 400)["message"]


async def test_a_body_over_the_limit_is_refused_packed_or_plain(
    webs: Callable[..., Any],
) -> None:
    async with webs(data_limit_mb=1) as web:
        function = await web.p.function()
        path = f"/functions/{function.record.id}/call"
        for content, headers in (
            (b'"' + b"x" * 2_000_000 + b'"', {}),
            (gzip.compress(b'"' + b"x" * 50_000_000 + b'"'), {"content_encoding": "gzip"}),
            (b"{}", {"content_length": "2000001"}),
        ):
            answer = await raw(web, content, path, **headers)
            assert "exceeds 2 MB" in error_of(answer, 413)["message"]
        small = await raw(web, gzip.compress(b'{"data": "' + b"x" * 900_000 + b'"}'), path, content_encoding="gzip")
        assert small.status_code == 201


# Types


@quietly
@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/x+json", ""]
)
async def test_a_type_that_is_json(quiet: Web, kind: str) -> None:
    assert (await raw(quiet, b"{}", content_type=kind)).status_code == 200


@quietly
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "nonsense"])
async def test_a_type_that_is_not_json_is_refused(quiet: Web, kind: str) -> None:
    assert kind in error_of(await raw(quiet, b"{}", content_type=kind), 415)["message"]


@quietly
async def test_without_a_body_the_type_does_not_matter(quiet: Web) -> None:
    assert (await raw(quiet, b"", content_type="text/plain")).status_code == 200


# Errors


@quietly
@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"nonsense",
        b"{'a': 1}",
        b'{"limit": NaN}',
        b"\xff\xfe",
        b'{"filter": {"name": "\xff"}}',
        b"{} {}",
        b"\x00",
    ],
)
async def test_what_is_no_json_is_told(quiet: Web, content: bytes) -> None:
    assert error_of(await raw(quiet, content), 400)["message"].startswith("Expected a body of JSON")


async def test_letters_that_are_not_utf8_are_refused_in_data_too(web: Web) -> None:
    """Or they would come back in an answer that no client can read."""
    function_id = (await web.p.function()).record.id
    schedule = f'{{"items":[{{"name":"s","cronExpression":"0 8 * * *","functionId":{function_id},"data":"X"}}]}}'
    for letter in (b"\xe9", b"\xff", b"\xed\xa0\x80", b"\xc0\xaf"):
        for path, body in (
            (f"/functions/{function_id}/call", b'{"data":"X"}'),
            ("/functions/schedules", schedule.encode()),
        ):
            answer = await raw(web, body.replace(b"X", letter), path)
            assert "UTF-8" in error_of(answer, 400)["message"]
    assert (await web.get("/functions/schedules")).json() == {"items": []}
    assert (await raw(web, '{"data":"é"}'.encode(), f"/functions/{function_id}/call")).status_code == 201


@quietly
async def test_json_that_is_nested_without_end_is_refused(quiet: Web) -> None:
    for content in (b"[" * 100_000, b'{"filter":' * 50_000 + b"1" + b"}" * 50_000):
        error_of(await raw(quiet, content), 400)


@quietly
@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/functions/list", {"limit": 0}, ["`limit`", ">= 1", "given 0"]),
        ("/functions/list", {"limit": "many"}, ["`limit`", "`int", 'given "many"']),
        ("/functions/list", {"filter": {"status": "Done"}}, ["`filter.status`", 'given "Done"']),
        ("/functions/list", {"filter": {"createdTime": {"min": -5}}}, ["`filter.createdTime.min`", "given -5"]),
        ("/functions/list", {"filter": 7}, ["`filter`", "`object", "given 7"]),
        ("/functions/list", [], ["`object`", "`array`"]),
        ("/functions/byids", {"items": [{"id": 1}, {"id": "x"}]}, ["`items[1].id`", 'given "x"']),
        ("/functions/byids", {"items": [{}]}, ["exactly one of `id` and `externalId`", "`items[0]`"]),
        ("/functions/byids", {}, ["`items`"]),
        ("/functions", {"items": [{"name": "f", "fileId": 1.5}]}, ["`items[0].fileId`", "given 1.5"]),
        ("/functions", {"items": [{"name": "x" * 141, "fileId": 1}]}, ["`items[0].name`", "140", "x" * 50, "…"]),
        ("/functions", {"items": [{"name": "f", "fileId": 1, "metadata": {"k": 5}}]}, ["`items[0].metadata[...]`"]),
        ("/functions", {"items": [{"name": "f", "fileId": 1, "secrets": {"Bad_Key": "v"}}]}, ["`Bad_Key`"]),
        ("/sessions", {"items": [{"tokenExchange": "yes"}]}, ["`items[0].tokenExchange`", 'given "yes"']),
    ],
)  # fmt: skip
async def test_an_error_names_the_place_what_was_expected_and_what_was_given(
    quiet: Web, path: str, body: Any, told: list[str]
) -> None:
    message = error_of(await quiet.post(path, body), 400)["message"]
    for part in told:
        assert part in message


async def test_null_counts_as_absent(web: Web) -> None:
    await web.p.create()
    for body in ({"limit": None}, {"filter": None}, {"filter": {"name": None, "createdTime": None, "metadata": None}}):
        answer = await web.post(LIST, body)
        assert (answer.status_code, len(answer.json()["items"])) == (200, 1)
    answer = await web.post("/functions/byids", {"items": [{"externalId": "x", "id": None}], "ignoreUnknownIds": None})
    assert error_of(answer, 400)["missing"] == [{"externalId": "x", "external_id": "x"}]
    function = await web.p.function()
    await web.call(function, {"data": None, "nonce": None})
    assert [order.data for order in web.p.engine.orders] == [b"{}"]


@quietly
async def test_unknown_fields_are_ignored(quiet: Web) -> None:
    body = {"filter": {"noSuchKey": 1}, "limit": 5, "cursor": "x", "Limit": "x"}
    assert (await quiet.post(LIST, body)).status_code == 200


@pytest.mark.parametrize("data", ["{}", '{"B" : 1.50,\n "a": [null]}', '"text"', "7", "[]", "true"])
async def test_data_reaches_the_handler_to_the_letter(web: Web, data: str) -> None:
    function = await web.p.function()
    answer = await raw(web, f'{{"data": {data}}}'.encode(), f"/functions/{function.record.id}/call")
    assert answer.status_code == 201
    assert [order.data.decode() for order in web.p.engine.orders] == [data]


# Secrets


MARK = "hunter2"
"""What must never be told again."""

SECRETIVE: dict[str, tuple[Any, dict[str, Any]]] = {
    "function": (
        functions.FunctionWrites,
        {
            "items": [
                {
                    "name": "f",
                    "fileId": 1,
                    "secrets": {"key": MARK},
                    "envVars": {"A": MARK},
                    "indexUrl": f"https://u:{MARK}@host",
                    "extraIndexUrls": [f"https://u:{MARK}@host"],
                }
            ]
        },
    ),
    "call": (calls.CallWrite, {"data": {"password": MARK}, "nonce": MARK}),
    "schedule": (
        schedules.ScheduleWrites,
        {"items": [{"name": "s", "functionId": 1, "cronExpression": "* * * * *", "nonce": MARK, "data": {"p": MARK}}]},
    ),
    "session": (sessions.SessionWrites, {"items": [{"clientId": "me", "clientSecret": MARK}]}),
    "client": (clients.ClientRotation, {"clientId": "me", "overlapSeconds": 1}),
}

_plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(-1, 1), st.text("ab$.[]`", max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.text("ab.`", max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)
_holding = st.sampled_from([MARK, [MARK], {"k": [MARK]}, {MARK: 1}, {"k": {"l": MARK}}, [[MARK]], {"k": MARK, "l": 5}])


@st.composite
def broken(draw: st.DrawFn) -> tuple[Any, Any]:
    """A body with secrets in it, of which a few fields are not as they should be."""
    kind, body = draw(st.sampled_from(list(SECRETIVE.values())))
    body = json.loads(json.dumps(body))
    target: dict[str, Any] = body["items"][0] if "items" in body else body
    for name in draw(st.lists(st.sampled_from([*target, "metadata", "cpu", "description"]), min_size=1, max_size=3)):
        secret = MARK in json.dumps(target.get(name, ""))
        target[name] = draw(_holding if secret else _plain)
    return kind, body


@given(broken())
@settings(max_examples=120, deadline=None)
def test_no_error_tells_a_secret(case: tuple[Any, Any]) -> None:
    kind, body = case
    request = Request({"type": "http", "headers": []})
    try:
        decode(request, json.dumps(body).encode(), msgspec.json.Decoder(kind))
    except ApiError as error:
        assert MARK not in error.envelope().decode()


@given(st.binary(max_size=40))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_read_or_refused_never_a_fault(content: bytes) -> None:
    request = Request({"type": "http", "headers": []})
    try:
        decode(request, content, msgspec.json.Decoder(functions.FunctionQuery))
    except InvalidError as error:
        error.envelope()
