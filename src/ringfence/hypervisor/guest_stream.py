"""The agent of one guest over a socket: the unix socket that QEMU gives a virtio-serial port, or a plain one.

Who the socket belongs to was said by whoever knows its path; what comes over it cannot change that.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ringfence.hypervisor.guest_link import GuestLink

AGAIN_MS: Final = 1_000
"""Between two attempts to connect: QEMU serves one client at a time, and may be starting."""


@dataclass(slots=True)
class GuestStream:
    """A link with its socket. Call ``turn`` often (in ``arrivals``); it never waits.

    ``fileno`` is for who sleeps until something comes. While the link has no room, what comes stays in the socket: who
    sleeps on the file then wakes at once, so look at ``may_read`` first.
    """

    link: GuestLink
    path: Path
    peer: int | None = None
    """The process that must be at the other end, where its path is that process's own word; None: whoever is there."""
    _socket: socket.socket | None = None
    _unsent: bytes = b""
    _again_ms: int | None = None

    @property
    def fileno(self) -> int | None:
        """The socket's descriptor, None while it is not connected."""
        return None if self._socket is None else self._socket.fileno()

    def may_read(self, now_ms: int) -> bool:
        """Whether more is taken from it now."""
        return self._socket is not None and self.link.room(now_ms) > 0

    def turn(self, now_ms: int) -> None:
        """Connect if need be, read what there is room for, and send what is to be said."""
        if self._socket is None and not self._connect(now_ms):
            return
        try:
            self._read(now_ms)
            self._write()
        except OSError:
            self.close()

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._unsent = b""
        self.link.disconnected()

    def _connect(self, now_ms: int) -> bool:
        if self._again_ms is not None and now_ms < self._again_ms:
            return False
        self._again_ms = now_ms + AGAIN_MS
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.setblocking(False)
        try:
            made.connect(str(self.path))
            is_right = self.peer is None or _listener(made) == self.peer
        except OSError:
            is_right = False
        if not is_right:
            made.close()
            return False
        self._socket = made
        self._unsent = b"\n"  # whatever an earlier life left unfinished ends here
        self.link.connected()
        return True

    def _read(self, now_ms: int) -> None:
        # Room only shrinks while time stands still: this ends.
        while self._socket is not None and (room := self.link.room(now_ms)):
            try:
                data = self._socket.recv(room)
            except BlockingIOError:
                return
            if not data:
                self.close()
                return
            self.link.heard(data, now_ms)

    def _write(self) -> None:
        if self._socket is None:
            return
        while True:
            # Beyond one message for each open order nothing is held: who does not read is told no more for now.
            self._unsent = self._unsent or b"".join(self.link.outgoing())
            if not self._unsent:
                return
            try:
                sent = self._socket.send(self._unsent)
            except BlockingIOError:
                return
            self._unsent = self._unsent[sent:]


def _listener(connected: socket.socket) -> int:
    """The process that listens at the other end (unix(7), SO_PEERCRED)."""
    return int.from_bytes(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little")
