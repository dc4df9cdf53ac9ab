"""The bubblewrap sandbox: own user, mount, pid, ipc, uts and cgroup namespaces, no capabilities, a read-only root.

A box that has a user of the machine to itself has no user namespace: it needs none to be unprivileged. And there is a
filter of system calls: see `seccomp.py`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from kvern.sandbox import Box, Mount
from kvern.sandbox.seccomp import filter_file

UID = 1000
"""Who code in a box is, inside, unless the box has a user of its own; outside it is the server's user then."""

USERS = range(1_900_000_000, 1_900_065_536)
"""Users that boxes can be where the server is root: a range that systemd's table of uids leaves to nobody."""

TMP_SIZE = 512 * 1024 * 1024
"""Bytes of /tmp, and as many of /dev/shm."""

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")

ETC = (
    "alternatives",
    "ca-certificates",
    "crypto-policies",
    "fonts",
    "gai.conf",
    "host.conf",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "nsswitch.conf",
    "pki/ca-trust",
    "pki/tls/cert.pem",
    "pki/tls/certs",
    "pki/tls/openssl.cnf",
    "protocols",
    "resolv.conf",
    "services",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
)
"""What programs need of the host's /etc: names, certificates, time zone, libraries, fonts.

No accounts, and no private keys: a server that runs as root owns them in a box too."""

READ_ONLY = (
    "acpi",
    "asound",
    "bus",
    "driver",
    "fs",
    "irq",
    "pressure",
    "scsi",
    "sys",
    "sysrq-trigger",
    "sysvipc",
    "tty",
)
EMPTY = (
    "kallsyms",
    "kcore",
    "keys",
    "kmsg",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "latency_stats",
    "modules",
    "mtrr",
    "pagetypeinfo",
    "sched_debug",
    "slabinfo",
    "timer_list",
    "timer_stats",
    "vmallocinfo",
)
"""What of /proc belongs to the whole machine.

Code in a box has no capability, but where the server runs as root it is, outside, the user who owns these files: the
kernel would let it write to /proc/sys/kernel/core_pattern, and run what it wrote there as root. bwrap itself covers
only those of them that look writable as folders.
"""

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
"""The machine's own device files. Of these too root is the owner, and could change their mode for all.

bwrap has no way to show a device read-only, as the kernel has: what is written goes to the device all the same, and its
mode stays. So a server that runs as root starts bwrap in a mount namespace where they already are.
"""

_MOUNT, _UMOUNT = shutil.which("mount"), shutil.which("umount")  # not by the PATH of a box: they run outside of it

_SHIELD = f"""{_MOUNT} -o bind,ro /dev /dev || exit
if ! [ -c /dev/null ]; then
    {_UMOUNT} /dev
    for name in {" ".join(DEVICES)}; do {_MOUNT} -o bind,ro "/dev/$name" "/dev/$name" || exit; done
fi"""
"""For all at once, unless each is a mount of its own, as in some containers; there one by one."""

_LOADER = ("LD_", "GLIBC_TUNABLES", "BASH_")

_BECOME = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP")
"""What it takes to become a box's own user, and is gone with that."""

_OWN_ETC = Path(__file__).parent / "etc"


