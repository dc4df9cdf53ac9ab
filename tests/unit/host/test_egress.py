from __future__ import annotations

import asyncio

import pytest

from kvern.host.egress import Egress, destination


@pytest.mark.parametrize(
    "text",
    ["", "a b", "http://x", "x:0", "x:65536", "x:y", "*.", "*", "a.*.b", "1.2.3.4/33", "300.1.1.1", "[::1]:x", "-a.b"],
)
def test_what_is_no_destination_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Expected as a destination"):
        destination(text)


@pytest.mark.parametrize(
    ("text", "host", "port", "allowed"),
    [
        ("192.0.2.1", "192.0.2.1", 80, True),
        ("192.0.2.1:443", "192.0.2.1", 80, False),
        ("192.0.2.0/24:443", "192.0.2.77", 443, True),
        ("192.0.2.0/24", "192.0.3.1", 443, False),
        ("192.0.2.0/24", "::ffff:192.0.2.1", 443, True),
        ("2001:db8::/32", "2001:db8::5", 443, True),
        ("[2001:db8::/32]:443", "2001:db8::5", 80, False),
        ("0.0.0.0/0", "2001:db8::5", 80, False),
        ("example.com", "192.0.2.1", 80, False),
    ],
)
async def test_an_address_is_reached_when_a_network_has_it(text: str, host: str, port: int, allowed: bool) -> None:
    egress = Egress([[destination(text)]], None)
    if allowed:
        assert await egress.addresses(host, port) == [host]
    else:
        with pytest.raises(PermissionError, match="is not on the list"):
            await egress.addresses(host, port)


@pytest.mark.parametrize(
    ("text", "name", "fits"),
    [
        ("Example.com", "example.com", True),
        ("example.com", "www.example.com", False),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "badexample.com", False),
        ("example.com:443", "example.com", True),
        ("example.com:80", "example.com", False),
    ],
)
def test_names_fit_as_they_are_or_below_a_star(text: str, name: str, fits: bool) -> None:
    assert destination(text).has_name(name, 443) is fits


async def test_a_name_that_leads_to_this_machine_itself_needs_its_address_listed_too() -> None:
    with pytest.raises(PermissionError, match="leads to this machine itself"):
        await Egress([[destination("localhost")]], None).addresses("localhost", 80)
    listed = [destination(text) for text in ("localhost", "127.0.0.0/8", "::1")]
    assert await Egress([listed], None).addresses("localhost", 80)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "169.254.169.254", "0.0.0.0", "::1", "fe80::1", "fd00:ec2::254", "100.100.100.200", "168.63.129.16",
     "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1"],
)  # fmt: skip
async def test_what_is_near_must_be_listed_by_itself(address: str) -> None:
    wide = [destination(text) for text in ("0.0.0.0/0", "::/0", "*.example.com")]
    with pytest.raises(PermissionError, match="is not on the list"):
        await Egress([wide], None).addresses(address, 80)


@pytest.mark.parametrize(
    ("entries", "leads_to", "allowed"),
    [
        (["*.example.com"], "10.1.2.3", False),
        (["*.example.com"], "100.64.0.9", False),
        (["*.example.com"], "fd12::1", False),
        (["*.example.com"], "93.184.215.14", True),
        (["*.example.com", "10.0.0.0/8"], "10.1.2.3", True),
        (["a.example.com"], "10.1.2.3", True),
        (["a.example.com"], "169.254.169.254", False),
        (["a.example.com"], "fd00:ec2::254", False),
        (["a.example.com", "0.0.0.0/0"], "127.0.0.1", False),
        (["a.example.com", "127.0.0.1"], "127.0.0.1", True),
    ],
)
async def test_where_a_name_leads_is_judged_too(
    monkeypatch: pytest.MonkeyPatch, entries: list[str], leads_to: str, allowed: bool
) -> None:
    async def look_up(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(None, None, None, "", (leads_to, 80))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up, raising=False)
    egress = Egress([[destination(text) for text in entries]], None)
    if allowed:
        assert await egress.addresses("a.example.com", 80) == [leads_to]
    else:
        with pytest.raises(PermissionError, match="leads to"):
            await egress.addresses("a.example.com", 80)


async def test_both_lists_must_have_it_and_the_service_is_always_reached() -> None:
    lists = [[destination("192.0.2.0/24")], [destination("192.0.2.1")]]
    egress = Egress(lists, ("127.0.0.1", 8000))
    assert await egress.addresses("192.0.2.1", 1) == ["192.0.2.1"]
    assert await egress.addresses("127.0.0.1", 8000) == ["127.0.0.1"]
    for host, port in (("192.0.2.2", 1), ("127.0.0.1", 8001)):
        with pytest.raises(PermissionError):
            await egress.addresses(host, port)
