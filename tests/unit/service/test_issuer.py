"""The built-in issuer: which tokens are good, until when, and what makes them worthless."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.fakes import PROJECT, Plant

from kvern.service.authority import TOKEN_MOST, Authorities
from kvern.service.clients import Credentials
from kvern.service.clock import FakeClock
from kvern.service.issuer import TOKEN_SECONDS
from kvern.wire.clients import ClientIds
from kvern.wire.errors import UnauthenticatedError


def key_of(p: Plant) -> Any:
    """The service's own signing key: to make tokens that are wrong in one thing only."""
    return serialization.load_pem_private_key((p.settings.data_dir / "keys" / "issuer.pem").read_bytes(), None)


def claims_of(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


def part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


async def refused(p: Plant, token: str) -> str:
    with pytest.raises(UnauthenticatedError) as caught:
        await p.known(token)
    assert p.service.authorities.known(token) is None
    return caught.value.message


# Good tokens


async def test_a_token_tells_who_it_is_and_what_it_may_do(p: Plant) -> None:
    who = await p.known(p.token)
    assert (who.subject, who.project, who.session_id) == (p.who.subject, PROJECT, None)
    assert who.may("functionsAcl:WRITE")
    assert who.expires == p.clock.now() + TOKEN_SECONDS * 1000


async def test_a_token_is_good_for_an_hour_by_the_services_clock(p: Plant) -> None:
    await p.clock.advance(TOKEN_SECONDS * 1000 - 1)
    await p.known(p.token)
    await p.clock.advance(1)
    for _ in range(2):
        with pytest.raises(UnauthenticatedError, match="expired"):
            await p.known(p.token)


async def test_a_token_that_was_never_seen_expires_as_well(p: Plant) -> None:
    _, token = await p.login()
    p.service.authorities._known.clear()
    await p.clock.advance(TOKEN_SECONDS * 1000)
    assert "expired" in await refused(p, token)


async def test_tokens_hold_after_a_restart(p: Plant) -> None:
    await p.restart()
    assert (await p.known(p.token)).subject == p.who.subject


async def test_tokens_of_another_service_do_not(p: Plant, tmp_path: Path) -> None:
    from tests.unit.fakes import plant

    async with plant(tmp_path / "other") as other:
        assert "not made by this service" in await refused(p, other.token)


async def test_a_token_holds_no_capabilities_and_no_secret(p: Plant) -> None:
    assert set(claims_of(p.token)) == {"iss", "aud", "iat", "exp", "sub"}


async def test_the_signing_key_is_for_its_owner_only(p: Plant) -> None:
    key = p.settings.data_dir / "keys" / "issuer.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700


# Tokens that are not good


async def test_a_changed_token_is_refused(p: Plant) -> None:
    header, body, signature = p.token.split(".")
    later = part({**claims_of(p.token), "exp": 4_000_000_000})
    other = part({**claims_of(p.token), "sub": "somebody"})
    flipped = signature[:10] + ("A" if signature[10] != "A" else "B") + signature[11:]
    for changed in (f"{header}.{later}.{signature}", f"{header}.{other}.{signature}", f"{header}.{body}.{flipped}"):
        assert "not made by this service" in await refused(p, changed)


async def test_an_unsigned_token_is_refused(p: Plant) -> None:
    claims = claims_of(p.token)
    body = p.token.split(".")[1]
    for algorithm in ("none", "None", "NONE"):
        for signature in ("", p.token.split(".")[2]):
            await refused(p, f"{part({'alg': algorithm, 'typ': 'JWT'})}.{body}.{signature}")
    await refused(p, jwt.encode(claims, None, algorithm="none"))


async def test_a_token_signed_with_another_key_is_refused(p: Plant) -> None:
    await refused(p, jwt.encode(claims_of(p.token), ec.generate_private_key(ec.SECP256R1()), algorithm="ES256"))


async def test_a_token_signed_with_the_public_key_as_a_password_is_refused(p: Plant) -> None:
    """The old trick: the public key is no secret, so an HMAC with it must not count as a signature."""
    import hashlib
    import hmac

    public = (
        key_of(p).public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    signed = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{p.token.split('.')[1]}"
    mac = base64.urlsafe_b64encode(hmac.digest(public, signed.encode(), hashlib.sha256)).rstrip(b"=").decode()
    await refused(p, f"{signed}.{mac}")


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "other"},
        {"aud": None},
        {"iss": "other"},
        {"iss": None},
        {"exp": None},
        {"exp": "soon"},
        {"sub": None},
        {"sub": 7},
        {"sub": "nobody"},
        {"sid": 4711},
        {"sid": "4711"},
    ],
    ids=str,
)
async def test_well_signed_but_wrong_in_one_claim(p: Plant, changes: dict[str, Any]) -> None:
    claims = {**claims_of(p.token), **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    await refused(p, jwt.encode(claims, key_of(p), algorithm="ES256"))


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "Bearer",
        "é.é.é",
        "\ud800",
        "a" * (TOKEN_MOST + 1),
        "e30.e30.e30",
        "null.null.null",
    ],
    ids=lambda token: f"{token[:12]!r}",
)
async def test_what_is_no_token_at_all(p: Plant, token: str) -> None:
    await refused(p, token)


