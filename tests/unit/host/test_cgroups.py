"""Control groups on folders that look like them; the conformance suite of the engine uses the real ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kvern.host import cgroups, processes
from kvern.host.cgroups import Group, Hierarchy, find


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    for controller in ("memory", "pids", "cpu"):
        (tmp_path / controller / "own").mkdir(parents=True)
    return tmp_path


def membership(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "membership"
    path.write_text(text)
    return path


def test_version_1_groups_go_below_our_own_in_each_hierarchy(version_1: Path) -> None:
    own = membership(version_1, "4:memory:/own\n3:pids:/own\n2:cpu,cpuacct:/own\n1:name=systemd:/\n0::/\n")
    assert find(own, version_1) == Hierarchy(1, {name: version_1 / name / "own" for name in ("memory", "pids", "cpu")})


def test_a_version_1_controller_that_is_not_there_is_left_out(version_1: Path) -> None:
    own = membership(version_1, "4:memory:/own\n3:pids:/elsewhere\n0::/\n")
    assert find(own, version_1) == Hierarchy(1, {"memory": version_1 / "memory" / "own"})
    assert find(membership(version_1, "0::/\n"), version_1) is None


def test_version_2_hands_the_controllers_down_after_moving_this_process(tmp_path: Path) -> None:
    own = tmp_path / "user.slice" / "service"
    (own / "kvern").mkdir(parents=True)
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    (own / "cgroup.controllers").write_text("cpu io memory pids\n")
    (own / "cgroup.subtree_control").write_text("memory\n")
    (own / "cgroup.procs").write_text(f"{os.getpid()}\n")
    assert find(membership(tmp_path, "0::/user.slice/service\n"), tmp_path) == Hierarchy(
        2, dict.fromkeys(("memory", "pids", "cpu"), own)
    )
    assert (own / "kvern" / "cgroup.procs").read_text() == str(os.getpid())
    assert (own / "cgroup.subtree_control").read_text() == "+pids +cpu"


def test_version_2_uses_the_nearest_group_that_was_delegated_to_this_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    slice_ = tmp_path / "user.slice" / "app.slice"
    own = slice_ / "terminal.scope"
    own.mkdir(parents=True)
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    (slice_ / "cgroup.subtree_control").write_text("memory pids\n")
    (slice_ / "cgroup.procs").write_text("")
    (own / "cgroup.subtree_control").write_text("\n")
    (own / "cgroup.procs").write_text(f"{os.getpid()}\n1\n")
    membership_file = membership(tmp_path, "0::/user.slice/app.slice/terminal.scope\n")
    assert find(membership_file, tmp_path) == Hierarchy(2, {"memory": slice_, "pids": slice_})
    assert not (own / "kvern").exists()
    monkeypatch.setattr(os, "getuid", lambda: 0)  # root may write anywhere, which is no delegation
    assert find(membership_file, tmp_path) is None


def test_version_2_without_delegation_gives_none(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "own").mkdir()  # no controllers were handed down to it
    assert find(membership(tmp_path, "0::/own\n"), tmp_path) is None
    assert find(membership(tmp_path, "0::/missing\n"), tmp_path) is None
    assert find(tmp_path / "no-such-file", tmp_path) is None


def test_a_version_2_group_holds_all_limits_in_one_folder(tmp_path: Path) -> None:
    group = Group(Hierarchy(2, dict.fromkeys(("memory", "pids", "cpu"), tmp_path)), "g", 1000, 7, 0.5)
    assert group.paths == [tmp_path / "g"]
    assert {path.name: path.read_text() for path in (tmp_path / "g").iterdir()} == {
        "memory.max": "1000",
        "memory.swap.max": "0",
        "cpu.max": "50000 100000",
        "pids.max": "7",
    }
    (tmp_path / "g" / "memory.events").write_text("low 0\noom 3\noom_kill 1\n")
    (tmp_path / "g" / "memory.peak").write_text("999\n")
    (tmp_path / "g" / "pids.events").write_text("max 0\n")
    assert (group.out_of_memory(), group.peak(), group.out_of_pids()) == (True, 999, False)
    group.add(123)
    assert (tmp_path / "g" / "cgroup.procs").read_text() == "123"
    group.kill()
    assert (tmp_path / "g" / "cgroup.kill").read_text() == "1"


def test_what_a_hierarchy_lacks_is_not_held(tmp_path: Path) -> None:
    group = Group(Hierarchy(1, {"cpu": tmp_path}), "g", 1000, 7, 2)
    assert [path.name for path in (tmp_path / "g").iterdir()] == ["cpu.cfs_quota_us"]
    assert not group.complete
    assert (group.out_of_memory(), group.peak(), group.out_of_pids()) == (False, 0, False)


def test_a_group_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        Group(Hierarchy(1, {"memory": tmp_path / "missing", "pids": tmp_path}), "g", 1, 1, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_branch_goes_with_the_last_group_of_it(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    host = Hierarchy(1, {"memory": tmp_path / "memory"}).branch("server", 1).branch("host", 1)
    assert host.paths == [tmp_path / "memory" / "server" / "host"]
    first, second = host.branch("first", 1), host.branch("second", 1)
    first.prune()
    assert second.paths[0].is_dir()
    second.prune()
    assert list((tmp_path / "memory").iterdir()) == [], "but what the branches are of stays"


@pytest.mark.parametrize(("weight", "shares"), [(0.5, "512"), (4, "4096"), (1e9, "262144"), (0, "2")])
def test_a_branch_has_its_weight_in_version_1(tmp_path: Path, weight: float, shares: str) -> None:
    branch = Hierarchy(1, {"cpu": tmp_path}).branch("host", weight)
    assert (branch.folders["cpu"] / "cpu.shares").read_text() == shares


REAL = find()


@pytest.mark.skipif(REAL is None, reason="control groups cannot be made here")
def test_real_groups_of_servers_that_are_gone_are_killed_and_removed() -> None:
    assert REAL is not None
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    left = Group(REAL.branch(f"kvern-{gone.pid}-1234567-1", 1).branch("host", 1), "1", 10**9, 100, 1)
    mine = Group(REAL.branch(f"{cgroups.server_name()}test", 1), "1", 10**9, 100, 1)
    with subprocess.Popen(["sleep", "300"]) as sleeper:
        left.add(sleeper.pid)
        assert cgroups.clear(REAL) >= len(left.paths)
        assert sleeper.wait() == -9
    assert not any(path.parent.parent.exists() for path in left.paths)
    assert all(path.exists() for path in mine.paths)
    assert mine.remove()


def test_a_servers_name_names_one_process_for_ever() -> None:
    assert cgroups.server_name() == f"kvern-{os.getpid()}-{processes.started(os.getpid())}-"
