from __future__ import annotations

import errno
import platform
import struct
from pathlib import Path

import pytest

from kvern.sandbox import bpf
from kvern.sandbox.seccomp import ALLOW, KILL, MACHINES, REFUSE, Machine, filter_file, filter_for

DENIED, MISSING = REFUSE | errno.EPERM, REFUSE | errno.ENOSYS


def verdict(machine: Machine, number: int, *arguments: int, audit: int | None = None) -> int:
    """What the filter says to a call: a small machine that runs it as the kernel does."""
    given = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number, machine.audit if audit is None else audit, 0, *given)
    program = list(bpf.INSTRUCTION.iter_unpack(filter_for(machine)))
    at, word = 0, 0
    while True:
        code, yes, no, value = program[at]
        at += 1
        if code == bpf.LOAD:
            word = struct.unpack_from("<I", data, value)[0]
        elif code == bpf.RETURN:
            return value
        else:
            passed = {bpf.EQUAL: word == value, bpf.AT_LEAST: word >= value, bpf.ANY_BIT: bool(word & value)}[code]
            at += yes if passed else no


@pytest.fixture(params=sorted(MACHINES))
def machine(request: pytest.FixtureRequest) -> Machine:
    return MACHINES[request.param]


def test_what_reaches_for_the_kernel_is_refused(machine: Machine) -> None:
    for name in ("mount", "ptrace", "keyctl", "bpf", "perf_event_open", "userfaultfd", "unshare", "setns", "kexec_load",
                 "init_module", "finit_module", "pidfd_getfd", "process_vm_readv", "open_by_handle_at", "move_mount"):  # fmt: skip
        assert verdict(machine, machine.numbers[name]) == DENIED, name
    for name in ("io_uring_setup", "clone3"):
        assert verdict(machine, machine.numbers[name]) == MISSING, name


def test_what_is_not_named_is_allowed(machine: Machine) -> None:
    named = set(machine.numbers.values())
    for number in set(range(470)) - named:
        assert verdict(machine, number) == ALLOW, number


def test_a_thread_and_a_fork_are_allowed_and_a_namespace_is_not(machine: Machine) -> None:
    clone = machine.numbers["clone"]
    assert verdict(machine, clone, 0x3D0F00) == ALLOW  # pthread_create
    assert verdict(machine, clone, 0x1200011) == ALLOW  # fork
    for flag in (0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert verdict(machine, clone, flag | 17) == DENIED, hex(flag)


def test_the_sockets_that_there_are(machine: Machine) -> None:
    socket = machine.numbers["socket"]
    for family in (1, 2, 10):
        assert verdict(machine, socket, family, 1, 0) == ALLOW
    assert verdict(machine, socket, 16, 3, 0) == ALLOW  # NETLINK_ROUTE
    for family, protocol in ((16, 9), (16, 12), (17, 3), (38, 0), (40, 0), (31, 0), (15, 2)):
        assert verdict(machine, socket, family, 3, protocol) == DENIED, family


def test_no_typing_into_terminals_and_no_odd_personalities(machine: Machine) -> None:
    assert verdict(machine, machine.numbers["ioctl"], 0, 0x5412) == DENIED
    assert verdict(machine, machine.numbers["ioctl"], 0, 0x5413) == ALLOW
    assert verdict(machine, machine.numbers["personality"], 0xFFFFFFFF) == ALLOW
    assert verdict(machine, machine.numbers["personality"], 0x0040000) == DENIED


def test_a_process_may_change_its_own_priority_and_limits_and_nobody_elses(machine: Machine) -> None:
    numbers = machine.numbers
    for name in ("sched_setparam", "sched_setscheduler", "sched_setattr", "migrate_pages", "move_pages"):
        assert verdict(machine, numbers[name], 0, 3) == ALLOW, name
        assert verdict(machine, numbers[name], 77, 3) == DENIED, name
    for name, process in (("setpriority", 0), ("ioprio_set", 1)):
        assert verdict(machine, numbers[name], process, 0, 19) == ALLOW, name
        for which, who in ((process, 77), (process + 1, 0), (process + 2, 0)):
            assert verdict(machine, numbers[name], which, who, 19) == DENIED, (name, which)
    assert verdict(machine, numbers["prlimit64"], 0, 7, 0x7FFF0000, 0) == ALLOW
    assert verdict(machine, numbers["prlimit64"], 77, 7, 0, 0x7FFF0000) == ALLOW
    for pointer in (0x7FFF0000, 0x7FFF00000000):
        assert verdict(machine, numbers["prlimit64"], 77, 7, pointer, 0) == DENIED


def test_a_foreign_architecture_kills(machine: Machine) -> None:
    assert verdict(machine, 1, audit=0x40000003) == KILL
    if machine.x32:
        assert verdict(machine, 0x40000001) == MISSING


def test_both_machines_name_the_same_calls_as_far_as_they_have_them() -> None:
    only_x86 = {"create_module", "iopl", "ioperm", "modify_ldt", "uselib"}
    assert set(MACHINES["x86_64"].numbers) - set(MACHINES["aarch64"].numbers) == only_x86
    for each in MACHINES.values():
        assert len(set(each.numbers.values())) == len(each.numbers)


def test_the_file_holds_the_filter_of_this_machine() -> None:
    if platform.machine() in MACHINES:
        assert Path(filter_file()).read_bytes() == filter_for(MACHINES[platform.machine()])
    else:
        assert filter_file() == ""
