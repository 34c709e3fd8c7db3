"""Who may do what over the control socket: by what the kernel says of who connected (SO_PEERCRED, unix(7))."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ringfence.errors import SourceError
from ringfence.service import control_protocol as say

_UCRED: Final = struct.Struct("iII")
"""struct ucred: pid, uid, gid (include/linux/socket.h)."""


class Right(StrEnum):
    """What a client may do."""

    NOTHING = "nothing"
    READ = "read"
    EVERYTHING = "everything"


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection, as it was when it connected."""

    pid: int
    uid: int
    gid: int

    @classmethod
    def of(cls, connection: socket.socket) -> Peer:
        """The peer of a unix socket."""
        return cls(*_UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)))

    def in_words(self) -> str:
        """The peer as the journal names it."""
        try:
            name = pwd.getpwuid(self.uid).pw_name
        except KeyError:
            name = "somebody"
        return f"{name} (uid {self.uid}, pid {self.pid})"

    def groups(self) -> frozenset[int]:
        """Its groups: the one of its process, and those that the user database gives its user."""
        try:
            name = pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return frozenset({self.gid})
        return frozenset({self.gid, *os.getgrouplist(name, self.gid)})


def group_number(name: str) -> int:
    """The number of a group. Raises SourceError if there is none of this name."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        advice = "Make the group, or leave the option out: root and the service's own user may do everything."
        raise SourceError(name, "there is no such group", advice=advice) from error


def right_of(peer: Peer, *, own_uid: int, reading_group: int | None) -> Right:
    """Root and the service's own user may do everything, members of the group may read, nobody else anything."""
    if peer.uid in {0, own_uid}:
        return Right.EVERYTHING
    if reading_group is not None and reading_group in peer.groups():
        return Right.READ
    return Right.NOTHING


def needed_for(request: say.Request) -> Right:
    """What a request needs."""
    return Right.EVERYTHING if isinstance(request, say.Approve | say.Do) else Right.READ


def allows(right: Right, request: say.Request) -> bool:
    """Whether who has this right may ask that."""
    return right is Right.EVERYTHING or right is needed_for(request)
