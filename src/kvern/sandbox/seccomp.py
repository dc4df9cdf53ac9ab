"""The system calls that code in a box may not make: those that reach for the kernel rather than for its services.

A handler needs files, memory, threads, processes and sockets. What it never needs, and what holes in kernels were
found in, is refused: with EPERM, or ENOSYS where programs know what to do instead. A call by the rules of another
architecture, whose numbers mean other things, kills the process.
"""

from __future__ import annotations

import errno
import functools
import os
import platform
from dataclasses import dataclass

from kvern.sandbox.bpf import ANY_BIT, AT_LEAST, EQUAL, NEXT, Program

ALLOW = 0x7FFF0000
KILL = 0x80000000
REFUSE = 0x00050000
"""SECCOMP_RET_ERRNO; the error goes into the lower half."""

NUMBER, ARCHITECTURE = 0, 4
"""Offsets in struct seccomp_data."""

NAMESPACES = 0x7E020000
"""The flags of clone(2) that ask for a namespace."""

X32 = 0x40000000
"""From here on, numbers of x86_64 are those of its 32-bit twin."""

FAMILIES = (1, 2, 10)
"""The sockets that code may have: AF_UNIX, AF_INET, AF_INET6."""

AF_NETLINK, NETLINK_ROUTE = 16, 0
"""With which the C library asks what addresses the machine has."""

TERMINAL = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX: to type into a terminal on behalf of whoever sits there."""

PLAIN_PERSONALITIES = (0, 0xFFFFFFFF)
"""What personality(2) may be asked for: the usual one, and which it is."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What is particular about an architecture.

    Args:
        audit: its AUDIT_ARCH.
        numbers: of its system calls, as far as the filter names them; those that it does not have are left out.
        x32: whether it has a 32-bit twin that shares its AUDIT_ARCH.
    """

    audit: int
    numbers: dict[str, int]
    x32: bool = False


_SINCE_5 = {
    "pidfd_getfd": 438, "clone3": 435, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431,
    "fsmount": 432, "fspick": 433, "mount_setattr": 442, "quotactl_fd": 443, "memfd_secret": 447,
    "open_tree_attr": 467, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
}  # fmt: skip

MACHINES = {
    "x86_64": Machine(
        0xC000003E,
        {
            "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "acct": 163, "swapon": 167,
            "swapoff": 168, "reboot": 169, "sethostname": 170, "setdomainname": 171, "iopl": 172, "ioperm": 173,
            "modify_ldt": 154, "uselib": 134, "settimeofday": 164, "adjtimex": 159, "clock_settime": 227,
            "clock_adjtime": 305, "create_module": 174, "init_module": 175, "delete_module": 176,
            "finit_module": 313, "quotactl": 179, "nfsservctl": 180, "ptrace": 101, "process_vm_readv": 310,
            "process_vm_writev": 311, "kcmp": 312, "add_key": 248, "request_key": 249, "keyctl": 250, "bpf": 321,
            "perf_event_open": 298, "userfaultfd": 323, "unshare": 272, "setns": 308, "kexec_load": 246,
            "kexec_file_load": 320, "name_to_handle_at": 303, "open_by_handle_at": 304, "fanotify_init": 300,
            "lookup_dcookie": 212, "syslog": 103, "vhangup": 153, "clone": 56, "socket": 41, "ioctl": 16,
            "personality": 135, "setpriority": 141, "ioprio_set": 251, "sched_setparam": 142,
            "sched_setscheduler": 144, "sched_setattr": 314, "migrate_pages": 256, "move_pages": 279,
            "prlimit64": 302, **_SINCE_5,
        },
        x32=True,
    ),
    "aarch64": Machine(
        0xC00000B7,
        {
            "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "acct": 89, "swapon": 224, "swapoff": 225,
            "reboot": 142, "sethostname": 161, "setdomainname": 162, "settimeofday": 170, "adjtimex": 171,
            "clock_settime": 112, "clock_adjtime": 266, "init_module": 105, "delete_module": 106,
            "finit_module": 273, "quotactl": 60, "nfsservctl": 42, "ptrace": 117, "process_vm_readv": 270,
            "process_vm_writev": 271, "kcmp": 272, "add_key": 217, "request_key": 218, "keyctl": 219, "bpf": 280,
            "perf_event_open": 241, "userfaultfd": 282, "unshare": 97, "setns": 268, "kexec_load": 104,
            "kexec_file_load": 294, "name_to_handle_at": 264, "open_by_handle_at": 265, "fanotify_init": 262,
            "lookup_dcookie": 18, "syslog": 116, "vhangup": 58, "clone": 220, "socket": 198, "ioctl": 29,
            "personality": 92, "setpriority": 140, "ioprio_set": 30, "sched_setparam": 118,
            "sched_setscheduler": 119, "sched_setattr": 274, "migrate_pages": 238, "move_pages": 239,
            "prlimit64": 261, **_SINCE_5,
        },
    ),
}  # fmt: skip
"""By the name that `platform.machine` has for them."""

MISSING = frozenset({"clone3", "memfd_secret", "io_uring_setup", "io_uring_enter", "io_uring_register"})
"""Answered as a kernel does that does not have them. clone3 must be: its flags are where no filter can look, and the
C library then takes clone."""

OF_ITSELF = frozenset({"sched_setparam", "sched_setscheduler", "sched_setattr", "migrate_pages", "move_pages"})
"""What a process may ask for itself alone: its first argument is a process, and 0 is whoever asks.

