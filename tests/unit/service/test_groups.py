"""Groups and clients: who may give what to whom (contract 2, 8)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.fakes import PROJECT, Plant, acls, plant

from kvern.service.clients import Credentials
from kvern.service.identity import Principal
from kvern.service.projects import GroupSettings, IssuerSettings, Project, Projects
from kvern.wire import clients as wire_clients
from kvern.wire.errors import ApiError, ForbiddenError, InvalidError, UnauthenticatedError, UnknownItemsError
from kvern.wire.groups import GroupWrite, GroupWrites

SCOPED: list[dict[str, Any]] = [{"filesAcl": {"actions": ["READ"], "scope": {"datasetScope": {"ids": [1, 2]}}}}]


def group(capabilities: list[dict[str, Any]], **fields: Any) -> GroupWrite:
    return GroupWrite(name=fields.pop("name", "a group"), capabilities=capabilities, **fields)


def holding(*capabilities: dict[str, Any]) -> Principal:
    return Principal("admin", PROJECT, msgspec.json.encode(list(capabilities)).decode(), 2**52)


async def test_groups_are_given_back_as_they_came(p: Plant) -> None:
    foreign: dict[str, Any] = {"timeSeriesAcl": {"actions": ["READ"], "scope": {"assetRootIdScope": {"rootIds": [7]}}}}
    wanted = group([*SCOPED, foreign], source_id="7f-2c", metadata={"Key_x": "v"})
    (made,) = await p.service.groups.create(p.who, [wanted])
    assert msgspec.to_builtins(made) == {
        "id": made.id,
        "name": "a group",
        "capabilities": [*SCOPED, foreign],
        "sourceId": "7f-2c",
        "metadata": {"Key_x": "v"},
        "isDeleted": False,
    }
    assert made in p.service.groups.listed(p.who, everyone=True)
    await p.crash()
    assert made in p.service.groups.listed(p.who, everyone=True)
    await p.service.groups.delete(p.who, [made.id])
    assert made not in p.service.groups.listed(p.who, everyone=True)


@pytest.mark.parametrize(
    ("acl", "told"),
    [
        ({"functionAcl": {"actions": ["READ"], "scope": {"all": {}}}}, "functionAcl"),
        ({"functionsAcl": {"actions": ["FLY"], "scope": {"all": {}}}}, "FLY"),
        ({"functionsAcl": {"actions": [], "scope": {"all": {}}}}, "length >= 1"),
        ({"functionsAcl": {"actions": ["READ"]}}, "scope"),
        ({"functionsAcl": {"actions": ["READ"], "scope": {"datasetScope": {"ids": [1]}}}}, "datasetScope"),
        ({"filesAcl": {"actions": ["READ"], "scope": {"datasetScope": {"ids": ["x"]}}}}, "'x'"),
        ({"filesAcl": {"actions": ["READ"], "scope": {"datasetScope": {}}}}, "ids"),
        ({"filesAcl": {"actions": ["READ"], "scope": {"all": {}, "datasetScope": {"ids": [1]}}}}, "one scope"),
        ({"groupsAcl": {"actions": ["LIST"], "scope": {"idScope": {"ids": [1]}}}}, "idScope"),
        ({**acls(["functionsAcl:READ"])[0], **acls(["filesAcl:READ"])[0]}, "one capability"),
        ({}, "one capability"),
        (["functionsAcl"], "object"),
    ],
)
def test_capabilities_that_mean_nothing_are_refused(acl: Any, told: str) -> None:
    body = msgspec.json.encode({"items": [{"name": "g", "capabilities": [acl]}]})
    with pytest.raises(msgspec.ValidationError) as refusal:
        msgspec.json.decode(body, type=GroupWrites)
    assert told in str(refusal.value)


@pytest.mark.parametrize(
    "acl",
    [
        {"datasetsAcl": {"actions": ["READ", "OWNER"], "scope": {"idScope": {"ids": [1, "2"]}}}},
        {"datasetsAcl": {"actions": ["READ"], "scope": {"idscope": {"ids": [1]}}}},
        {"groupsAcl": {"actions": ["LIST"], "scope": {"currentuserscope": {}}}},
        {"rawAcl": {"actions": ["READ"], "scope": {"tableScope": {"dbsToTables": {"d": ["t"]}}}}},
        SCOPED[0],
    ],
)
def test_capabilities_of_every_kind_are_taken(acl: dict[str, Any]) -> None:
    body = msgspec.json.encode({"items": [{"name": "g", "capabilities": [acl]}]})
    assert msgspec.json.decode(body, type=GroupWrites).items[0].capabilities == [acl]


def test_members_are_refused_as_nobody_would_belong() -> None:
    with pytest.raises(msgspec.ValidationError, match="sourceId"):
        msgspec.json.decode(b'{"items":[{"name":"g","members":["alice"]}]}', type=GroupWrites)


ALL_FILES, OWN_GROUPS = (
    acls(["filesAcl:READ"])[0],
    {"groupsAcl": {"actions": ["CREATE"], "scope": {"currentuserscope": {}}}},
)


@pytest.mark.parametrize(
    ("holds", "gives", "may"),
    [
        ([*acls(["groupsAcl:CREATE"])], [ALL_FILES], True),
        ([OWN_GROUPS], [ALL_FILES], False),
        ([OWN_GROUPS, ALL_FILES], [ALL_FILES], True),
        ([OWN_GROUPS, ALL_FILES], SCOPED, True),
        ([OWN_GROUPS, *SCOPED], SCOPED, True),
        ([OWN_GROUPS, *SCOPED], [ALL_FILES], False),
        ([OWN_GROUPS, *SCOPED], acls(["filesAcl:WRITE"]), False),
        ([OWN_GROUPS], acls(["groupsAcl:CREATE"]), False),
        ([OWN_GROUPS], [], True),
    ],
)
async def test_who_may_give_what(p: Plant, holds: list[Any], gives: list[Any], may: bool) -> None:
    before = len(p.service.groups.listed(p.who, everyone=True))
    if may:
        await p.service.groups.create(holding(*holds), [group(gives)])
    else:
        with pytest.raises(ForbiddenError):
            await p.service.groups.create(holding(*holds), [group([]), group(gives)])
    assert (len(p.service.groups.listed(p.who, everyone=True)) > before) is may


async def test_one_unknown_group_and_nothing_is_deleted(p: Plant) -> None:
    (made,) = await p.service.groups.create(p.who, [group([])])
    (others,) = await p.service.groups.create(Principal("x", "lab", "[]", 2**52), [group([])])
    for wrong in (2**53 - 1, others.id):
        with pytest.raises(UnknownItemsError) as refusal:
            await p.service.groups.delete(p.who, [made.id, wrong])
        assert refusal.value.missing == [{"id": wrong}]
    assert made in p.service.groups.listed(p.who, everyone=True)


async def test_a_right_that_is_limited_to_ones_own_groups_deletes_no_others(p: Plant) -> None:
    (made,) = await p.service.groups.create(p.who, [group([])])
    own: dict[str, Any] = {"groupsAcl": {"actions": ["DELETE"], "scope": {"currentuserscope": {}}}}
    with pytest.raises(ForbiddenError):
        await p.service.groups.delete(holding(own), [made.id])
    assert made in p.service.groups.listed(p.who, everyone=True)
    await p.service.groups.delete(replace(holding(own), groups=(made.id,)), [made.id])
    assert made not in p.service.groups.listed(p.who, everyone=True)


async def test_a_client_is_alone_in_a_group_that_goes_when_it_does(p: Plant) -> None:
    (own,) = p.service.groups.listed(p.who, everyone=False)
    assert (own.id, own.name, own.capabilities) == (p.who.groups[0], "a client", p.who.acls)
    with pytest.raises(InvalidError, match="goes when the client does"):
        await p.service.groups.delete(p.who, [own.id])
    await p.service.clients.remove(p.who, wire_clients.ClientIds(items=[p.who.subject]))
    assert own.id not in [one.id for one in p.service.groups.listed(p.who, everyone=True)]


def from_file(**groups: list[str]) -> Projects:
    made = {name: GroupSettings(source_id=name, capabilities=list(words)) for name, words in groups.items()}
    issuer = IssuerSettings(issuer="https://login.example", audience="a")
    return Projects(PROJECT, {PROJECT: Project(issuers=(issuer,), groups=made)})


async def test_groups_of_the_file_keep_their_ids_and_follow_the_file(tmp_path: Path) -> None:
    async with plant(tmp_path / "data", projects=from_file(ops=["functions:run"], gone=["files:read"])) as p:
        first = {one.name: one for one in p.service.groups.listed(p.who, everyone=True) if one.source_id}
        assert set(first) == {"ops", "gone"}
        with pytest.raises(InvalidError, match=r"kvern\.toml"):
            await p.service.groups.delete(p.who, [first["ops"].id])
        p.projects = from_file(ops=["functions:read"], new=["files:read"])
        await p.restart()
        second = {one.name: one for one in p.service.groups.listed(p.who, everyone=True) if one.source_id}
        assert set(second) == {"ops", "new"}
        assert second["ops"].id == first["ops"].id
        assert second["ops"].capabilities == acls(["functionsAcl:READ"])
        assert second["new"].id not in [one.id for one in first.values()]


# Clients


async def test_a_client_acts_with_its_capabilities_until_it_is_removed(p: Plant) -> None:
    body = wire_clients.ClientWrite(name="dash", capabilities=acls(["functionsAcl:READ"]))
    made = await p.service.clients.add_for(p.who, body)
    assert made.client_secret is not None
    record = p.service.clients.authenticate(Credentials(made.client_id, made.client_secret))
    token = p.service.issuer.client_token(record)
    who = await p.known(token)
    assert (who.may("functionsAcl:READ"), who.may("functionsAcl:WRITE")) == (True, False)
    assert all(one.client_secret is None for one in p.service.clients.listed(p.who, None))
    await p.service.clients.remove(p.who, wire_clients.ClientIds(items=[made.client_id]))
    with pytest.raises(UnauthenticatedError):
        await p.known(token)
    with pytest.raises(UnauthenticatedError):
        p.service.clients.authenticate(Credentials(made.client_id, made.client_secret))


async def test_secrets_are_kept_as_hashes_only(p: Plant) -> None:
    made = await p.service.clients.add(PROJECT, "x")
    dumped = await p.store.read(
        lambda connection: "\n".join(connection.connection.dbapi_connection.iterdump())  # type: ignore[union-attr]
    )
    assert made.client_id in dumped
    assert made.client_secret not in dumped
    assert made.client_secret not in repr(made)


async def test_the_old_secret_is_good_for_the_overlap(p: Plant) -> None:
    old = await p.service.clients.add(PROJECT, "x")
    rotation = wire_clients.ClientRotation(client_id=old.client_id, overlap_seconds=60)
    new = await p.service.clients.rotate(p.who, rotation)
    fresh = Credentials(old.client_id, new.client_secret or "")
    for good in (old, fresh):
        assert p.service.clients.authenticate(good)
    await p.clock.advance(60_000)
    assert p.service.clients.authenticate(fresh)
    with pytest.raises(UnauthenticatedError):
        p.service.clients.authenticate(old)
    await p.service.clients.rotate(p.who, wire_clients.ClientRotation(client_id=old.client_id))
    with pytest.raises(UnauthenticatedError):
        p.service.clients.authenticate(fresh)


async def test_clients_of_other_projects_are_the_operators(tmp_path: Path) -> None:
    async with plant(tmp_path / "data", projects=Projects(PROJECT, {"lab": Project()})) as p:
        clients = p.service.clients
        body = wire_clients.ClientWrite(
            name="labby", capabilities=acls(["projectsAcl:UPDATE", "projectsAcl:CREATE"]), project="lab"
        )
        made = await clients.add_for(p.who, body)
        assert made.project == "lab"
        assert made.client_id not in [one.client_id for one in clients.listed(p.who, None)]
        token = p.service.issuer.client_token(
            clients.authenticate(Credentials(made.client_id, made.client_secret or ""))
        )
        labby = (await p.service.authorities.verify(token)).principals["lab"]
        assert [one.client_id for one in clients.listed(labby, "lab")] == [made.client_id]
        for who, project in ((labby, PROJECT), (labby, "nowhere"), (p.principal("projectsAcl:UPDATE"), "lab")):
            with pytest.raises(ForbiddenError):
                clients.listed(who, project)
        with pytest.raises(InvalidError, match=r"kvern\.toml"):
            clients.listed(p.who, "nowhere")
        with pytest.raises(UnknownItemsError):
            await clients.remove(labby, wire_clients.ClientIds(items=[p.who.subject]))
        with pytest.raises(UnknownItemsError):
            await clients.rotate(labby, wire_clients.ClientRotation(client_id=p.who.subject))


async def test_nobody_gets_by_a_client_what_they_do_not_have(p: Plant) -> None:
    who = p.principal("projectsAcl:UPDATE", "functionsAcl:READ")
    modest = wire_clients.ClientWrite(name="x", capabilities=acls(["functionsAcl:READ"]))
    greedy = wire_clients.ClientWrite(name="x", capabilities=acls(["functionsAcl:READ", "functionsAcl:WRITE"]))
    assert await p.service.clients.add_for(who, modest)
    for attempt in (
        p.service.clients.add_for(who, greedy),
        p.service.clients.rotate(who, wire_clients.ClientRotation(client_id=p.who.subject)),
    ):
        with pytest.raises(ApiError) as refusal:
            await attempt
        assert refusal.value.code == 403
