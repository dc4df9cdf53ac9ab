"""No sandbox: a plain process. For machines on which bubblewrap cannot work, and for development."""

from __future__ import annotations

from kvern.sandbox import Box, Mount


class Plain:
    """Starts a command as it is. Code inside can reach all that the server's user can reach."""

    name: str = "plain"
    is_boundary: bool = False
    users: range = range(0)

    def inside(self, mount: Mount) -> str:
        """The source of `mount`: nothing is mounted."""
        return str(mount.source)

    def command(self, box: Box) -> list[str]:
        """The argv that starts `box` in its working folder."""
        return ["/bin/sh", "-c", 'cd "$0" && exec "$@"', box.workdir, *box.argv]
