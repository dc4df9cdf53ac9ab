"""Files over bare HTTP: bytes that come whole or in parts, what is known of them, and how they are found (contract 7)."""

from __future__ import annotations

import os
import socket
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.acceptance.api import Api, bundle
from tests.acceptance.compatibility import SDK7, SDK8
from tests.acceptance.driver import Driver
from tests.acceptance.server import Server, until
from tests.acceptance.test_contract import items, refused

PART = 5 * 1024**2


def named(prefix: str = "file") -> str:
    return f"{prefix}-{time.time_ns()}"


def create(api: Api, overwrite: bool | None = None, **fields: Any) -> dict[str, Any]:
    query = "" if overwrite is None else f"?overwrite={str(overwrite).lower()}"
    answer = api.post(f"/files{query}", {"name": "f", **fields})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def put(api: Api, url: str, content: bytes, **headers: str) -> httpx2.Response:
    return api.http.put(url, content=content, headers=headers)


def uploaded(api: Api, content: bytes, **fields: Any) -> dict[str, Any]:
    made = create(api, **fields)
    assert put(api, made["uploadUrl"], content).status_code in (200, 201)
    return api.get(f"/files/{made['id']}").json()


def content_of(api: Api, file_id: int) -> bytes:
    link = items(api.post("/files/downloadlink", {"items": [{"id": file_id}]}))[0]["downloadUrl"]
    answer = api.http.get(link)
    assert answer.status_code == 200, answer.text
    return answer.content


def blobs(server: Server) -> set[str]:
    """What lies in the blob folder, half-written files among it."""
    return {path.name for path in (server.data / "blobs").glob("*/*")}


