"""Uploads in parts: any order, repeated, joined once, cleared away when they never end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.unit.fakes import PROJECT, Plant, once, plant, until

from kvern.service.links import UPLOAD_MS
from kvern.store import StoreFault
from kvern.wire import files as wire
from kvern.wire.errors import ForbiddenError, InvalidError, NotFoundError, TooLargeError, UnknownItemsError
from kvern.wire.files import FileId

PART = wire.PART_LEAST


async def begin(p: Plant, parts: int, **fields: str) -> tuple[wire.File, str, list[str]]:
    file = await p.service.files.create(p.who, wire.FileWrite(**{"name": "big.bin", **fields}), overwrite=True)
    upload_id, proofs = await p.service.uploads.begin(PROJECT, file.id, parts)
    return file, upload_id, proofs


async def take(p: Plant, proof: str, content: bytes) -> None:
    await p.service.uploads.take(proof, once(content))


async def complete(p: Plant, file: wire.File, upload_id: str) -> None:
    await p.service.uploads.complete(p.who, wire.UploadEnd(id=file.id, upload_id=upload_id))


async def content(p: Plant, file: wire.File) -> bytes:
    ((_, proof),) = await p.service.files.download_links(p.who, [FileId(id=file.id)], extended=False)
    async with p.blobs.local((await p.service.files.content(proof)).key) as path:
        return path.read_bytes()


def blob_count(p: Plant) -> int:
    return len(list((p.settings.data_dir / "blobs").glob("*/*")))


async def test_parts_are_joined_by_their_place_whenever_they_come(p: Plant) -> None:
    file, upload_id, proofs = await begin(p, 3)
    assert len(set(proofs)) == 3
    for number in (2, 0, 1):
        await take(p, proofs[number], bytes([number]) * (PART if number < 2 else 10))
    assert not (await p.service.files.retrieve(p.who, file.id)).uploaded
    await complete(p, file, upload_id)
    assert await content(p, file) == b"\0" * PART + b"\1" * PART + b"\2" * 10
    assert blob_count(p) == 1


async def test_one_part_may_be_small_or_empty(p: Plant) -> None:
    for small in (b"abc", b""):
        file, upload_id, (proof,) = await begin(p, 1)
        await take(p, proof, small)
        await complete(p, file, upload_id)
        assert await content(p, file) == small


async def test_a_part_that_comes_again_replaces_itself(p: Plant) -> None:
    file, upload_id, proofs = await begin(p, 1)
    for text in (b"first", b"second", b"third"):
        await take(p, proofs[0], text)
    assert blob_count(p) == 1
    await complete(p, file, upload_id)
    assert await content(p, file) == b"third"


async def test_completing_again_does_no_harm(p: Plant) -> None:
    file, upload_id, (proof,) = await begin(p, 1)
    await take(p, proof, b"abc")
    await asyncio.gather(*(complete(p, file, upload_id) for _ in range(3)))
    await complete(p, file, upload_id)
    assert await content(p, file) == b"abc"
    assert blob_count(p) == 1


async def test_completing_several_parts_twice_at_once(p: Plant) -> None:
    file, upload_id, proofs = await begin(p, 2)
    for proof in proofs:
        await take(p, proof, b"x" * PART)
    await asyncio.gather(*(complete(p, file, upload_id) for _ in range(3)))
    assert await content(p, file) == b"x" * 2 * PART
    assert blob_count(p) == 1


async def test_missing_parts_are_named(p: Plant) -> None:
    file, upload_id, proofs = await begin(p, 4)
    await take(p, proofs[1], b"x" * PART)
    with pytest.raises(InvalidError, match=r"missing.*: 0, 2, 3"):
        await complete(p, file, upload_id)
    assert not (await p.service.files.retrieve(p.who, file.id)).uploaded


async def test_all_parts_but_the_last_have_a_least_size(p: Plant) -> None:
    file, upload_id, proofs = await begin(p, 2)
    await take(p, proofs[0], b"x" * (PART - 1))
    await take(p, proofs[1], b"x")
    with pytest.raises(InvalidError, match=f"{PART - 1} in part 0"):
        await complete(p, file, upload_id)
    await take(p, proofs[0], b"x" * PART)
    await complete(p, file, upload_id)


@pytest.mark.parametrize("parts", [0, -1, 251])
async def test_a_number_of_parts_that_cannot_be(p: Plant, parts: int) -> None:
    with pytest.raises(InvalidError, match="1 to 250"):
        await begin(p, parts)


async def test_all_parts_together_are_no_larger_than_a_file_may_be(tmp_path: Path) -> None:
    async with plant(tmp_path, file_limit_mb=0.001) as p:
        _, _, proofs = await begin(p, 3)
        await take(p, proofs[0], b"x" * 600)
        with pytest.raises(TooLargeError):
            await take(p, proofs[1], b"x" * 401)
        await take(p, proofs[0], b"x" * 500)  # in place of 600
        await take(p, proofs[1], b"x" * 500)
        with pytest.raises(TooLargeError):
            await take(p, proofs[2], b"x" * 1001)
        assert blob_count(p) == 2


async def test_a_part_of_an_upload_that_has_ended(p: Plant) -> None:
    file, upload_id, (proof,) = await begin(p, 1)
    await take(p, proof, b"abc")
    await complete(p, file, upload_id)
    with pytest.raises(NotFoundError, match="has ended"):
        await take(p, proof, b"late")
    assert await content(p, file) == b"abc"


async def test_an_upload_of_another_file(p: Plant) -> None:
    _, upload_id, (proof,) = await begin(p, 1)
    await take(p, proof, b"abc")
    other, _, _ = await begin(p, 1)
    for made_up in (upload_id, "0" * 32):
        with pytest.raises(InvalidError, match="uploadId"):
            await complete(p, other, made_up)
    with pytest.raises(UnknownItemsError):
        await p.service.uploads.complete(p.who, wire.UploadEnd(id=7000, upload_id=upload_id))


async def test_who_may_not_write_the_file_does_not_complete_it(p: Plant) -> None:
    file, upload_id, (proof,) = await begin(p, 1)
    await take(p, proof, b"abc")
    who = p.principal("filesAcl:READ")
    with pytest.raises(ForbiddenError):
        await p.service.uploads.complete(who, wire.UploadEnd(id=file.id, upload_id=upload_id))


async def test_bytes_that_the_store_refuses_leave_nothing_behind(p: Plant) -> None:
    whole = await p.service.files.create(p.who, wire.FileWrite(name="a"), overwrite=False)
    file, upload_id, proofs = await begin(p, 2)
    await take(p, proofs[0], b"x" * PART)
    p.store.refusing = True
    for proof in (p.service.uploads.link(PROJECT, whole.id), proofs[0], proofs[1]):
        with pytest.raises(StoreFault):
            await take(p, proof, b"refused")
    p.store.refusing = False
    assert blob_count(p) == 1
    await take(p, proofs[1], b"y")
    p.store.refusing = True
    with pytest.raises(StoreFault):
        await complete(p, file, upload_id)
    p.store.refusing = False
    assert blob_count(p) == 2
    await complete(p, file, upload_id)
    assert await content(p, file) == b"x" * PART + b"y"


async def test_a_client_that_goes_away_while_its_bytes_are_kept_breaks_nothing(p: Plant) -> None:
    """The write goes on; what it replaces is cleared away, and what it needs is not."""
    file_id = await p.upload(b"old")
    whole = await p.service.files.retrieve(p.who, file_id)
    file, upload_id, (proof,) = await begin(p, 1)
    await take(p, proof, b"old part")
    with p.store.closed():
        requests = [
            asyncio.create_task(take(p, p.service.uploads.link(PROJECT, file_id), b"new")),
            asyncio.create_task(take(p, proof, b"new part")),
        ]
        await until(lambda: p.store.waiting == 2)
        for request in requests:
            request.cancel()
        assert await asyncio.gather(*requests, return_exceptions=True) != [None, None]
    await until(lambda: not p.service.uploads._keeping)
    assert blob_count(p) == 2
    assert await content(p, whole) == b"new"
    await complete(p, file, upload_id)
    assert await content(p, file) == b"new part"


async def test_the_old_bytes_stay_until_an_upload_in_parts_is_completed(p: Plant) -> None:
    file, upload_id, (proof,) = await begin(p, 1, external_id="x")
    await take(p, proof, b"old")
    await complete(p, file, upload_id)
    file, upload_id, (proof,) = await begin(p, 1, external_id="x")
    await take(p, proof, b"new")
    assert await content(p, file) == b"old"
    await complete(p, file, upload_id)
    assert await content(p, file) == b"new"
    assert blob_count(p) == 1


async def test_deleting_the_file_clears_its_parts(p: Plant) -> None:
    file, upload_id, proofs = await begin(p, 2)
    await take(p, proofs[0], b"abc")
    await p.service.files.delete(p.who, [FileId(id=file.id)], ignore_unknown=False)
    assert blob_count(p) == 0
    with pytest.raises(NotFoundError):
        await take(p, proofs[1], b"def")
    with pytest.raises(UnknownItemsError):
        await complete(p, file, upload_id)


async def test_parts_survive_a_restart(p: Plant) -> None:
    file, upload_id, proofs = await begin(p, 2)
    await take(p, proofs[0], b"x" * PART)
    await p.restart()
    await take(p, proofs[1], b"y")
    await complete(p, file, upload_id)
    assert await content(p, file) == b"x" * PART + b"y"


async def test_an_upload_that_never_ends_is_cleared_away_after_a_week(p: Plant) -> None:
    _, _, (proof,) = await begin(p, 1)
    await take(p, proof, b"abc")
    await p.service.uploads.forget_before(p.clock.now() - UPLOAD_MS)
    assert blob_count(p) == 1
    await p.clock.advance(UPLOAD_MS + 1)
    await p.service.uploads.forget_before(p.clock.now() - UPLOAD_MS)
    assert blob_count(p) == 0


async def test_a_file_whose_parts_were_joined_is_not_cleared_away_with_its_upload(p: Plant) -> None:
    file, upload_id, (proof,) = await begin(p, 1)
    await take(p, proof, b"abc")
    await complete(p, file, upload_id)
    await p.clock.advance(UPLOAD_MS * 2)
    await p.service.uploads.forget_before(p.clock.now() - UPLOAD_MS)
    assert await content(p, file) == b"abc"
