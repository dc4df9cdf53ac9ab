"""The master key is changed while the service runs; a crash at any moment loses nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from tests.unit.fakes import PROJECT, Plant, plant, until

from kvern.service.functions import LiveFunction
from kvern.store import StoreFault
from kvern.store.vault import FunctionSecrets, Vault
from kvern.wire.errors import InvalidError


def keys(p: Plant) -> list[str]:
    return (p.settings.data_dir / "keys" / "master.key").read_text().split()


def opened(p: Plant, function: LiveFunction) -> dict[str, str]:
    return p.service.functions.secrets(p.service.functions.get(PROJECT, function.record.id)).secrets


async def test_secrets_are_there_after_a_change_and_the_old_key_opens_nothing(p: Plant) -> None:
    function = await p.function(secrets={"word": "mellon"})
    before, (old,) = function.record.vault_key, keys(p)
    done = await p.service.master_key.rotate()
    assert (done.functions, keys(p) != [old], len(keys(p))) == (1, True, 1)
    assert function.record.vault_key != before
    assert opened(p, function) == {"word": "mellon"}
    await p.crash()
    assert opened(p, function) == {"word": "mellon"}
    record = p.service.functions.get(PROJECT, function.record.id).record
    with pytest.raises(ValueError, match="master key"):
        Vault(p.settings.data_dir / "none", old).open(record.vault or b"", record.vault_key or b"")


async def test_a_crash_before_the_keys_are_wrapped_anew_leaves_both(p: Plant) -> None:
    function = await p.function(secrets={"word": "mellon"})
    p.store.refusing = True
    with pytest.raises(StoreFault):
        await p.service.master_key.rotate()
    p.store.refusing = False
    assert len(keys(p)) == 2
    other = await p.function(secrets={"word": "sesame"})
    assert (opened(p, function), opened(p, other)) == ({"word": "mellon"}, {"word": "sesame"})
    await p.crash()
    assert len(keys(p)) == 1, "the next start ends what was begun"
    assert (opened(p, function), opened(p, other)) == ({"word": "mellon"}, {"word": "sesame"})


async def test_functions_that_are_made_meanwhile_have_the_new_key(p: Plant) -> None:
    import asyncio

    made = [p.function(secrets={"n": str(n)}) for n in range(8)]
    functions = [
        one for one in await asyncio.gather(*made, p.service.master_key.rotate()) if isinstance(one, LiveFunction)
    ]
    await p.service.master_key.rotate()
    await p.crash()
    assert [opened(p, function) for function in functions] == [{"n": str(n)} for n in range(8)]


async def test_with_another_master_key_the_service_does_not_start(p: Plant) -> None:
    function = await p.function(secrets={"word": "mellon"})
    (key,) = keys(p)
    file = p.settings.data_dir / "keys" / "master.key"
    await p.service.stop(drain=0)
    for lost in (lambda: file.write_text(fresh()), file.unlink):
        lost()
        with pytest.raises(ValueError, match="secrets of 1 of 1 functions and 0 of 0 sessions") as refusal:
            await p._anew()
        for advice in (str(file), "KVERN_MASTER_KEY", "--without-lost-secrets"):
            assert advice in str(refusal.value)
    file.write_text(key)
    await p._anew()
    assert p.service.functions.get(PROJECT, function.record.id).record.status == "Ready"
    assert opened(p, function) == {"word": "mellon"}


async def test_a_lost_master_key_costs_the_functions_whose_secrets_it_sealed(p: Plant) -> None:
    function = await p.function(secrets={"word": "mellon"})
    await p.service.stop(drain=0)
    (p.settings.data_dir / "keys" / "master.key").write_text(fresh())
    await p._anew(without_lost_secrets=True)
    await until(lambda: p.service.functions.get(PROJECT, function.record.id).record.status == "Failed")
    other = await p.function(secrets={"word": "sesame"})
    assert opened(p, other) == {"word": "sesame"}


def fresh() -> str:
    return Fernet.generate_key().decode()


def test_a_key_from_the_environment_is_changed_by_putting_a_new_one_before_it(tmp_path: Path) -> None:
    path, old, new = tmp_path / "master.key", fresh(), fresh()
    sealed, wrapped = Vault(path, old).seal(FunctionSecrets({"a": "b"}))
    assert not path.exists()
    with pytest.raises(ValueError, match="NEW,OLD"):
        Vault(path, old).begin_rotation()
    vault = Vault(path, f"{new}, {old}\n")
    vault.begin_rotation()
    wrapped = vault.rewrap(wrapped)
    vault.end_rotation()
    assert Vault(path, new).open(sealed, wrapped).secrets == {"a": "b"}
    with pytest.raises(ValueError, match="master key"):
        Vault(path, old).open(sealed, wrapped)


def test_a_key_can_move_from_the_file_to_the_environment(tmp_path: Path) -> None:
    path, new = tmp_path / "master.key", fresh()
    sealed, wrapped = Vault(path).seal(FunctionSecrets({"a": "b"}))
    assert path.stat().st_mode & 0o777 == 0o600
    vault = Vault(path, new)
    assert vault.open(sealed, wrapped).secrets == {"a": "b"}
    vault.begin_rotation()
    wrapped = vault.rewrap(wrapped)
    vault.end_rotation()
    assert not path.exists()
    assert Vault(path, new).open(sealed, wrapped).secrets == {"a": "b"}


@pytest.mark.parametrize("bad", ["short", "", "ä" * 44, f"{'A' * 43}=,short"])
def test_a_key_that_is_none_is_refused(tmp_path: Path, bad: str) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Vault(tmp_path / "master.key", bad)


async def test_the_only_key_of_the_environment_stays(tmp_path: Path) -> None:
    async with plant(tmp_path / "data") as p:
        p.service.master_key._vault = Vault(tmp_path / "none", fresh())
        with pytest.raises(InvalidError, match="KVERN_MASTER_KEY"):
            await p.service.master_key.rotate()
