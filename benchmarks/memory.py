"""Memory of processes and the trees below them, as the kernel tells it."""

from __future__ import annotations

from pathlib import Path


def children() -> dict[int, list[int]]:
    """The processes of this machine by their parent."""
    found: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            found.setdefault(parent, []).append(int(folder.name))
    return found


def below(pid: int) -> list[int]:
    """All processes that descend from one, without it."""
    known, tree = children(), [pid]
    for parent in tree:
        tree.extend(known.get(parent, ()))
    return tree[1:]


def held(pid: int, what: str) -> int:
    """Bytes by `what` of smaps_rollup, such as `Rss` or `Pss` (shared pages divided among those that share them)."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{what}:"))
