from __future__ import annotations

from pathlib import Path

import pytest

from kvern.sandbox import Box, Mount
from kvern.sandbox.bubblewrap import ETC, Bubblewrap


@pytest.fixture
def sandbox() -> Bubblewrap:
    return Bubblewrap(Path("/usr/bin/bwrap"), tmp_size=4096)


def has(argv: list[str], *words: str) -> bool:
    return any(argv[i : i + len(words)] == list(words) for i in range(len(argv)))


@pytest.mark.parametrize("name", ["LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "GLIBC_TUNABLES", "BASH_ENV"])
def test_what_the_loader_of_bwrap_would_obey_is_refused(sandbox: Bubblewrap, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        sandbox.command(Box(argv=["/bin/true"], env={name: "/tmp/evil.so"}))


def test_mounts_come_after_the_system_and_before_the_root_is_closed(sandbox: Bubblewrap) -> None:
    box = Box(argv=["/bin/true"], env={}, mounts=[Mount(Path("/a"), "/x"), Mount(Path("/b"), "/y", writable=True)])
    argv = sandbox.command(box)
    assert has(argv, "--ro-bind", "/a", "/x", "--bind", "/b", "/y", "--remount-ro", "/")
    assert argv.index("/x") > argv.index("--proc")
    assert argv[-2:] == ["--", "/bin/true"]


def test_tmp_has_the_size_that_was_asked_for(sandbox: Bubblewrap) -> None:
    assert has(sandbox.command(Box(argv=["x"], env={})), "--size", "4096", "--perms", "1777", "--tmpfs", "/tmp")


def test_a_box_is_only_a_user_that_it_may_be(sandbox: Bubblewrap) -> None:
    with pytest.raises(ValueError, match="given 0"):
        sandbox.command(Box(argv=["x"], env={}, user=0))
    for user in sandbox.users[:1]:
        argv = sandbox.command(Box(argv=["x"], env={}, user=user))
        assert not has(argv, "--unshare-user")
        assert has(argv, f"--reuid={user}", f"--regid={user}")


def test_links_of_the_system_stay_links(sandbox: Bubblewrap) -> None:
    argv = sandbox.command(Box(argv=["x"], env={}))
    for name in ("/bin", "/lib", "/lib64"):
        path = Path(name)
        if path.is_symlink():
            assert has(argv, "--symlink", str(path.readlink()), name)


def test_of_etc_neither_accounts_nor_keys_are_shown() -> None:
    assert not {"passwd", "shadow", "group", "ssl", "ssl/private", "pki", "ssh", "hostname", "machine-id"} & set(ETC)


def test_what_runs_outside_of_the_box_is_not_found_by_the_boxs_path(sandbox: Bubblewrap) -> None:
    argv = sandbox.command(Box(argv=["x"], env={"PATH": "/tmp/evil"}))
    outside = argv[: argv.index("--unshare-pid")]
    assert all(word.startswith("/") for word in outside if "bin/" in word and " " not in word)
    script = next((word for word in outside if "\n" in word), "")
    for line in script.splitlines():
        assert not line.strip().startswith(("mount", "umount")), line


def test_unfiltered_and_unshielded_it_is_bwrap_alone() -> None:
    plain = Bubblewrap(Path("/usr/bin/bwrap"), filtered=False, shielded=False)
    assert plain.command(Box(argv=["x"], env={}))[0] == "/usr/bin/bwrap"
    assert not plain.is_filtered
    assert not plain.is_shielded