class TestUploads:
    def test_a_link_is_proof_enough_and_a_token_beside_it_does_no_harm(self, api: Api) -> None:
        for headers in ({}, {"authorization": f"Bearer {api.token}"}, {"authorization": "Bearer of-somebody-else"}):
            made = create(api)
            assert put(api, made["uploadUrl"], b"bytes", **headers).status_code == 200
            link = items(api.post("/files/downloadlink", {"items": [{"id": made["id"]}]}))[0]["downloadUrl"]
            assert api.http.get(link, headers=headers).content == b"bytes"

    def test_a_link_is_good_for_what_it_was_made(self, api: Api) -> None:
        made = uploaded(api, b"bytes")
        link = items(api.post("/files/downloadlink", {"items": [{"id": made["id"]}]}))[0]["downloadUrl"]
        refused(put(api, link.replace("/download/", "/upload/"), b"x"), 403)
        refused(api.http.get(create(api)["uploadUrl"].replace("/upload/", "/download/")), 403)
        body, _, proof = create(api)["uploadUrl"].rpartition("/")
        changed = proof[:-1] + ("A" if proof[-1] != "A" else "B")
        for wrong in (changed, proof[1:], "x", "x.y", "x.y.z", "\u00e9.\u00e9"):
            refused(put(api, f"{body}/{wrong}", b"x"), 403)
        assert content_of(api, made["id"]) == b"bytes"

    def test_what_was_uploaded_is_there_at_once(self, api: Api) -> None:
        made = create(api, mimeType="text/plain; charset=utf-8")
        assert made["uploaded"] is False
        assert "uploadedTime" not in made
        put(api, made["uploadUrl"], b"bytes", **{"content-type": "text/plain; charset=utf-8"})
        read = items(api.post("/files/byids", {"items": [{"id": made["id"]}]}))[0]
        assert read["uploaded"] is True
        assert read["uploadedTime"] >= read["createdTime"]
        assert "uploadUrl" not in read
        link = items(api.post("/files/downloadlink", {"items": [{"id": made["id"]}]}))[0]["downloadUrl"]
        answer = api.http.get(link)
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["content-disposition"].startswith("attachment")

    def test_no_bytes_are_bytes_too(self, api: Api) -> None:
        made = uploaded(api, b"")
        assert made["uploaded"] is True
        assert content_of(api, made["id"]) == b""

    def test_without_an_external_id_every_file_is_new(self, api: Api) -> None:
        assert create(api, overwrite=True)["id"] != create(api, overwrite=True)["id"]

    def test_an_external_id_is_taken_unless_overwritten(self, api: Api) -> None:
        name = named()
        made = create(api, externalId=name)
        for overwrite in (None, False):
            query = "" if overwrite is None else "?overwrite=false"
            error = refused(api.post(f"/files{query}", {"name": "g", "externalId": name}), 409)
            assert error["duplicated"] == [{"externalId": name}]
        assert create(api, overwrite=True, externalId=name)["id"] == made["id"]
        assert api.post("/files/delete", {"items": [{"externalId": name}]}).json() == {}
        assert create(api, externalId=name)["id"] != made["id"]

    def test_overwriting_replaces_what_is_given_and_the_bytes_when_new_ones_came(
        self, api: Api, server: Server
    ) -> None:
        name = named()
        first = {"source": "plant", "metadata": {"a": "1", "b": "2"}, "assetIds": [1], "mimeType": "text/csv"}
        made = uploaded(api, b"old", externalId=name, **first)
        before = blobs(server)
        again = create(api, overwrite=True, externalId=name, name="new", metadata={"a": "3"}, source=None)
        assert [again["id"], again["createdTime"], again["uploaded"]] == [made["id"], made["createdTime"], True]
        assert [again["name"], again["metadata"], again["assetIds"]] == ["new", {"a": "3"}, [1]]
        assert [again["source"], again["mimeType"]] == ["plant", "text/csv"]
        assert content_of(api, made["id"]) == b"old"
        put(api, again["uploadUrl"], b"new")
        assert content_of(api, made["id"]) == b"new"
        assert len(blobs(server)) == len(before)

    def test_an_upload_that_breaks_off_leaves_the_old_bytes_and_nothing_else(self, api: Api, server: Server) -> None:
        made = uploaded(api, b"old", externalId=named())
        url = urlsplit(create(api, overwrite=True, externalId=made["externalId"])["uploadUrl"])
        before = blobs(server)
        with socket.create_connection((url.hostname or "", url.port or 80)) as link:
            head = f"PUT {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: 1000000\r\n\r\n"
            link.sendall(head.encode() + b"n" * 300_000)
            until(lambda: len(blobs(server)) > len(before), 10, "the upload has begun")
        until(lambda: blobs(server) == before, 10, "what came is gone")
        assert content_of(api, made["id"]) == b"old"

    def test_of_many_uploads_at_a_time_one_wins_whole(self, api: Api, server: Server) -> None:
        made = uploaded(api, b"old")
        before = blobs(server)
        contents = [bytes([number]) * 400_000 for number in range(8)]
        url = items(api.post("/files/uploadlink", {"items": [{"id": made["id"]}]}), 201)[0]["uploadUrl"]
        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(lambda content: put(api, url, content).status_code, contents))
        assert statuses == [200] * 8
        assert content_of(api, made["id"]) in contents
        assert len(blobs(server)) == len(before)

    def test_a_download_that_runs_is_not_disturbed_by_new_bytes(self, api: Api) -> None:
        old = os.urandom(12_000_000)
        made = uploaded(api, old)
        link = items(api.post("/files/downloadlink", {"items": [{"id": made["id"]}]}))[0]["downloadUrl"]
        with api.http.stream("GET", link) as answer:
            pieces = answer.iter_bytes(65_536)
            got = next(pieces)
            url = items(api.post("/files/uploadlink", {"items": [{"id": made["id"]}]}), 201)[0]["uploadUrl"]
            assert put(api, url, b"new").status_code == 200
            got += b"".join(pieces)
        assert got == old
        assert content_of(api, made["id"]) == b"new"

    def test_bytes_for_a_file_that_was_deleted_are_refused_and_not_kept(self, api: Api, server: Server) -> None:
        made = create(api)
        before = blobs(server)
        api.post("/files/delete", {"items": [{"id": made["id"]}]})
        refused(put(api, made["uploadUrl"], b"late"), 404)
        assert blobs(server) == before

    def test_a_new_link_is_given_for_one_file_in_items(self, api: Api) -> None:
        made = create(api, externalId=named(), mimeType="text/plain")
        linked = items(api.post("/files/uploadlink", {"items": [{"externalId": made["externalId"]}]}), 201)
        assert [linked[0]["id"], linked[0]["mimeType"]] == [made["id"], "text/plain"]
        assert put(api, linked[0]["uploadUrl"], b"x").status_code == 200
        again = items(api.post("/files/uploadlink", {"items": [{"id": made["id"]}]}), 201)
        assert again[0]["uploadUrl"] != linked[0]["uploadUrl"]
        refused(api.post("/files/uploadlink", {"items": [{"id": made["id"]}] * 2}), 400)
        error = refused(api.post("/files/uploadlink", {"items": [{"externalId": "nobody"}]}), 400)
        assert error["missing"] == [{"externalId": "nobody"}]

    def test_a_function_goes_on_when_its_file_is_gone(self, api: Api) -> None:
        file_id = api.upload(bundle(handler="def handle(): return 'kept'"))
        made = items(api.post("/functions", {"items": [{"name": "f", "fileId": file_id}]}), 201)[0]
        assert api.post("/files/delete", {"items": [{"id": file_id}]}).json() == {}
        until(lambda: api.get(f"/functions/{made['id']}").json()["status"] == "Ready", 60, "the function is Ready")
        assert api.response(api.call(made["id"])) == "kept"
        api.delete(made["id"])
        error = refused(api.post("/functions", {"items": [{"name": "f", "fileId": file_id}]}), 400)
        assert str(file_id) in error["message"]


