"""Files: uploads that can be repeated, parts, and downloads that stay in their folder (contract 7)."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from kvern.client import AsyncCogniteClient, CogniteClient, exceptions, global_config
from kvern.client.content import LARGEST_PART, MIB, MOST_PARTS, part_size_and_count
from kvern.client.data_classes import FileMetadataWrite, GeoLocation, Label
from tests.unit.client.stub import Seen, Stub, error

PUT = "PUT /storage"


def file(**more: Any) -> dict[str, Any]:
    return {"id": 7, "name": "f", "uploaded": False, "createdTime": 1, "lastUpdatedTime": 1, **more}


@pytest.fixture
def storage(stub: Stub) -> Stub:
    stub.on("POST /files", lambda seen: file(uploadUrl="http://server/storage", **seen.json))
    stub.on(PUT, httpx2.Response(201))
    return stub


@pytest.mark.parametrize("content", [b"bytes", "text", io.BytesIO(b"file")])
def test_content_of_any_kind_is_uploaded(client: CogniteClient, storage: Stub, content: Any) -> None:
    made = client.files.upload_bytes(content, name="n", external_id="x", mime_type="text/plain", overwrite=True)
    expected = {"bytes": b"bytes", "str": b"text", "BytesIO": b"file"}[type(content).__name__]
    create, put = storage.seen
    assert (create.query, create.json) == (
        {"overwrite": "true"},
        {"name": "n", "externalId": "x", "mimeType": "text/plain"},
    )
    assert (put.body, put.headers["content-type"], put.headers["content-length"]) == (
        expected,
        "text/plain",
        str(len(expected)),
    )
    assert "content-encoding" not in put.headers and put.headers["authorization"] == "Bearer secret"
    assert (made.id, made.external_id) == (7, "x")


def test_a_large_content_goes_in_pieces(client: CogniteClient, storage: Stub) -> None:
    content = bytes(range(256)) * 8192
    client.files.upload_bytes(content, name="n")
    assert storage.seen[1].body == content


def test_an_upload_is_repeated_from_its_start(
    client: CogniteClient, storage: Stub, pauses: list[float], tmp_path: Path
) -> None:
    source = io.BytesIO(b"skipped" + b"x" * 2 * MIB)
    source.seek(7)
    storage.on(PUT, error(503, "busy"), httpx2.ReadError("broken"), httpx2.Response(201))
    client.files.upload_bytes(source, name="n")
    assert [len(seen.body) for seen in storage.seen[1:]] == [2 * MIB] * 3


async def test_what_can_be_read_only_once_is_sent_only_once(
    async_client: AsyncCogniteClient, storage: Stub, pauses: list[float]
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    with pytest.warns(RuntimeWarning, match="length of the content is not known"):
        await async_client.files.upload_bytes(pieces(), name="n")
    assert storage.seen[1].body == b"ab"
    storage.on(PUT, error(503, "busy"))
    with pytest.warns(RuntimeWarning), pytest.raises(exceptions.CogniteFileUploadError):
        await async_client.files.upload_bytes(pieces(), name="n")
    assert pauses == []


@pytest.mark.parametrize("content", [io.StringIO("x"), 3, None, ["x"]])
def test_no_content_is_refused(client: CogniteClient, storage: Stub, content: Any) -> None:
    with pytest.raises(TypeError, match="Expected"):
        client.files.upload_bytes(content, name="n")


def test_a_storage_that_refuses_is_told(client: CogniteClient, storage: Stub) -> None:
    storage.on(PUT, httpx2.Response(403, text="link expired"))
    with pytest.raises(exceptions.CogniteFileUploadError, match=r"link expired \| code: 403"):
        client.files.upload_bytes(b"", name="n")


def test_a_missing_right_is_told(client: CogniteClient, storage: Stub) -> None:
    storage.on("POST /files", error(403, "insufficient access rights for the file"))
    with pytest.raises(exceptions.CogniteAuthorizationError, match="data_set_id"):
        client.files.upload_bytes(b"", name="n")


def test_an_upload_url_may_be_relative(client: CogniteClient, storage: Stub) -> None:
    storage.on("POST /files", file(uploadUrl="/storage"))
    client.files.upload_bytes(b"x", name="n")
    assert storage.seen[1].body == b"x"


def test_a_small_file_is_uploaded_at_once(client: CogniteClient, storage: Stub, tmp_path: Path) -> None:
    (tmp_path / "small.txt").write_text("small")
    client.files.upload(tmp_path / "small.txt")
    assert storage.paths() == ["POST /files", PUT]
    assert (storage.seen[0].json, storage.seen[1].body) == ({"name": "small.txt"}, b"small")


@pytest.fixture
def parts(stub: Stub) -> Stub:
    def begin(seen: Seen) -> dict[str, Any]:
        urls = [f"http://server/part/{number}" for number in range(int(seen.query["parts"]))]
        for number in range(len(urls)):
            stub.on(f"PUT /part/{number}", httpx2.Response(201))
        return file(uploadId="u", uploadUrls=urls)

    stub.on("POST /files/initmultipartupload", begin)
    stub.on("POST /files/multiuploadlink", lambda seen: {"items": [begin(seen)]})
    stub.on("POST /files/completemultipartupload", {})
    return stub


def test_a_large_file_is_uploaded_in_parts(client: CogniteClient, parts: Stub, tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    with path.open("wb") as out:
        out.truncate(60 * MIB)
        out.seek(50 * MIB)
        out.write(b"second part")
    client.files.upload(path, external_id="x", overwrite=True)
    assert parts.seen[0].query == {"overwrite": "true", "parts": "2"}
    sent = {seen.path: seen.body for seen in parts.seen if seen.method == "PUT"}
    assert [len(sent["/part/0"]), len(sent["/part/1"])] == [50 * MIB, 10 * MIB]
    assert sent["/part/1"].startswith(b"second part")
    assert parts.seen[-1].json == {"id": 7, "uploadId": "u"}


def test_parts_by_hand(client: CogniteClient, parts: Stub) -> None:
    with client.files.multipart_upload_session("n", parts=2) as session:
        session.upload_part(1, b"b")
        with pytest.raises(RuntimeError, match="already"):
            session.upload_part(1, b"b")
        with pytest.raises(IndexError, match="from 0 to 1"):
            session.upload_part(2, b"c")
        session.upload_part(0, "a")
    assert parts.paths()[-1] == "POST /files/completemultipartupload"
    with pytest.raises(RuntimeError, match="completed already"), session:
        pass


def test_parts_that_are_missing_are_told(client: CogniteClient, parts: Stub) -> None:
    with (
        pytest.raises(exceptions.CogniteFileUploadError, match=r"never uploaded: \[1\]"),
        client.files.multipart_upload_content_session(parts=2, external_id="x") as session,
    ):
        session.upload_part(0, b"a")
    assert "POST /files/completemultipartupload" not in parts.paths()


async def test_an_upload_that_fails_is_not_completed(async_client: AsyncCogniteClient, parts: Stub) -> None:
    with pytest.raises(KeyError):
        async with await async_client.files.multipart_upload_session("n", parts=1) as session:
            await session.upload_part_async(0, b"a")
            raise KeyError("mine")
    assert "POST /files/completemultipartupload" not in parts.paths()


def test_how_files_are_cut() -> None:
    assert part_size_and_count(0) == (5 * MIB, 1)
    assert part_size_and_count(5 * MIB) == (50 * MIB, 1)
    assert part_size_and_count(101 * MIB) == (50 * MIB, 3)
    size, count = part_size_and_count(100_000 * MIB)
    assert count == MOST_PARTS and size * count >= 100_000 * MIB
    with pytest.raises(ValueError, match="at most"):
        part_size_and_count(MOST_PARTS * LARGEST_PART + 1)


def test_all_files_of_a_folder(client: CogniteClient, storage: Stub, tmp_path: Path) -> None:
    for name in ("a.txt", "deep/b.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert len(client.files.upload(tmp_path, metadata={"k": "v"})) == 1  # type: ignore[arg-type]
    uploaded = client.files.upload(tmp_path, recursive=True)
    assert [one.name for one in uploaded] == ["a.txt", "b.txt"]  # type: ignore[union-attr]
    assert storage.seen[0].json == {"name": "a.txt", "metadata": {"k": "v"}}


def test_paths_that_are_not_there(client: CogniteClient, stub: Stub, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        client.files.upload(tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        client.files.upload_content(tmp_path / "missing", external_id="x")
    with pytest.raises(IsADirectoryError):
        client.files.upload_content(tmp_path, external_id="x")
    with pytest.raises(NotADirectoryError):
        client.files.download(tmp_path / "missing", id=1)
    with pytest.raises(NotADirectoryError):
        client.files.download_to_path(tmp_path / "missing" / "x", id=1)


def test_content_for_a_file_that_is_there(client: CogniteClient, storage: Stub) -> None:
    storage.on("POST /files/uploadlink", {"items": [file(uploadUrl="http://server/storage")]})
    client.files.upload_content_bytes("text", external_id="x")
    assert (storage.seen[0].json, storage.seen[1].body) == ({"items": [{"externalId": "x"}]}, b"text")
    client.files.upload_content_bytes("text", instance_id=("space", "x"))
    assert storage.seen[2].json == {"items": [{"instanceId": {"space": "space", "externalId": "x"}}]}
    storage.on("POST /files/uploadlink", error(403, "no"))
    with pytest.raises(exceptions.CogniteAuthorizationError):
        client.files.upload_content_bytes("text", external_id="x")


@pytest.fixture
def downloads(stub: Stub) -> Stub:
    stub.on(
        "POST /files/downloadlink",
        lambda seen: {
            "items": [
                {**one, "downloadUrl": f"http://server/content/{one.get('id', 'x')}"} for one in seen.json["items"]
            ]
        },
    )
    for number in (1, 2, 3):
        stub.on(f"GET /content/{number}", httpx2.Response(200, content=f"content {number}".encode()))
    return stub


def test_files_are_downloaded_under_their_names(client: CogniteClient, downloads: Stub, tmp_path: Path) -> None:
    downloads.on(
        "POST /files/byids", {"items": [file(id=1, name="a.txt"), file(id=2, name="a.txt", directory="/deep/er")]}
    )
    with pytest.warns(UserWarning, match="same name"):
        client.files.download(tmp_path, id=[1, 2])
    client.files.download(tmp_path, id=[1, 2], keep_directory_structure=True)
    client.files.download(str(tmp_path), id=[1, 2], resolve_duplicate_file_names=True)
    assert (tmp_path / "deep/er/a.txt").read_text() == "content 2"
    assert (tmp_path / "a.txt").read_text() == "content 1"
    assert (tmp_path / "a(1).txt").read_text() == "content 2"


@pytest.mark.parametrize("more", [{"name": "../out"}, {"name": "x", "directory": "/../out"}, {"name": "/etc/out"}])
def test_no_file_is_written_elsewhere(
    client: CogniteClient, downloads: Stub, tmp_path: Path, more: dict[str, str]
) -> None:
    downloads.on("POST /files/byids", {"items": [file(id=1, **more)]})
    (tmp_path / "in").mkdir()
    with pytest.raises(RuntimeError, match="outside of"):
        client.files.download(tmp_path / "in", id=1, keep_directory_structure=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_one_file_to_a_path_or_into_memory(client: CogniteClient, downloads: Stub, tmp_path: Path) -> None:
    global_config.file_download_chunk_size = 3
    client.files.download_to_path(tmp_path / "one", id=1)
    assert (tmp_path / "one").read_bytes() == client.files.download_bytes(id=1) == b"content 1"
    with pytest.raises(ValueError, match="exactly one"):
        client.files.download_bytes()


def test_a_download_that_fails_is_told(client: CogniteClient, downloads: Stub, tmp_path: Path) -> None:
    downloads.on("GET /content/1", httpx2.Response(410, text="too late"))
    with pytest.raises(exceptions.CogniteAPIError, match="too late"):
        client.files.download_to_path(tmp_path / "one", id=1)
    assert not (tmp_path / "one").exists()


def test_links_are_fetched_a_hundred_at_a_time(client: CogniteClient, downloads: Stub) -> None:
    links = client.files.retrieve_download_urls(id=list(range(1, 251)), extended_expiration=True)
    assert len(links) == 250 and links[250] == "http://server/content/250"
    assert [len(seen.json["items"]) for seen in downloads.seen] == [100, 100, 50]
    assert downloads.seen[0].query == {"extendedExpiration": "true"}


def test_files_are_listed_page_by_page(client: CogniteClient, stub: Stub) -> None:
    def page(seen: Seen) -> dict[str, Any]:
        start = int(seen.json.get("cursor", 0))
        ids = range(start + 1, min(start + seen.json["limit"], 2500) + 1)
        answer: dict[str, Any] = {"items": [file(id=number) for number in ids]}
        return answer if start + len(ids) >= 2500 else {**answer, "nextCursor": str(start + len(ids))}

    stub.on("POST /files/list", page)
    assert len(client.files.list(limit=None)) == 2500
    assert (
        client.files.list(limit=1001, uploaded=True, data_set_ids=[1], data_set_external_ids="d").as_ids()[-1] == 1001
    )
    assert [seen.json["limit"] for seen in stub.seen] == [1000, 1000, 1000, 1000, 1]
    assert stub.seen[-1].json["filter"] == {"uploaded": True, "dataSetIds": [{"id": 1}, {"externalId": "d"}]}
    assert [len(chunk) for chunk in client.files(chunk_size=700, limit=2000)] == [700, 700, 600]
    assert next(client.files()).id == 1


def test_what_is_sent_to_create_a_file(client: CogniteClient, stub: Stub) -> None:
    stub.on("POST /files", file(uploadUrl="http://server/storage"))
    place = GeoLocation.load({"type": "Feature", "geometry": {"type": "Point", "coordinates": [1.0, 2.0]}})
    made, url = client.files.create(FileMetadataWrite("n", labels=["a", Label("b")], geo_location=place))  # type: ignore[list-item]
    assert url == "http://server/storage" and made.id == 7
    assert stub.seen[0].json == {
        "name": "n",
        "labels": [{"externalId": "a"}, {"externalId": "b"}],
        "geoLocation": place.dump(),
    }
