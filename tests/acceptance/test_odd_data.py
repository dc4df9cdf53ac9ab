"""Data and text at the edges of JSON: passed as it is, or refused with a sentence that is true."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.acceptance.api import Api


@pytest.fixture(scope="module")
def idle(api: Api) -> int:
    return api.ready("def handle(data): return data")


HALF = "is half of a surrogate pair"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (rb'"\ud800"', HALF),
        (rb'"\udc80"', HALF),
        (rb'"\ud800\ud800"', HALF),
        (rb'{"\uD83D":1}', HALF),
        (rb'"\ud83d \ude00"', HALF),
        (b"1e400", "can hold"),
        (b'{"a":[-1e400]}', "can hold"),
        (b"9" * 5000, "can hold"),
        (b"NaN", "Expected a body of JSON"),
        (b"[Infinity]", "Expected a body of JSON"),
        (b'"\xff"', "in UTF-8"),
        (b'"\x00"', "Expected a body of JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "nested"),
    ],
)
def test_data_that_no_handler_can_be_given_is_refused_with_a_true_sentence(
    api: Api, idle: int, data: bytes, why: str
) -> None:
    schedule = b'{"items":[{"name":"x","functionId":%d,"cronExpression":"0 0 1 1 *","data":%s}]}' % (idle, data)
    for path, body in ((f"/functions/{idle}/call", b'{"data":%s}' % data), ("/functions/schedules", schedule)):
        headers = {**api.headers, "content-type": "application/json"}
        answer = api.http.post(api.base + path, content=body, headers=headers)
        assert answer.status_code == 400
        assert why in answer.json()["error"]["message"]


def test_other_data_that_is_odd_is_passed(api: Api, idle: int) -> None:
    odd = rb'{"nul":"\u0000","pair":"\ud83d\ude00","not half":"\\ud800","twice":1,"twice":2,"small":1e-400}'
    headers = {**api.headers, "content-type": "application/json"}
    answer = api.http.post(f"{api.base}/functions/{idle}/call", content=b'{"data":%s}' % odd, headers=headers)
    assert api.response(api.ended(answer.json())) == json.loads(odd)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/files", {"name": "a\0"}),
        ("/files", {"name": "a", "externalId": "\0"}),
        ("/files/byids", {"items": [{"externalId": "\0"}]}),
        ("/datasets", {"items": [{"name": "\0"}]}),
        ("/groups", {"items": [{"name": "\0"}]}),
        ("/functions", {"items": [{"name": "\0", "fileId": 1}]}),
        ("/functions", {"items": [{"name": "a", "fileId": 1, "metadata": {"\0": "a"}}]}),
    ],
)
def test_a_nul_character_is_in_no_text(api: Api, path: str, body: dict[str, Any]) -> None:
    answer = api.post(path, body)
    assert answer.status_code == 400
    assert "NUL" in answer.json()["error"]["message"]