class Bubblewrap:
    """Starts commands through `bwrap`.

    Args:
        binary: the bwrap executable, 0.5 or newer.
        tmp_size: bytes of the private /tmp.
        filtered: whether system calls are filtered; without effect on an architecture that has no filter.
        shielded: whether to keep the mode of the machine's devices; needed, and possible, for root only.
        own_users: whether boxes may have users of their own; possible for root only.
    """

    name: str = "bubblewrap"
    is_boundary: bool = True

    def __init__(
        self,
        binary: Path,
        tmp_size: int = TMP_SIZE,
        *,
        filtered: bool = True,
        shielded: bool | None = None,
        own_users: bool = True,
    ) -> None:
        self.binary = binary
        self._tmp_size = tmp_size
        self._filter = filter_file() if filtered else ""
        self._unshare = shutil.which("unshare") if (os.geteuid() == 0 if shielded is None else shielded) else None
        self._setpriv = shutil.which("setpriv", path="/usr/bin:/bin") or ""  # it runs in the box
        self.users: range = USERS if own_users and self._setpriv and _may_be(USERS) else range(0)
        self._before = [
            str(binary),
            *("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
            *("--new-session", "--die-with-parent", "--cap-drop", "ALL", "--hostname", "kvern"),
        ]
        self._system = [*_system_mounts(), "--proc", "/proc", "--dev", "/dev", *_covers()]

    @property
    def is_shielded(self) -> bool:
        """Whether the mode of the machine's devices is kept."""
        return self._unshare is not None

    @property
    def is_filtered(self) -> bool:
        """Whether system calls are filtered."""
        return bool(self._filter)

    def inside(self, mount: Mount) -> str:
        """The target of `mount`."""
        return mount.target

    def command(self, box: Box) -> list[str]:
        """The argv that starts `box`.

        Raises:
            ValueError: `box.env` sets a variable that would act on bwrap itself, outside of the walls; or `box.user`
                is none of `users`.
        """
        for name in box.env:
            if name.startswith(_LOADER):
                raise ValueError(
                    f"{name} cannot be set for a box: what starts bwrap, outside of the box, would obey it"
                )
        size = str(box.tmp_size or self._tmp_size)
        mounts: list[str] = []
        for folder in ("/dev/shm", "/tmp"):
            mounts += ["--size", size, "--perms", "1777", "--tmpfs", folder]
        if not box.network:
            mounts.append("--unshare-net")
        mounts += _folders_above([*(mount.target for mount in box.mounts), *box.own])
        for folder in box.own:
            mounts += ["--size", size, "--perms", "1777", "--tmpfs", folder]
        for mount in box.mounts:
            mounts += ["--bind" if mount.writable else "--ro-bind", str(mount.source), mount.target]
        steps: list[str] = []
        # What bwrap reads from descriptors the shell opens, so that nobody has to pass them, and so that no two boxes
        # read from the same one; of those with one digit, which each shell knows, free ones.
        free = (number for number in range(9, 2, -1) if number not in box.pass_fds)
        if box.user is None:
            who = ["--unshare-user", "--uid", str(UID), "--gid", str(UID), *self._system]
            for path in (_OWN_ETC / "passwd", _OWN_ETC / "group"):
                who += ["--ro-bind", str(path), f"/etc/{path.name}"]
            argv = list(box.argv)
        else:
            if box.user not in self.users:
                raise ValueError(f"Expected a user that boxes may be, one of {self.users}, given {box.user}")
            who = [*(word for name in _BECOME for word in ("--cap-add", name)), *self._system]
            for path in (_OWN_ETC / "passwd", _OWN_ETC / "group"):
                number = next(free)
                steps.append(f"exec {number}<<'END'\n{path.read_text().replace(str(UID), str(box.user))}END")
                who += ["--perms", "0444", "--ro-bind-data", str(number), f"/etc/{path.name}"]
            to = (f"--reuid={box.user}", f"--regid={box.user}", "--clear-groups", "--inh-caps=-all")
            argv = [self._setpriv, *to, "--bounding-set=-all", "--", *box.argv]
        command = [*self._before, *who, *mounts, "--remount-ro", "/", "--chdir", box.workdir]
        if self._unshare is not None:
            steps.append(_SHIELD)
        if self._filter:
            number = next(free)
            steps.append(f"exec {number}<{self._filter}")
            command += ["--seccomp", str(number)]
        command += ["--", *argv]
        if not steps:
            return command
        alone = [self._unshare, "--mount", "--propagation", "slave"] if self._unshare is not None else []
        return [*alone, "/bin/sh", "-c", "\n".join([*steps, 'exec "$@"']), "sh", *command]


def _system_mounts() -> list[str]:
    """The system's programs and libraries, read-only; links such as /bin -> usr/bin stay links."""
    arguments: list[str] = []
    for name in SYSTEM:
        path = Path(name)
        if path.is_symlink():
            arguments += ["--symlink", str(path.readlink()), name]
        elif path.is_dir():
            arguments += ["--ro-bind", name, name]
    files = [str(path) for name in ETC if (path := Path("/etc") / name).exists()]
    arguments += _folders_above(["/etc/passwd", *files])
    for file in files:
        arguments += ["--ro-bind", file, file]
    return arguments


def _folders_above(targets: Iterable[str]) -> list[str]:
    """Folders for what will be shown, which every user may enter; those that bwrap itself makes only root may."""
    above = [str(folder) for target in targets for folder in reversed(PurePosixPath(target).parents)]
    return [word for folder in dict.fromkeys(above) if folder != "/" for word in ("--perms", "0755", "--dir", folder)]


def _may_be(users: range) -> bool:
    """Whether this process may become any of `users`, which a container may not have."""
    if os.geteuid() != 0:
        return False
    try:
        lines = Path("/proc/self/uid_map").read_text().splitlines()
    except OSError:
        return False
    mapped = (tuple(map(int, line.split())) for line in lines)
    return any(first <= users[0] and users[-1] < first + count for first, _, count in mapped)


def _covers() -> list[str]:
    """What keeps the machine's own files below /proc and /dev as they are."""
    arguments: list[str] = []
    for name in READ_ONLY:
        path = Path("/proc") / name
        if path.exists():
            arguments += ["--ro-bind", str(path), str(path)]
    for name in EMPTY:
        path = Path("/proc") / name
        if path.exists():
            arguments += ["--ro-bind", "/dev/null", str(path)]
    return arguments
