"""Who may do what over the control socket: by what the kernel says of who connected (SO_PEERCRED, unix(7))."""

from __future__ import annotations

import grp
import pwd
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from ringfence.errors import SourceError
from ringfence.service import control_protocol as say
from ringfence.service.configuration.rights import Grant, Rights

_UCRED: Final = struct.Struct("iII")
"""struct ucred: pid, uid, gid (include/linux/socket.h)."""

_SO_PEERGROUPS: Final = 59
"""include/uapi/asm-generic/socket.h, since Linux 4.13; Python's socket has no name for it."""

_MOST_GROUPS: Final = 256
"""Of a process: as many as Python's getsockopt has room for (1024 bytes). One with more counts as if it had its first
alone; its user can be named instead."""


class Right(StrEnum):
    """What a client may do; each right holds those before it."""

    NOTHING = "nothing"
    READ = "read"
    APPROVE = "approve"
    OPERATE = "operate"
    ADMINISTER = "administer"

    def holds(self, other: Right) -> bool:
        """Whether this right is the other one, or more."""
        return _ORDER[self] >= _ORDER[other]

    @property
    def held(self) -> tuple[Right, ...]:
        """The rights that it holds, the least first."""
        return tuple(each for each in Right if each is not Right.NOTHING and self.holds(each))


_ORDER: Final[Mapping[Right, int]] = MappingProxyType({right: number for number, right in enumerate(Right)})

NEEDED: Final[Mapping[type[say.Request], Right]] = MappingProxyType(
    {
        say.Status: Right.READ,
        say.Events: Right.READ,
        say.Cases: Right.READ,
        say.Domains: Right.READ,
        say.Approvals: Right.READ,
        say.Parts: Right.READ,
        say.PageQuery: Right.READ,
        say.Metrics: Right.READ,
        say.Approve: Right.APPROVE,
        say.Do: Right.OPERATE,
        say.Unpause: Right.OPERATE,
        say.Page: Right.OPERATE,
        say.Cpu: Right.OPERATE,
        say.Clear: Right.ADMINISTER,
        say.Reload: Right.ADMINISTER,
        say.TestWebhook: Right.ADMINISTER,
    }
)
"""What each request needs."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection, as it was when it connected. ``groups`` are all of its process, the
    supplementary ones among them (credentials(7)).
    """

    pid: int
    uid: int
    groups: frozenset[int]

    @classmethod
    def of(cls, connection: socket.socket) -> Peer:
        """The peer of a unix socket."""
        pid, uid, gid = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        return cls(pid, uid, frozenset({gid, *_supplementary(connection)}))

    def in_words(self) -> str:
        """The peer as the journal names it."""
        try:
            name = pwd.getpwuid(self.uid).pw_name
        except KeyError:
            name = "somebody"
        return f"{name} (uid {self.uid}, pid {self.pid})"


def _supplementary(connection: socket.socket) -> tuple[int, ...]:
    """The supplementary groups of the peer's process; none where the kernel does not say, or there are too many."""
    try:
        found = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_GROUPS * 4)
    except OSError:
        return ()
    return struct.unpack(f"{len(found) // 4}I", found)


@dataclass(frozen=True, slots=True)
class Roster:
    """Who has which right, by the numbers of this machine. ``unknown`` are names that it has no number for."""

    users: Mapping[int, Right] = field(default_factory=dict)
    groups: Mapping[int, Right] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    @classmethod
    def of(cls, rights: Rights) -> Roster:
        """The roster of a configuration. Asks the user database, which may be far away."""
        users: dict[int, Right] = {}
        groups: dict[int, Right] = {}
        unknown: list[str] = []
        for right, grant in _granted(rights):  # the least first: what comes later is more
            unknown += [f"user {name}" for name in _numbered(grant.users, _user, right, users)]
            unknown += [f"group {name}" for name in _numbered(grant.groups, group_number, right, groups)]
        return cls(users, groups, tuple(unknown))

    def right_of(self, peer: Peer, *, own_uid: int) -> Right:
        """The most that a peer was given; root and the service's own user may do everything."""
        if peer.uid in {0, own_uid}:
            return Right.ADMINISTER
        given = (self.users.get(peer.uid), *(self.groups.get(each) for each in peer.groups))
        return max((each for each in given if each is not None), key=_ORDER.__getitem__, default=Right.NOTHING)

    @property
    def door(self) -> tuple[int, int | None]:
        """The socket's mode and group. It can have one group only: with more, or with users, everybody may knock, and
        the kernel's word on who did decides.
        """
        if self.users or len(self.groups) > 1:
            return 0o666, None
        group = next(iter(self.groups), None)
        return (0o600, None) if group is None else (0o660, group)


def _granted(rights: Rights) -> tuple[tuple[Right, Grant], ...]:
    return (
        (Right.READ, rights.read),
        (Right.APPROVE, rights.approve),
        (Right.OPERATE, rights.operate),
        (Right.ADMINISTER, rights.administer),
    )


def _numbered(names: tuple[str, ...], number: Callable[[str], int], right: Right, into: dict[int, Right]) -> list[str]:
    """Write down who has the right; the names that this machine does not know."""
    unknown: list[str] = []
    for name in names:
        try:
            into[number(name)] = right
        except SourceError:
            unknown.append(name)
    return unknown


def _user(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError) as error:  # ValueError: a NUL in it
        raise SourceError(name, "there is no such user", advice="Name a user of this machine.") from error


def group_number(name: str) -> int:
    """The number of a group. Raises SourceError if there is none of this name."""
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError) as error:
        advice = "Make the group, or leave the option out: root and the service's own user may do everything."
        raise SourceError(name, "there is no such group", advice=advice) from error


def allows(right: Right, request: say.Request) -> bool:
    """Whether who has this right may ask that."""
    return right.holds(NEEDED[type(request)])
