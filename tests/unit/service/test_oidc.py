"""Tokens of foreign issuers: which are believed, which are not, and what they open (contract 1.2)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.fakes import PROJECT, Plant, acls, plant
from tests.unit.issuers import AUDIENCE, FakeHttp, FakeIssuer, bad_tokens, jwk

from kvern.service.clock import FakeClock
from kvern.service.oidc_keys import FRESH_MS, RETRY_MS, STALE_MS
from kvern.service.projects import GroupSettings, IssuerSettings, Project, Projects
from kvern.wire.errors import ApiError, UnauthenticatedError, UnavailableError
from kvern.wire.groups import GroupWrite

PLANT, LAB = "https://login.plant.example/v2.0", "https://id.lab.example"
OPERATORS = GroupSettings(source_id="ops", capabilities=["functions:read,run"])
HOUR = 3_600_000


class Site:
    """A service with two projects and an issuer for each."""

    def __init__(self, p: Plant, plant_issuer: FakeIssuer, lab_issuer: FakeIssuer) -> None:
        self.p, self.plant, self.lab = p, plant_issuer, lab_issuer

    async def verify(self, token: str) -> Any:
        authorities = self.p.service.authorities
        return authorities.known(token) or await authorities.verify(token)

    async def refused(self, token: str) -> str:
        with pytest.raises(UnauthenticatedError) as refusal:
            await self.verify(token)
        assert "BEGIN" not in refusal.value.message
        return refusal.value.message


def settings(issuer: str, **more: Any) -> IssuerSettings:
    return IssuerSettings(issuer=issuer, audience=AUDIENCE, **more)


async def site(folder: Path, **more: Any) -> AsyncIterator[Site]:
    clock = FakeClock(1_800_000_000_000)
    ours, theirs = FakeIssuer(PLANT, clock), FakeIssuer(LAB, clock)
    ours.groups["alice"] = theirs.groups["alice"] = ["ops"]
    projects = Projects(
        PROJECT,
        {
            "plant-7": Project(issuers=(settings(PLANT, **more),), groups={"operators": OPERATORS}),
            "lab": Project(issuers=(settings(LAB),), groups={"scientists": OPERATORS}),
        },
    )
    async with plant(folder, projects=projects, http=FakeHttp(ours, theirs)) as p:
        p.clock._now = clock._now
        ours.clock = theirs.clock = p.clock
        yield Site(p, ours, theirs)


@pytest.fixture
async def s(tmp_path: Path) -> AsyncIterator[Site]:
    async for made in site(tmp_path / "data"):
        yield made


# Good ones


@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS256", "PS384", "ES256", "ES384", "ES512", "EdDSA"])
async def test_a_token_is_good_in_the_projects_that_trust_its_issuer(s: Site, algorithm: str) -> None:
    s.plant.keys = [jwk(algorithm, "one")]
    identity = await s.verify(s.plant.token(algorithm=algorithm))
    assert identity.subject == "alice"
    assert list(identity.principals) == ["plant-7"]
    who = identity.principals["plant-7"]
    assert (who.issuer, who.may("functionsAcl:RUN"), who.may("functionsAcl:WRITE")) == (PLANT, True, False)


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("groups", ["x", "ops"]),
        ("groups", "x ops"),
        ("realm_access.roles", {"realm_access": {"roles": ["ops"]}}),
        ("https://plant.example/groups", {"https://plant.example/groups": ["ops"]}),
    ],
)
async def test_groups_are_found_wherever_the_issuer_puts_them(tmp_path: Path, claim: str, value: Any) -> None:
    async for s in site(tmp_path / "data", groups_claim=claim):
        given = value if isinstance(value, dict) else {"groups": value}
        identity = await s.verify(s.plant.token("bob", **{"groups": None, **given}))
        assert identity.principals["plant-7"].may("functionsAcl:RUN")


@pytest.mark.parametrize("groups", [None, [], "", ["Ops"], [["ops"]], {"ops": True}, 7, ["ops\x00"]])
async def test_without_a_group_that_is_mapped_nothing_is_open(s: Site, groups: Any) -> None:
    identity = await s.verify(s.plant.token("bob", groups=groups))
    assert identity.principals == {}
    assert identity.inspection().projects == []


async def test_the_subject_may_be_another_claim(tmp_path: Path) -> None:
    async for s in site(tmp_path / "data", subject_claim="appid", name_claim="app_displayname"):
        who = (await s.verify(s.plant.token(appid="app-1", app_displayname="App"))).principals["plant-7"]
        assert (who.subject, who.name) == ("app-1", "App")
        assert "`appid`" in await s.refused(s.plant.token())


async def test_one_of_several_audiences_suffices(s: Site) -> None:
    assert (await s.verify(s.plant.token(aud=["other", AUDIENCE]))).principals
    s.plant.keys = [jwk("ES256", None)]
    await s.p.clock.advance(FRESH_MS + 1)
    assert (await s.verify(s.plant.token())).principals


async def test_a_known_token_is_not_verified_again(s: Site) -> None:
    token = s.plant.token()
    first = await s.verify(token)
    s.plant.keys, s.plant.down = [], True
    assert s.p.service.authorities.known(token) is first


# Bad ones


async def test_the_corpus_of_bad_tokens(s: Site) -> None:
    """Each is refused with 401, whatever it tries, and asks the issuer for nothing that it names itself."""
    good, corpus = bad_tokens(s.plant, elsewhere=LAB)
    assert len(corpus) > 60
    assert (await s.verify(good)).subject == "alice"
    for what, token in corpus.items():
        with pytest.raises(UnauthenticatedError):
            await s.verify(token)
            pytest.fail(what)
    assert all(url.startswith((PLANT, LAB)) for issuer in (s.plant, s.lab) for url in issuer.fetched)
    assert len(s.plant.fetched) <= 3, "unknown key ids cost one more look at the keys, not one each"


async def test_an_algorithm_that_is_not_allowed_is_not_used(tmp_path: Path) -> None:
    async for s in site(tmp_path / "data", algorithms=("RS256",)):
        assert "RS256" in await s.refused(s.plant.token(algorithm="ES256"))


async def test_a_key_is_used_for_the_algorithm_it_is_for(s: Site) -> None:
    s.plant.keys = [jwk("RS256", "one", alg="RS512")]
    await s.refused(s.plant.token(algorithm="RS256"))
    assert await s.verify(s.plant.token(algorithm="RS512"))


async def test_without_a_key_id_there_must_be_no_choice(s: Site) -> None:
    s.plant.keys = [jwk("ES256", "one"), jwk("ES256", "two", "two")]
    await s.refused(s.plant.token(headers={"kid": None}))


async def test_a_clock_may_be_off_by_the_leeway(s: Site) -> None:
    now = s.p.clock.now() // 1000
    for good in ({"exp": now - 9}, {"nbf": now + 9}, {"iat": now + 9}):
        assert await s.verify(s.plant.token(**good))
    for bad in ({"exp": now - 10}, {"nbf": now + 11}, {"iat": now + 11}):
        await s.refused(s.plant.token(**bad))


async def test_one_issuer_never_speaks_for_another(s: Site) -> None:
    """Both have a key of the same id; each token opens only what its own issuer may open."""
    s.lab.keys = [jwk("ES256", "one", "lab")]
    assert list((await s.verify(s.lab.token(key="lab"))).principals) == ["lab"]
    await s.refused(s.lab.token(key="one"))
    await s.refused(s.plant.token(key="lab"))
    await s.refused(s.plant.token(iss=LAB))


async def test_groups_of_two_issuers_of_a_project_are_kept_apart(tmp_path: Path) -> None:
    clock = FakeClock()
    ours, theirs = FakeIssuer(PLANT, clock), FakeIssuer(LAB, clock)
    project = Project(
        issuers=(settings(PLANT), settings(LAB, group_prefix="lab:")),
        groups={
            "ours": OPERATORS,
            "theirs": GroupSettings(source_id="lab:ops", capabilities=["files:read"]),
        },
    )
    async with plant(
        tmp_path / "data", projects=Projects(PROJECT, {PROJECT: project}), http=FakeHttp(ours, theirs)
    ) as p:
        ours.clock = theirs.clock = p.clock
        for issuer, groups, may in (
            (ours, ["ops"], {"functionsAcl:READ", "functionsAcl:RUN"}),
            (ours, ["lab:ops"], set[str]()),
            (theirs, ["ops"], {"filesAcl:READ"}),
            (theirs, ["lab:ops"], set[str]()),
        ):
            identity = await p.service.authorities.verify(issuer.token("eve", groups=groups))
            who = identity.principals.get(PROJECT)
            assert (set() if who is None else set(who.granted.actions)) == may


# Keys


async def test_a_rotated_key_is_found_and_the_old_one_goes(s: Site) -> None:
    old = s.plant.token("carol")
    assert await s.verify(s.plant.token())
    await s.p.clock.advance(RETRY_MS)
    s.plant.keys = [jwk("ES256", "two", "two")]
    assert await s.verify(s.plant.token(key="two", headers={"kid": "two"}))
    await s.refused(old)


@pytest.mark.parametrize("kid", ["one", None])
async def test_a_key_that_changed_under_its_old_name_is_found(s: Site, kid: str | None) -> None:
    s.plant.keys = [jwk("ES256", kid)]
    assert await s.verify(s.plant.token(headers={"kid": kid}))
    await s.p.clock.advance(RETRY_MS)
    s.plant.keys = [jwk("ES256", kid, "two")]
    assert await s.verify(s.plant.token(key="two", headers={"kid": kid}))
    before = len(s.plant.fetched)
    for number in range(20):
        await s.refused(s.plant.token(f"n{number}", key="three", headers={"kid": kid}))
    assert len(s.plant.fetched) == before


async def test_unknown_key_ids_do_not_make_the_issuer_busy(s: Site) -> None:
    await s.verify(s.plant.token())
    before = len(s.plant.fetched)
    for number in range(50):
        await s.refused(s.plant.token(headers={"kid": f"k{number}"}))
    assert len(s.plant.fetched) == before
    await s.p.clock.advance(RETRY_MS)
    await s.refused(s.plant.token(headers={"kid": "k"}))
    assert len(s.plant.fetched) == before + 1


async def test_while_the_issuer_is_down_its_last_keys_are_good_for_a_day(s: Site) -> None:
    assert await s.verify(s.plant.token())
    s.plant.down = True
    await s.p.clock.advance(STALE_MS - HOUR)
    assert await s.verify(s.plant.token("bob"))
    await s.p.clock.advance(2 * HOUR)
    with pytest.raises(UnavailableError):
        await s.verify(s.plant.token("carol"))
    s.plant.down = False
    await s.p.clock.advance(RETRY_MS)
    assert await s.verify(s.plant.token("carol"))


async def test_an_issuer_that_was_never_reached_makes_nobody_good_and_nobody_bad(s: Site) -> None:
    s.plant.down = True
    with pytest.raises(ApiError) as refusal:
        await s.verify(s.plant.token())
    assert (refusal.value.code, PLANT in refusal.value.message) == (503, True)
    assert (await s.verify(s.lab.token())).principals


@pytest.mark.parametrize(
    "garbage",
    [
        {"keys": "none"},
        {"keys": []},
        {"keys": [7, None, "x", {}]},
        {"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "one"}]},
        {"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "one", "alg": "HS256"}]},
        {"keys": [{"kty": "EC", "crv": "P-256", "x": "!", "y": "!", "kid": "one"}]},
        {"keys": [{**jwk("ES256", "one"), "use": "enc"}]},
        {"keys": [{**jwk("ES256", "one"), "key_ops": ["sign"]}]},
        {"nothing": 1},
    ],
)
async def test_garbage_among_the_keys_is_passed_over(s: Site, garbage: dict[str, Any]) -> None:
    s.plant.keys = garbage
    with pytest.raises(ApiError) as refusal:
        await s.verify(s.plant.token())
    assert refusal.value.code == 503
    s.plant.keys = (
        {"keys": [*(garbage.get("keys") or []), jwk("ES256", "one")]}
        if garbage.get("keys") != "none"
        else [jwk("ES256", "one")]
    )
    await s.p.clock.advance(RETRY_MS)
    assert await s.verify(s.plant.token())


async def test_garbage_does_not_take_the_place_of_good_keys(s: Site) -> None:
    assert await s.verify(s.plant.token())
    s.plant.keys = {"keys": "none"}
    await s.p.clock.advance(FRESH_MS + 1)
    assert await s.verify(s.plant.token("bob"))
    assert await s.verify(s.plant.token("carol"))


@pytest.mark.parametrize("name", ["issuer", "jwks_uri"])
async def test_an_issuer_that_describes_another_is_not_believed(s: Site, name: str) -> None:
    s.plant.metadata[name] = "http://evil.example"
    with pytest.raises(UnavailableError):
        await s.verify(s.plant.token())


# Time and change


async def test_a_known_token_ends_when_it_expires(tmp_path: Path) -> None:
    async for s in site(tmp_path / "data", leeway_seconds=0):
        token = s.plant.token(exp=s.p.clock.now() // 1000 + 60)
        assert await s.verify(token)
        await s.p.clock.advance(59_999)
        assert await s.verify(token)
        await s.p.clock.advance(1)
        assert "expired" in await s.refused(token)
        assert "expired" in await s.refused(token)


async def test_a_known_token_may_at_once_what_its_groups_allow_now(s: Site) -> None:
    token = s.plant.token(groups=["auditors"])
    assert (await s.verify(token)).principals == {}
    admin = s.p.principal("groupsAcl:CREATE", project="plant-7")
    wanted = GroupWrite(name="auditors", source_id="auditors", capabilities=acls(["functionsAcl:READ"]))
    (made,) = await s.p.service.groups.create(admin, [wanted])
    who = (await s.verify(token)).principals["plant-7"]
    assert (who.groups, who.may("functionsAcl:READ")) == ((made.id,), True)
    await s.p.service.groups.delete(admin, [made.id])
    assert (await s.verify(token)).principals == {}


async def test_a_token_inspects_to_all_projects_that_it_opens(tmp_path: Path) -> None:
    clock = FakeClock()
    issuer = FakeIssuer(PLANT, clock)
    trusting = Project(issuers=(settings(PLANT),), groups={"operators": OPERATORS})
    more = Project(
        issuers=(settings(PLANT),),
        groups={"o": OPERATORS, "p": GroupSettings(source_id="ops", capabilities=["files:read"])},
    )
    projects = Projects(PROJECT, {"one": trusting, "two": more})
    async with plant(tmp_path / "data", projects=projects, http=FakeHttp(issuer)) as p:
        issuer.clock = p.clock
        seen = (await p.service.authorities.verify(issuer.token(groups=["ops"]))).inspection()
        assert [one.project_url_name for one in seen.projects] == ["one", "two"]
        assert [len(one.groups) for one in seen.projects] == [1, 2]
        scopes = [(next(iter(acl)), acl["projectScope"]["projects"]) for acl in seen.capabilities]
        assert scopes == [("functionsAcl", ["one", "two"]), ("filesAcl", ["two"])]