All workers of a function are one user with their zygote, so the kernel would let each renice the others. (Not
sched_setaffinity, with which numerical libraries place their threads by number: the zygote puts that right.)"""

PRIORITIES = {"setpriority": 0, "ioprio_set": 1}
"""With what these are told that their second argument is a process: PRIO_PROCESS, IOPRIO_WHO_PROCESS."""

LOOKED_AT = frozenset({"clone", "socket", "ioctl", "personality", "prlimit64", *OF_ITSELF, *PRIORITIES})
"""Refused for some arguments only."""


def filter_for(machine: Machine) -> bytes:
    """The filter as the kernel reads it: an array of struct sock_filter."""
    program = Program()
    program.load(ARCHITECTURE)
    program.jump(EQUAL, machine.audit, otherwise="kill")
    program.load(NUMBER)
    if machine.x32:
        program.jump(AT_LEAST, X32, "missing")
    for name in sorted(machine.numbers):
        program.jump(EQUAL, machine.numbers[name], _target(name))
    program.give(ALLOW)

    program.label("clone")
    program.load(argument(0))
    program.jump(ANY_BIT, NAMESPACES, "refuse", "allow")

    program.label("socket")
    program.load(argument(0))
    for family in FAMILIES:
        program.jump(EQUAL, family, "allow")
    program.jump(EQUAL, AF_NETLINK, NEXT, "refuse")
    program.load(argument(2))
    program.jump(EQUAL, NETLINK_ROUTE, "allow", "refuse")

    program.label("ioctl")
    program.load(argument(1))
    for request in TERMINAL:
        program.jump(EQUAL, request, "refuse")
    program.give(ALLOW)

    program.label("personality")
    program.load(argument(0))
    for kind in PLAIN_PERSONALITIES:
        program.jump(EQUAL, kind, "allow")

    program.give(REFUSE | errno.EPERM)

    for name, process in PRIORITIES.items():
        program.label(name)
        program.load(argument(0))
        program.jump(EQUAL, process, otherwise="refuse")
        program.load(argument(1))
        program.jump(EQUAL, 0, "allow", "refuse")

    program.label("prlimit64")
    program.load(argument(0))
    program.jump(EQUAL, 0, "allow")
    for half in (0, 4):  # no new limit, so that it only asks
        program.load(argument(2) + half)
        program.jump(EQUAL, 0, otherwise="refuse")
    program.give(ALLOW)

    program.label("itself")
    program.load(argument(0))
    program.jump(EQUAL, 0, "allow", "refuse")

    program.label("refuse")
    program.give(REFUSE | errno.EPERM)
    program.label("missing")
    program.give(REFUSE | errno.ENOSYS)
    program.label("allow")
    program.give(ALLOW)
    program.label("kill")
    program.give(KILL)
    return program.assemble()


def _target(name: str) -> str:
    """The label at which the filter judges the call `name`."""
    if name in OF_ITSELF:
        return "itself"
    return name if name in LOOKED_AT else "missing" if name in MISSING else "refuse"


def argument(index: int) -> int:
    """The offset in struct seccomp_data of the lower half of an argument; both architectures are little-endian."""
    return 16 + 8 * index


@functools.cache
def filter_file() -> str:
    """The path of a file, as long as this process lives, with the filter for this machine; empty when there is none."""
    machine = MACHINES.get(platform.machine())
    if machine is None:
        return ""
    descriptor = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    os.write(descriptor, filter_for(machine))
    return f"/proc/{os.getpid()}/fd/{descriptor}"