class TestParts:
    def begin(self, api: Api, parts: int, **fields: Any) -> dict[str, Any]:
        query = {"parts": parts, "overwrite": "true"}
        answer = api.post("/files/initmultipartupload", {"name": "f", **fields}, params=query)
        assert answer.status_code == 201, answer.text
        made = dict(answer.json())
        assert len(made["uploadUrls"]) == parts
        assert made["uploaded"] is False or "externalId" in fields
        return made

    def complete(self, api: Api, made: dict[str, Any], **changed: Any) -> httpx2.Response:
        body = {"id": made["id"], "uploadId": made["uploadId"], **changed}
        return api.post("/files/completemultipartupload", {key: value for key, value in body.items() if value})

    def test_parts_come_at_once_in_any_order_and_more_than_once(self, api: Api, server: Server) -> None:
        before = blobs(server)
        parts = [os.urandom(PART), os.urandom(PART + 7), b"the end"]
        made = self.begin(api, 3)
        assert put(api, made["uploadUrls"][1], b"not this").status_code == 200
        with ThreadPoolExecutor(3) as pool:
            sent = [pool.submit(put, api, made["uploadUrls"][n], parts[n]) for n in (2, 0, 1, 0)]
            assert [one.result().status_code for one in sent] == [200] * 4
        assert api.get(f"/files/{made['id']}").json()["uploaded"] is False
        assert [self.complete(api, made).status_code, self.complete(api, made).json()] == [200, {}]
        assert api.get(f"/files/{made['id']}").json()["uploaded"] is True
        assert content_of(api, made["id"]) == b"".join(parts)
        assert len(blobs(server) - before) == 1
        refused(put(api, made["uploadUrls"][0], b"late"), 404)
        assert content_of(api, made["id"]) == b"".join(parts)

    def test_a_small_file_is_one_part(self, api: Api) -> None:
        made = self.begin(api, 1, externalId=named(), mimeType="text/plain", metadata={"k": "v"})
        assert [made["mimeType"], made["metadata"]] == ["text/plain", {"k": "v"}]
        put(api, made["uploadUrls"][0], b"small")
        assert self.complete(api, made, id=None, externalId=made["externalId"]).json() == {}
        assert content_of(api, made["id"]) == b"small"

    def test_links_in_parts_for_a_file_that_is_there_come_in_items(self, api: Api) -> None:
        made = uploaded(api, b"old", externalId=named())
        body = {"items": [{"externalId": made["externalId"]}]}
        linked = items(api.post("/files/multiuploadlink", body, params={"parts": 2}), 201)[0]
        assert [linked["id"], len(linked["uploadUrls"])] == [made["id"], 2]
        put(api, linked["uploadUrls"][0], b"n" * PART)
        put(api, linked["uploadUrls"][1], b"ew")
        assert content_of(api, made["id"]) == b"old"
        assert self.complete(api, linked).status_code == 200
        assert content_of(api, made["id"]) == b"n" * PART + b"ew"

    def test_parts_that_are_missing_or_too_small_are_named_and_can_still_come(self, api: Api) -> None:
        made = self.begin(api, 3)
        assert "0, 1, 2" in refused(self.complete(api, made), 400)["message"]
        put(api, made["uploadUrls"][0], b"x" * (PART - 1))
        put(api, made["uploadUrls"][2], b"x")
        assert refused(self.complete(api, made), 400)["message"].endswith(": 1")
        put(api, made["uploadUrls"][1], b"y" * PART)
        error = refused(self.complete(api, made), 400)
        assert str(PART - 1) in error["message"]
        assert "part 0" in error["message"]
        assert api.get(f"/files/{made['id']}").json()["uploaded"] is False
        put(api, made["uploadUrls"][0], b"x" * PART)
        assert self.complete(api, made).status_code == 200
        assert content_of(api, made["id"]) == b"x" * PART + b"y" * PART + b"x"

    def test_only_the_right_upload_can_be_completed(self, api: Api) -> None:
        made, other = self.begin(api, 1), self.begin(api, 1)
        put(api, made["uploadUrls"][0], b"x")
        refused(self.complete(api, made, uploadId="nonsense"), 400)
        refused(self.complete(api, made, uploadId=other["uploadId"]), 400)
        refused(self.complete(api, made, uploadId=None), 400)
        assert refused(self.complete(api, made, id=7), 400)["missing"] == [{"id": 7}]
        assert self.complete(api, made).status_code == 200

    @pytest.mark.parametrize("parts", ["", "?parts=0", "?parts=251", "?parts=-1", "?parts=x", "?parts=1.5"])
    def test_a_number_of_parts_that_cannot_be_makes_no_file(self, api: Api, parts: str) -> None:
        name = named()
        refused(api.post(f"/files/initmultipartupload{parts}", {"name": "f", "externalId": name}), 400)
        refused(api.post("/files/byids", {"items": [{"externalId": name}]}), 400)
        assert len(self.begin(api, 250)["uploadUrls"]) == 250

    def test_parts_go_with_their_file(self, api: Api, server: Server) -> None:
        before = blobs(server)
        made = self.begin(api, 2)
        put(api, made["uploadUrls"][0], b"x")
        assert len(blobs(server)) == len(before) + 1
        api.post("/files/delete", {"items": [{"id": made["id"]}]})
        assert blobs(server) == before
        refused(put(api, made["uploadUrls"][1], b"x"), 404)


