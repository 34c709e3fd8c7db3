"""The file of the control socket: whose it is, and what stands in its place."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Final

from ringfence.errors import SourceError
from ringfence.service.rights import Roster

MOST_PATH_BYTES: Final = 107
"""Of a unix socket (unix(7): sun_path has 108 bytes, one of them the end)."""

_ADVICE: Final = "Name another path with --socket."


def bound(path: Path, roster: Roster) -> socket.socket:
    """A socket bound to a path, open to whom the roster wants let in; a dead one's file is replaced.

    Raises SourceError if it cannot be.
    """
    if len(os.fsencode(path)) > MOST_PATH_BYTES:
        raise SourceError(path, f"a socket's path has at most {MOST_PATH_BYTES} bytes", advice=_ADVICE)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    mask = os.umask(0o177)
    try:
        _make_way(path)
        listening.bind(os.fspath(path))
        open_to(path, roster)
    except OSError as error:
        listening.close()
        raise SourceError(path, error.strerror or str(error), advice=_ADVICE) from error
    except BaseException:
        listening.close()
        raise
    finally:
        os.umask(mask)
    listening.setblocking(False)
    return listening


def open_to(path: Path, roster: Roster) -> None:
    """Let those knock who have a right. Raises SourceError if the group cannot be given."""
    mode, group = roster.door
    if group is not None:
        try:
            os.chown(path, -1, group)
        except OSError as error:
            advice = "The service's user must be a member of the group, or root."
            raise SourceError(path, f"it cannot be given to group {group}: {error.strerror}", advice=advice) from error
    path.chmod(mode)


def _make_way(path: Path) -> None:
    try:
        known = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(known.st_mode):
        raise SourceError(path, "it is there, and is no socket", advice=_ADVICE)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise SourceError(path, "somebody listens there already", advice="Stop the other Ringfence, or name another path.")