@given(st.text('abcXYZ019-_=.\u00e9 {}"', max_size=80))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_text_is_refused_never_a_fault(text: str) -> None:
    with pytest.raises(UnauthenticatedError):
        await Authorities(FakeClock(), lambda _: True).verify(text)


# Clients


async def test_a_client_is_known_by_its_id_and_secret_together(p: Plant) -> None:
    made = await p.service.clients.add(PROJECT, "mine")
    assert p.service.clients.authenticate(made).client_id == made.client_id
    messages: set[str] = set()
    for wrong in (
        Credentials(made.client_id, "wrong"),
        Credentials(made.client_id, ""),
        Credentials("nobody", made.client_secret),
        Credentials("", ""),
        Credentials("é\ud7ff", "é"),
    ):
        with pytest.raises(UnauthenticatedError) as caught:
            p.service.clients.authenticate(wrong)
        messages.add(caught.value.message)
    assert len(messages) == 1


async def test_clients_are_there_after_a_crash_and_their_secrets_nowhere(p: Plant) -> None:
    from kvern.store import clients

    made = await p.service.clients.add(PROJECT, "mine")
    await p.crash()
    assert p.service.clients.authenticate(made).name == "mine"
    assert made.client_secret not in repr(await p.store.read(clients.everything))
    assert made.client_secret not in repr(made)


async def test_the_tokens_of_a_client_that_was_removed_are_worthless_at_once(p: Plant) -> None:
    made = await p.service.clients.add(PROJECT, "mine")
    token = p.service.issuer.client_token(p.service.clients.authenticate(made))
    await p.known(token)
    await p.service.clients.remove(p.who, ClientIds(items=[made.client_id]))
    assert "does not exist any more" in await _message(p, token)
    with pytest.raises(UnauthenticatedError):
        p.service.clients.authenticate(made)
    await p.restart()
    assert "does not exist any more" in await _message(p, token)


async def _message(p: Plant, token: str) -> str:
    with pytest.raises(UnauthenticatedError) as caught:
        await p.known(token)
    return caught.value.message


async def test_many_tokens_do_not_fill_the_memory(p: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    from kvern.service import authority

    monkeypatch.setattr(authority, "_KNOWN", 3)
    record: Any = p.service.clients.get(p.who.subject)
    for seconds in range(6):
        p.clock._now += 1000
        await p.known(p.service.issuer.client_token(record))
        assert len(p.service.authorities._known) <= 3, seconds
    assert (await p.known(p.token)).subject == p.who.subject