class TestFacts:
    """What is known of a file."""

    FULL = {  # noqa: RUF012
        "name": "näme /x",
        "mimeType": "application/zip",
        "directory": "/a/b",
        "source": "plänt",
        "metadata": {"Key": "välue", "snake_case": ""},
        "assetIds": [1, 2],
        "labels": [{"externalId": "pump"}],
        "geoLocation": {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1.5, 2]}},
        "sourceCreatedTime": 1,
        "sourceModifiedTime": 2,
    }

    def test_a_file_comes_back_as_it_was_sent(self, api: Api) -> None:
        sent = {**self.FULL, "externalId": named("fïle")}
        made = create(api, **sent)
        read = api.get(f"/files/{made['id']}").json()
        assert {key: read[key] for key in sent} == sent
        assert set(read) == {*sent, "id", "uploaded", "createdTime", "lastUpdatedTime"}
        assert items(api.post("/files/byids", {"items": [{"externalId": sent["externalId"]}]})) == [read]

    @pytest.mark.parametrize(
        "wrong",
        [
            {"name": ""},
            {"name": "n" * 257},
            {"externalId": "x" * 256},
            {"mimeType": "m" * 257},
            {"mimeType": "text/plain\n"},
            {"mimeType": "text/plain\r\nx: y"},
            {"directory": "a/b"},
            {"directory": "/" + "d" * 512},
            {"source": "s" * 129},
            {"metadata": {"ü" * 65: ""}},
            {"metadata": {"k": "v" * 10_240}},
            {"metadata": {str(n): "" for n in range(257)}},
            {"metadata": {"k": 1}},
            {"dataSetId": 7},
            {"sourceCreatedTime": -1},
        ],
    )
    def test_what_breaks_a_constraint_is_refused(self, api: Api, wrong: dict[str, Any]) -> None:
        refused(api.post("/files", {"name": "f", **wrong}), 400)
        refused(api.post("/files/initmultipartupload?parts=1", {"name": "f", **wrong}), 400)

    def test_fields_are_set_cleared_added_to_and_removed_from(self, api: Api) -> None:
        made = create(api, **self.FULL, externalId=named())
        update = {
            "externalId": {"set": named("new")},
            "source": {"setNull": True},
            "mimeType": {"set": "text/csv"},
            "metadata": {"add": {"new": "1"}, "remove": ["Key", "nothing"]},
            "assetIds": {"add": [3, 2], "remove": [1]},
            "labels": {"set": [{"externalId": "valve"}]},
            "sourceModifiedTime": {"set": 5},
        }
        changed = items(api.post("/files/update", {"items": [{"id": made["id"], "update": update}]}))[0]
        assert changed["externalId"] == update["externalId"]["set"]
        assert [changed["mimeType"], changed["sourceModifiedTime"]] == ["text/csv", 5]
        assert [changed["assetIds"], changed["labels"]] == [[2, 3], [{"externalId": "valve"}]]
        assert changed["metadata"] == {"snake_case": "", "new": "1"}
        assert "source" not in changed
        assert changed["lastUpdatedTime"] >= made["lastUpdatedTime"]
        assert changed == api.get(f"/files/{made['id']}").json()
        assert [changed["name"], changed["directory"]] == [made["name"], made["directory"]]
        whole = {"metadata": {"set": {"only": "this"}}, "assetIds": {"setNull": True}}
        again = items(api.post("/files/update", {"items": [{"externalId": changed["externalId"], "update": whole}]}))[0]
        assert again["metadata"] == {"only": "this"}
        assert "assetIds" not in again

    @pytest.mark.parametrize(
        "update",
        [
            {"source": {}},
            {"source": {"set": "a", "setNull": True}},
            {"source": {"set": "s" * 129}},
            {"source": {"set": 1}},
            {"metadata": {"set": {}, "add": {}}},
            {"metadata": {"add": {"k": "v" * 10_300}}},
            {"directory": {"set": "relative"}},
            {"mimeType": {"set": "a\n"}},
            {"dataSetId": {"set": 7}},
            {"assetIds": {"add": [0]}},
        ],
    )
    def test_an_update_that_breaks_a_rule_changes_nothing(self, api: Api, update: dict[str, Any]) -> None:
        first, second = create(api, source="s"), create(api, metadata={"a": "b"}, source="s")
        change = {
            "items": [{"id": first["id"], "update": {"source": {"set": "new"}}}, {"id": second["id"], "update": update}]
        }
        refused(api.post("/files/update", change), 400)
        assert api.get(f"/files/{first['id']}").json()["source"] == "s"

    def test_an_update_of_an_unknown_or_to_a_taken_one_is_refused(self, api: Api) -> None:
        first, second = create(api, externalId=named("a")), create(api, externalId=named("b"))
        change = {"externalId": {"set": second["externalId"]}}
        error = refused(api.post("/files/update", {"items": [{"id": first["id"], "update": change}]}), 409)
        assert error["duplicated"] == [{"externalId": second["externalId"]}]
        error = refused(api.post("/files/update", {"items": [{"id": 7, "update": {}}]}), 400)
        assert error["missing"] == [{"id": 7}]

    def test_several_come_in_the_order_asked_for_and_unknown_ones_are_named(self, api: Api) -> None:
        first, second = create(api, externalId=named()), create(api)
        known = [{"id": second["id"]}, {"externalId": first["externalId"]}]
        assert [one["id"] for one in items(api.post("/files/byids", {"items": known}))] == [second["id"], first["id"]]
        instance = {"instanceId": {"space": "s", "externalId": "x"}}
        asked = [*known, {"id": 7}, instance, {"externalId": "nobody"}]
        for path in ("/files/byids", "/files/delete", "/files/downloadlink"):
            error = refused(api.post(path, {"items": asked}), 400)
            assert error["missing"] == asked[2:]
            assert "dataSetExternalId" in error["message"]
        ignoring = {"items": asked, "ignoreUnknownIds": True}
        assert len(items(api.post("/files/byids", ignoring))) == 2
        for wrong in ([], [{}], [{"id": 1, "externalId": "x"}], [{"id": 1}] * 1001):
            refused(api.post("/files/byids", {"items": wrong}), 400)
        assert api.post("/files/delete", ignoring).json() == {}
        assert refused(api.get(f"/files/{first['id']}"), 404)["missing"] == [{"id": first["id"]}]

    def test_download_links_name_files_as_they_were_asked_for(self, api: Api) -> None:
        made, empty = uploaded(api, b"x", externalId=named()), create(api)
        asked = [{"externalId": made["externalId"]}, {"id": made["id"]}]
        links = items(api.post("/files/downloadlink?extendedExpiration=true", {"items": asked}))
        assert [{key: link[key] for key in link if key != "downloadUrl"} for link in links] == asked
        assert api.http.get(links[0]["downloadUrl"]).content == b"x"
        assert (
            str(empty["id"])
            in refused(api.post("/files/downloadlink", {"items": [{"id": empty["id"]}]}), 400)["message"]
        )
        refused(api.post("/files/downloadlink?extendedExpiration=maybe", {"items": asked}), 400)
        refused(api.post("/files/downloadlink", {"items": asked * 51}), 400)

    def test_filters_are_all_applied(self, api: Api) -> None:
        data_set = items(api.post("/datasets", {"items": [{"externalId": named("ds")}]}))[0]
        prefix = named("find")
        first = uploaded(api, b"x", **{**self.FULL, "externalId": f"{prefix}-1", "dataSetId": data_set["id"]})
        second = create(api, externalId=f"{prefix}-2", name="other", metadata={"Key": "välue"})

        def found(wanted: dict[str, Any]) -> list[int]:
            body = {"filter": {"externalIdPrefix": prefix, **wanted}}
            return [one["id"] for one in items(api.post("/files/list", body))]

        one, both, none = [first["id"]], [first["id"], second["id"]], list[int]()
        for wanted, expected in [
            ({}, both),
            ({"name": "näme /x"}, one),
            ({"mimeType": "application/zip"}, one),
            ({"source": "plänt"}, one),
            ({"directoryPrefix": "/a"}, one),
            ({"directoryPrefix": ""}, one),
            ({"uploaded": True}, one),
            ({"uploaded": False}, both[1:]),
            ({"metadata": {"Key": "välue"}}, both),
            ({"metadata": {"Key": "välue", "snake_case": ""}}, one),
            ({"dataSetIds": [{"id": data_set["id"]}]}, one),
            ({"dataSetIds": [{"externalId": data_set["externalId"]}, {"externalId": "nobody"}]}, one),
            ({"dataSetIds": [{"externalId": "nobody"}]}, none),
            ({"dataSetIds": []}, none),
            ({"assetIds": [2, 9]}, one),
            ({"labels": {"containsAny": [{"externalId": "pump"}, {"externalId": "z"}]}}, one),
            ({"labels": {"containsAll": [{"externalId": "pump"}, {"externalId": "z"}]}}, none),
            ({"createdTime": {"min": first["createdTime"]}}, both),
            ({"createdTime": {"max": first["createdTime"] - 1}}, none),
            ({"uploadedTime": {"min": 0}}, one),
            ({"sourceCreatedTime": {"min": 1, "max": 1}}, one),
            ({"name": "näme /x", "uploaded": False}, none),
        ]:
            assert found(wanted) == expected, wanted
        for wrong in ({"assetSubtreeIds": [{"id": 1}]}, {"geoLocation": {}}, {"assetExternalIds": ["a"]}):
            refused(api.post("/files/list", {"filter": wrong}), 400)
        queries = {
            f"externalIdPrefix={prefix}": both,
            f"externalIdPrefix={prefix}&uploaded=true": one,
            f"externalIdPrefix={prefix}&dataSetIds=[{data_set['id']}]": one,
            f"externalIdPrefix={prefix}&maxCreatedTime={first['createdTime'] - 1}": none,
        }
        for query, expected in queries.items():
            assert [file["id"] for file in items(api.get(f"/files?{query}"))] == expected
        for query in ("uploaded=yes", "uploaded=null", "metadata=x", "minCreatedTime=x", "dataSetIds=1"):
            refused(api.get(f"/files?{query}"), 400)

    def test_lists_come_page_by_page_and_in_parts(self, api: Api) -> None:
        prefix = named("page")
        made = [create(api, externalId=f"{prefix}-{n}")["id"] for n in range(5)]
        body = {"filter": {"externalIdPrefix": prefix}, "limit": 2}
        seen: list[int] = []
        sizes: list[int] = []
        while True:
            answer = api.post("/files/list", body).json()
            sizes.append(len(answer["items"]))
            seen += [one["id"] for one in answer["items"]]
            if "nextCursor" not in answer:
                break
            body["cursor"] = answer["nextCursor"]
        assert [seen, sizes] == [made, [2, 2, 1]]
        shares = [
            items(api.post("/files/list", {"filter": {"externalIdPrefix": prefix}, "partition": f"{n}/3"}))
            for n in (1, 2, 3)
        ]
        assert sorted(one["id"] for share in shares for one in share) == made
        for wrong in ({"partition": "4/3"}, {"partition": "x"}, {"cursor": "nonsense"}, {"limit": 0}):
            refused(api.post("/files/list", wrong), 400)


