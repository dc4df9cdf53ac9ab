"""Links that carry their own proof."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvern.service.clock import FakeClock
from kvern.service.links import Links, new_key
from kvern.wire.errors import ForbiddenError

_KEY = new_key()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1_000_000)


@pytest.fixture
def links(clock: FakeClock) -> Links:
    return Links(_KEY, clock)


async def test_a_link_is_good_until_its_time_is_over(links: Links, clock: FakeClock) -> None:
    proof = links.sign("download", "plant", 7, 30_000)
    for _ in range(2):
        grant = links.check("download", proof)
        assert (grant.action, grant.project, grant.file_id, grant.until) == ("download", "plant", 7, 1_030_000)
        await clock.advance(15_000)
    await clock.advance(1)
    with pytest.raises(ForbiddenError, match="expired"):
        links.check("download", proof)


def test_a_link_is_good_for_one_action(links: Links) -> None:
    with pytest.raises(ForbiddenError, match="expected one for upload, given one for download"):
        links.check("upload", links.sign("download", "plant", 7, 30_000))


def test_a_part_of_an_upload_is_named_by_its_link(links: Links) -> None:
    grant = links.check("upload", links.sign("upload", "plant", 7, 30_000, "abc", 3))
    assert (grant.upload, grant.part) == ("abc", 3)


def test_no_two_links_are_the_same(links: Links) -> None:
    assert len({links.sign("upload", "plant", 7, 30_000) for _ in range(50)}) == 50


def test_a_link_holds_wherever_the_key_is_and_nowhere_else(links: Links, clock: FakeClock) -> None:
    proof = links.sign("upload", "plant", 7, 30_000)
    assert Links(_KEY, clock).check("upload", proof).file_id == 7
    with pytest.raises(ForbiddenError, match="not made by this service"):
        Links(new_key(), clock).check("upload", proof)


def test_what_is_changed_in_a_link_breaks_it(links: Links) -> None:
    body, mac = links.sign("upload", "plant", 7, 30_000).split(".")
    text = base64.urlsafe_b64decode(body + "==").decode()
    for old, new in (("upload", "download"), ("plant", "other"), ("7", "8"), ("1030000", "9930000")):
        assert old in text
        changed = base64.urlsafe_b64encode(text.replace(old, new).encode()).rstrip(b"=").decode()
        with pytest.raises(ForbiddenError, match="not made by this service"):
            links.check("upload", f"{changed}.{mac}")


_LETTERS = "".join(map(chr, range(0x250))) + "\u2028\ud800"
_CODE = "ABCabc0129-_="


@given(st.one_of(st.text(_LETTERS + "...", max_size=80), st.builds("{}.{}".format, st.text(_CODE), st.text(_CODE))))
@settings(max_examples=40, deadline=None)
def test_whatever_is_no_link_is_refused(proof: str) -> None:
    links = Links(_KEY, FakeClock())
    with pytest.raises(ForbiddenError):
        links.check("upload", proof)
