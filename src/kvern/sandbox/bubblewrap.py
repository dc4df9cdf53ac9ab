"""The bubblewrap sandbox: own user, mount, pid, ipc, uts and cgroup namespaces, no capabilities, a read-only root."""

from __future__ import annotations

from pathlib import Path

from kvern.sandbox import Box, Mount

UID = 1000
"""Who code in a box is, inside; outside it is the server's user, without any capability."""

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

_LOADER = ("LD_", "GLIBC_TUNABLES")

_OWN_ETC = Path(__file__).parent / "etc"


class Bubblewrap:
    """Starts commands through `bwrap`.

    Args:
        binary: the bwrap executable, 0.5 or newer.
        tmp_size: bytes of the private /tmp.
    """

    name: str = "bubblewrap"
    is_boundary: bool = True

    def __init__(self, binary: Path, tmp_size: int = TMP_SIZE) -> None:
        self.binary = binary
        self._before = [
            str(binary),
            *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
            *("--new-session", "--die-with-parent", "--cap-drop", "ALL"),
            *("--uid", str(UID), "--gid", str(UID), "--hostname", "kvern"),
            *_system_mounts(),
            *("--proc", "/proc", "--dev", "/dev"),
            *("--size", str(tmp_size), "--tmpfs", "/dev/shm"),
            *("--size", str(tmp_size), "--perms", "1777", "--tmpfs", "/tmp"),
        ]

    def inside(self, mount: Mount) -> str:
        """The target of `mount`."""
        return mount.target

    def command(self, box: Box) -> list[str]:
        """The argv that starts `box`.

        Raises:
            ValueError: `box.env` sets a variable that would act on bwrap itself, outside of the walls.
        """
        for name in box.env:
            if name.startswith(_LOADER):
                raise ValueError(
                    f"{name} cannot be set for a box: the loader of bwrap would obey it outside of the box"
                )
        mounts: list[str] = []
        for mount in box.mounts:
            mounts += ["--bind" if mount.writable else "--ro-bind", str(mount.source), mount.target]
        return [*self._before, *mounts, "--remount-ro", "/", "--chdir", box.workdir, "--", *box.argv]


def _system_mounts() -> list[str]:
    """The system's programs and libraries, read-only; links such as /bin -> usr/bin stay links."""
    arguments: list[str] = []
    for name in SYSTEM:
        path = Path(name)
        if path.is_symlink():
            arguments += ["--symlink", str(path.readlink()), name]
        elif path.is_dir():
            arguments += ["--ro-bind", name, name]
    for name in ETC:
        path = Path("/etc") / name
        if path.exists():
            arguments += ["--ro-bind", str(path), str(path)]
    for path in (_OWN_ETC / "passwd", _OWN_ETC / "group"):
        arguments += ["--ro-bind", str(path), f"/etc/{path.name}"]
    return arguments