SDK_CODE = """
    import os, pathlib, tempfile
    from cognite.client.data_classes import DataSetWrite, DataSetUpdate, FileMetadataUpdate, LabelFilter

    name = NAME
    data_set = client.data_sets.create(DataSetWrite(external_id=name, name="n", metadata={"a": "b"}))
    changed = client.data_sets.update(DataSetUpdate(external_id=name).name.set("new").metadata.add({"c": "d"}))
    listed = client.data_sets.list(external_id_prefix=name, limit=None)
    nobody = client.data_sets.retrieve(external_id=name + "-nobody")
    sets = [changed.name, changed.metadata, [one.id for one in listed] == [data_set.id], nobody]

    content = os.urandom(11_000_000)
    file = client.files.upload_bytes(b"old", name="f", external_id=name, data_set_id=data_set.id, labels=["pump"])
    with client.files.multipart_upload_session("f", parts=2, external_id=name, overwrite=True) as session:
        session.upload_part(1, content[6_000_000:])
        session.upload_part(0, content[:6_000_000])
    parts = client.files.download_bytes(external_id=name) == content
    client.files.upload_content_bytes("text", external_id=name)
    whole = client.files.download_bytes(external_id=name) == b"text"

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "g.txt"
        path.write_bytes(b"from a path")
        by_path = client.files.upload(str(path), external_id=name + "-path", data_set_id=data_set.id)
        client.files.download(folder, external_id=name + "-path")
    update = FileMetadataUpdate(external_id=name).source.set("s").metadata.set({"k": "v"}).labels.add("valve")
    updated = client.files.update(update)
    found = client.files.list(data_set_external_ids=[name], labels=LabelFilter(contains_all=["pump", "valve"]), limit=None)
    everything = client.files.list(data_set_ids=[data_set.id], partitions=3, limit=None)
    files = [updated.source, updated.metadata, [one.id for one in found], sorted(one.id for one in everything)]
    client.files.delete(external_id=[name, name + "-path"])
    result = [sets, parts, whole, files == ["s", {"k": "v"}, [file.id], [file.id, by_path.id]],
              client.files.retrieve(external_id=name)]
"""


