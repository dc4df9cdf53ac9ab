"""What a user reads when something is wrong: with a deployment, with a request, with a handler; the service goes on."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from typing import Any

import pytest

from tests.acceptance.api import Api, bundle

GOOD = "def handle(data): return data"


@pytest.fixture(autouse=True)
def the_service_goes_on(api: Api) -> Any:
    yield
    assert api.http.get(f"{api.root}/health").status_code == 200


def failed(api: Api, content: bytes, **fields: Any) -> dict[str, str]:
    function = api.deployed(content, **fields)
    assert function["status"] == "Failed"
    refused = api.post(f"/functions/{function['id']}/call", {})
    assert refused.status_code == 400
    assert "Failed" in refused.json()["error"]["message"]
    api.delete(function["id"])
    error = function["error"]
    assert isinstance(error["message"], str)
    assert isinstance(error["trace"], str)
    assert len(error["trace"]) <= 2000
    return dict(error)


@pytest.mark.parametrize(
    ("handler", "told"),
    [
        ("def other(data): return 1", "handle"),
        ("def handle(data, secret): return 1", "secret"),
        ("def handle(data:\n    return 1", "line 1"),
        ("import no_such_module_at_all\ndef handle(): return 1", "no_such_module_at_all"),
        ("raise RuntimeError('at import')\ndef handle(): return 1", "at import"),
        ("handle = 5", "handle"),
    ],
    ids=["no handle", "forbidden argument", "syntax error", "missing module", "raises at import", "not callable"],
)
def test_a_handler_that_cannot_work_fails_at_its_deployment(api: Api, handler: str, told: str) -> None:
    assert told in failed(api, bundle(handler=handler))["message"]


def test_a_function_path_that_is_not_in_the_zip(api: Api) -> None:
    error = failed(api, bundle(handler=GOOD), functionPath="src/other.py")
    assert "src/other.py" in error["message"]
    assert "handler.py" in error["message"] + error["trace"]


def test_a_requirement_that_does_not_exist(api: Api) -> None:
    error = failed(api, bundle(handler=GOOD, requirements="no-such-package-of-kvern-tests==9.9\n"))
    assert "no-such-package-of-kvern-tests" in error["message"] + error["trace"]


def test_a_file_that_is_no_zip(api: Api) -> None:
    assert "zip" in failed(api, b"this is not a zip")["message"].lower()


def hostile_zip(name: str, *, link: bool = False) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("handler.py", GOOD)
        entry = zipfile.ZipInfo(name)
        if link:
            entry.create_system = 3
            entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "name", ["../escaped.py", "/etc/escaped.py", "a/../../escaped.py", "C:\\escaped.py", "..\\escaped.py"]
)
def test_a_zip_that_escapes(api: Api, name: str) -> None:
    assert "escaped.py" in failed(api, hostile_zip(name))["message"]


def test_a_zip_with_a_link(api: Api) -> None:
    assert "link" in failed(api, hostile_zip("link.py", link=True))["message"]


def test_a_zip_that_explodes(api: Api) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("handler.py", GOOD)
        with archive.open("bomb.bin", "w", force_zip64=True) as entry:
            for _ in range(1200):
                entry.write(b"\0" * 1_000_000)
    assert len(buffer.getvalue()) < 2_000_000
    assert "bomb.bin" in failed(api, buffer.getvalue())["message"]


def test_a_zip_that_lies_about_its_sizes(api: Api) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("handler.py", GOOD)
        archive.writestr("big.bin", b"\0" * 5_000_000)
    raw = bytearray(buffer.getvalue())
    for marker, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        at = raw.rfind(marker)
        struct.pack_into("<I", raw, at + offset, 10)
    assert "big.bin" in failed(api, bytes(raw))["message"]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"runtime": "py27"}, "py27"),
        ({"name": ""}, "name"),
        ({"name": "x" * 141}, "name"),
        ({"secrets": {"Bad_Key": "v"}}, "Bad_Key"),
        ({"secrets": {"token": "v"}}, "token"),
        ({"metadata": {"k": "v" * 513}}, "metadata"),
        ({"metadata": {str(i): "v" for i in range(17)}}, "metadata"),
        ({"envVars": {"A-B": "v"}}, "A-B"),
        ({"cpu": 99}, "99"),
        ({"memory": 99}, "99"),
        ({"fileId": 9007199254740991}, "9007199254740991"),
        ({"fileId": "one"}, "fileId"),
        ({"externalId": "x" * 256}, "externalId"),
    ],
)
def test_a_create_that_is_refused_says_why_and_changes_nothing(api: Api, fields: dict[str, Any], told: str) -> None:
    file_id = api.upload(bundle(handler=GOOD))
    before = api.get("/functions").json()
    answer = api.post("/functions", {"items": [{"name": "x", "fileId": file_id, **fields}]})
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert answer.json()["error"]["code"] == 400
    assert told in answer.json()["error"]["message"]
    assert api.get("/functions").json() == before


def test_a_secret_value_never_stands_in_an_error(api: Api) -> None:
    body = {"items": [{"name": "x", "fileId": 1, "secrets": {"key": ["hunter2"]}}]}
    answer = api.post("/functions", body)
    assert answer.status_code == 400
    assert "hunter2" not in answer.text
    assert "secrets" in answer.text


def test_a_file_that_was_never_uploaded(api: Api) -> None:
    made = api.post("/files", {"name": "never.zip"}).json()
    answer = api.post("/functions", {"items": [{"name": "x", "fileId": made["id"]}]})
    assert answer.status_code == 400
    assert "uploaded" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (b'{"items": []}', {}, 400),
        (b'{"items": [{}, {}]}', {}, 400),
        (b"\xff\xfe", {}, 400),
        (b"[" * 100_000, {}, 400),
        (b"{}", {"content-type": "text/csv"}, 415),
        (b"{}", {"content-encoding": "br"}, 415),
        (b"no gzip", {"content-encoding": "gzip"}, 400),
        (gzip.compress(b'{"items": []}')[:-9], {"content-encoding": "gzip"}, 400),
        (gzip.compress(b" " * 40_000_000), {"content-encoding": "gzip"}, 413),
        (b" " * 11_000_000, {}, 413),
    ],
    ids=["open", "list", "empty", "two", "binary", "deep", "csv", "brotli", "not packed", "cut", "bomb", "huge"],
)
def test_a_body_that_cannot_be_read(api: Api, body: bytes, headers: dict[str, str], status: int) -> None:
    headers = {"content-type": "application/json", **api.headers, **headers}
    answer = api.http.post(f"{api.base}/functions", content=body, headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == status
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/functions/123456", 404),
        ("GET", "/functions/123456/calls/1", 404),
        ("GET", "/functions/schedules/123456", 404),
        ("GET", "/nothing/here", 404),
        ("GET", "/functions/abc", 404),
        ("GET", "/functions/0", 404),
        ("GET", "/files/128377499681564819456", 404),
        ("DELETE", "/functions", 405),
        ("GET", "/functions?limit=0", 400),
        ("GET", "/functions?limit=abc", 400),
        ("GET", "/files?cursor=nonsense", 400),
    ],
)
def test_what_is_not_there_has_the_envelope_too(api: Api, method: str, path: str, status: int) -> None:
    answer = api.http.request(method, api.base + path, headers=api.headers)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert answer.json()["error"]["code"] == status
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ({}, "/functions"),
        ({"authorization": "Bearer nonsense"}, "/functions"),
        ({"authorization": "Basic abc"}, "/functions"),
        ({"authorization": "Bearer"}, "/functions"),
    ],
)
def test_without_a_good_token_nothing_is_told(api: Api, headers: dict[str, str], path: str) -> None:
    answer = api.http.get(api.base + path, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == 401


def test_another_project_is_not_there(api: Api) -> None:
    answer = api.http.get(f"{api.root}/api/v1/projects/another/functions", headers=api.headers)
    assert answer.status_code == 401
    assert "another" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("form", "status", "code"),
    [
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, 400, "invalid_request"),
        ({"grant_type": "client_credentials", "client_id": "a", "client_secret": "b"}, 401, "invalid_client"),
    ],
)
def test_the_issuer_refuses_in_the_words_of_its_standard(
    api: Api, form: dict[str, str], status: int, code: str
) -> None:
    answer = api.http.post(api.env["IDP_TOKEN_URL"], data=form)
    assert [answer.status_code, answer.json()["error"]] == [status, code]


@pytest.mark.parametrize(
    ("cron", "told"),
    [
        ("* * * *", "five"),
        ("0 0 12 * * ?", "five"),
        ("61 * * * *", "61"),
        ("@daily", "five"),
        ("0 0 30 2 *", "0 0 30 2"),
        ("0 0 L * *", "L"),
        ("*/0 * * * *", "*/0"),
    ],
)
def test_a_cron_expression_that_is_not_good(api: Api, cron: str, told: str) -> None:
    function_id = api.ready(GOOD)
    body = {"items": [{"name": "s", "functionId": function_id, "cronExpression": cron}]}
    answer = api.post("/functions/schedules", body)
    assert answer.status_code == 400
    assert told in answer.json()["error"]["message"]
    api.delete(function_id)


def test_a_nonce_is_good_once(api: Api) -> None:
    function_id = api.ready(GOOD)
    nonce = api.post("/sessions", {"items": [{"tokenExchange": True}]}).json()["items"][0]["nonce"]
    assert api.post(f"/functions/{function_id}/call", {"nonce": nonce}).status_code == 201
    again = api.post(f"/functions/{function_id}/call", {"nonce": nonce})
    assert again.status_code == 400
    assert "Failed to bind session" in again.json()["error"]["message"]
    api.delete(function_id)


def test_data_over_the_limit_is_refused(api: Api) -> None:
    function_id = api.ready(GOOD)
    answer = api.post(f"/functions/{function_id}/call", {"data": "x" * 9_100_000})
    assert answer.status_code == 413
    assert api.call(function_id, {"x": "y" * 300_000})["status"] == "Completed"
    api.delete(function_id)
