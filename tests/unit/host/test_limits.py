from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from kvern.host.cgroups import Hierarchy, find
from kvern.host.limits import Allowance, Limits, megabytes
from kvern.sandbox import Mount, users

REAL = find()


@pytest.fixture
def groups(tmp_path: Path) -> Hierarchy:
    return Hierarchy(2, dict.fromkeys(("memory", "pids", "cpu"), tmp_path))


def test_with_control_groups_the_kernel_holds_memory_and_processes(groups: Hierarchy, tmp_path: Path) -> None:
    limits = Limits(Allowance(pids=5), groups)
    assert set(limits.rlimits(1000)) == {"RLIMIT_CORE", "RLIMIT_NOFILE", "RLIMIT_FSIZE"}
    assert limits.describe()["memory"] == "cgroup v2"
    seat, other = limits.seat(1000, 1.0), limits.seat(1000, 1.0)
    assert not seat.watched
    assert seat.group is not None
    assert other.group is not None
    assert seat.group.paths != other.group.paths
    assert len({path.parent for path in seat.group.paths + other.group.paths}) == 1


@pytest.mark.skipif(REAL is None, reason="control groups cannot be made here")
def test_what_is_left_of_seats_is_killed_and_removed_at_the_end() -> None:
    limits, others = Limits(Allowance(), REAL), Limits(Allowance(), REAL)
    seat, theirs = limits.seat(10**9, 1.0), others.seat(10**9, 1.0)
    assert seat.group is not None
    assert theirs.group is not None
    with subprocess.Popen(["sleep", "300"]) as sleeper:
        seat.add(sleeper.pid)
        limits.close()
        assert sleeper.wait() == -9
    assert not any(path.parent.parent.exists() for path in seat.group.paths)
    assert all(path.exists() for path in theirs.group.paths)
    others.close()
    assert not any(path.parent.parent.exists() for path in theirs.group.paths)
    others.close()


def test_hosts_share_the_cpu_by_what_their_functions_ask_for(groups: Hierarchy, tmp_path: Path) -> None:
    limits = Limits(Allowance(), groups)
    for cpu, host in ((0.5, "small"), (2.0, "large"), (2.0, "large")):
        limits.seat(1000, cpu, host)
    (top,) = tmp_path.iterdir()
    assert (top / "cpu.weight").read_text() == str(100 * (os.cpu_count() or 1))
    assert (top / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    assert {name: (top / name / "cpu.weight").read_text() for name in ("small", "large")} == {
        "small": "50",
        "large": "200",
    }
    assert [len([path for path in (top / name).iterdir() if path.is_dir()]) for name in ("small", "large")] == [1, 2]


def test_without_them_rlimits_and_the_watchdog_do() -> None:
    limits = Limits(Allowance(pids=5), None)
    rlimits = limits.rlimits(10**9)
    assert rlimits["RLIMIT_DATA"] > 2 * 10**9
    assert rlimits["RLIMIT_NPROC"] > 5
    assert "watchdog" in limits.describe()["memory"]
    assert limits.describe()["cpu"] == "not limited; nice 5"
    seat = limits.seat(10**9, 1.0)
    assert seat.watched
    assert seat.remove()


def test_the_watchdog_sees_what_is_over_a_limit() -> None:
    limits = Limits(Allowance(pids=500), None)
    assert limits.seat(10**12, 1.0).look(os.getpid()) == ""
    small = limits.seat(1000, 1.0)
    assert small.look(os.getpid()) == "memory"
    assert "the limit is 0 MB, the peak was" in small.memory_words()
    assert Limits(Allowance(pids=0), None).seat(10**12, 1.0).look(os.getpid()) == "pids"


def test_a_box_gets_a_user_who_can_read_what_it_shows(tmp_path: Path) -> None:
    shown, hidden = tmp_path / "shown", tmp_path / "hidden"
    shown.mkdir(mode=0o755)
    hidden.mkdir(mode=0o700)
    assert users.take(range(0), []) is None
    first, second = (users.take(range(7, 9), [Mount(shown, "/a")]) for _ in range(2))
    assert {first, second} == {7, 8}
    assert users.take(range(7, 9), [Mount(shown, "/a"), Mount(hidden, "/b")]) is None


def test_when_a_group_cannot_be_made_the_watchdog_takes_over(tmp_path: Path) -> None:
    seat = Limits(Allowance(), Hierarchy(2, {"memory": tmp_path / "missing"})).seat(10**9, 1.0)
    assert seat.group is None
    assert seat.watched


def test_memory_is_told_in_the_contracts_units() -> None:
    assert megabytes(1_500_000_000) == "1500 MB"