@pytest.mark.parametrize("client", [SDK8, SDK7])
def test_the_official_sdk_uploads_changes_and_finds_files(driver: Callable[[str], Driver], client: str) -> None:
    sets = ["new", {"a": "b", "c": "d"}, True, None]
    assert driver(client).run(f"NAME = {named('sdk')!r}\n{textwrap.dedent(SDK_CODE)}") == [sets, True, True, True, None]


class TestReach:
    """A client whose filesAcl is limited to one data set (contract 2)."""

    def client(self, api: Api, *capabilities: dict[str, Any]) -> dict[str, str]:
        """The headers of a new client with these capabilities."""
        made = api.post("/kvern/clients", {"name": "limited", "capabilities": list(capabilities)})
        assert made.status_code == 201, made.text
        form = {
            "grant_type": "client_credentials",
            "client_id": made.json()["clientId"],
            "client_secret": made.json()["clientSecret"],
        }
        token = api.http.post(api.env["IDP_TOKEN_URL"], data=form).json()["access_token"]
        return {"authorization": f"Bearer {token}"}

    def test_it_uses_what_is_in_there_and_nothing_else(self, api: Api) -> None:
        mine, other = items(api.post("/datasets", {"items": [{}, {}]}))
        scope = {"datasetScope": {"ids": [mine["id"]]}}
        everywhere = {"functionsAcl": {"actions": ["READ", "WRITE"], "scope": {"all": {}}}}
        limited = self.client(api, {"filesAcl": {"actions": ["READ", "WRITE"], "scope": scope}}, everywhere)
        code = bundle(handler="def handle(): return 1")
        hidden = uploaded(api, code, dataSetId=other["id"], externalId=named())
        inside = api.post("/files", {"name": "f", "dataSetId": mine["id"]}, headers=limited)
        assert inside.status_code == 201
        put(api, inside.json()["uploadUrl"], code)
        for fields in ({}, {"dataSetId": other["id"]}, {"externalId": hidden["externalId"], "dataSetId": mine["id"]}):
            answer = api.post("/files?overwrite=true", {"name": "f", **fields}, headers=limited)
            assert "insufficient access rights" in refused(answer, 403)["message"]
        assert [file["id"] for file in items(api.post("/files/list", {}, headers=limited))] == [inside.json()["id"]]
        for path in ("/files/byids", "/files/delete", "/files/downloadlink", "/files/uploadlink"):
            error = refused(api.post(path, {"items": [{"id": hidden["id"]}]}, headers=limited), 400)
            assert error["missing"] == [{"id": hidden["id"]}]
        refused(api.get(f"/files/{hidden['id']}", headers=limited), 404)
        wanted = {"items": [{"name": "f", "fileId": hidden["id"]}]}
        assert str(hidden["id"]) in refused(api.post("/functions", wanted, headers=limited), 400)["message"]
        wanted["items"][0]["fileId"] = inside.json()["id"]
        made = items(api.post("/functions", wanted, headers=limited), 201)[0]
        api.delete(made["id"])
        assert api.get(f"/files/{hidden['id']}").status_code == 200

    def test_without_files_nothing_is_created_and_no_function_made(self, api: Api) -> None:
        headers = self.client(api, {"functionsAcl": {"actions": ["READ", "WRITE"], "scope": {"all": {}}}})
        for path in ("/files", "/files/initmultipartupload?parts=1"):
            error = refused(api.post(path, {"name": "f"}, headers=headers), 403)
            assert "insufficient access rights" in error["message"]
        file_id = api.upload(bundle(handler="def handle(): return 1"))
        answer = api.post("/functions", {"items": [{"name": "f", "fileId": file_id}]}, headers=headers)
        assert "filesAcl:READ" in refused(answer, 403)["message"]
