"""Connections, from the kernel's hand to the HTTP protocol: counted, timed, and let go when they hold things up.

The protocol itself bounds neither how many there are, nor how long the first request may take to come, nor how long an
answer may lie unread; a look at every connection each second does.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ringfence.service.http.door import Door
from ringfence.service.rights import Peer

LOOK_S: Final = 1.0
"""Between two looks at the connections: the times of ``Bounds`` are kept to within this."""
EXHAUSTED_S: Final = 1.0
"""For which nobody is let in after the process has run out of files (accept(2), EMFILE)."""


@dataclass(slots=True, eq=False)
class Connection:
    """One connection. ``busy`` while a request is served; ``since_s`` is when that, or the wait for one, began.

    ``address`` is the peer's on the network, empty on a unix socket, where ``peer`` says who it is.
    """

    address: str
    peer: Peer | None
    since_s: float
    moved_s: float
    waiting_bytes: int = 0
    served: int = 0
    busy: bool = False
    transport: asyncio.Transport | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self, now_s: float) -> None:
        """A request has come."""
        self.busy, self.since_s, self.moved_s = True, now_s, now_s

    def end(self, now_s: float) -> None:
        """It is answered."""
        self.busy, self.since_s, self.moved_s = False, now_s, now_s
        self.served += 1

    def abort(self) -> None:
        """End it now, whatever lies unsent."""
        if self.transport is not None:
            self.transport.abort()


class Guarded(asyncio.Protocol):
    """An HTTP protocol whose connection is known. ``inner`` is told everything that asyncio tells."""

    def __init__(self, inner: asyncio.Protocol, connection: Connection, over: Callable[[Guarded], None]) -> None:
        self.inner, self.connection, self._over = inner, connection, over

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 (a stream's, as connect_accepted_socket makes it)
        self.connection.transport = transport
        self.inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        self.inner.data_received(data)

    def eof_received(self) -> bool | None:
        """See asyncio."""
        return self.inner.eof_received()

    def pause_writing(self) -> None:
        """See asyncio."""
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        """See asyncio."""
        self.inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self.connection.gone.set()
        self._over(self)
        self.inner.connection_lost(exc)


class Connections:
    """All connections of one listening place. ``make`` makes the HTTP protocol of one, ``known`` are those of
    every place by their protocols.
    """

    def __init__(
        self, door: Door, make: Callable[[], asyncio.Protocol], known: dict[asyncio.Protocol, Connection]
    ) -> None:
        self._door, self._make = door, make
        self._places = asyncio.Semaphore(door.bounds.connections)
        self._opening: set[asyncio.Task[None]] = set()
        self._known, self._mine = known, dict[asyncio.Protocol, Connection]()

    async def accept(self, listening: socket.socket, tls: Callable[[], ssl.SSLContext | None]) -> None:
        """Let clients in until cancelled; beyond the bound they wait in the kernel's queue, which has one as well."""
        loop = asyncio.get_running_loop()
        is_unix = listening.family == socket.AF_UNIX
        while True:
            await self._places.acquire()
            try:
                accepted, address = await loop.sock_accept(listening)
            except OSError:
                self._places.release()
                await asyncio.sleep(EXHAUSTED_S)
                continue
            except BaseException:
                self._places.release()
                raise
            try:
                # Left alone, the kernel keeps some megabytes for a client that does not read (tcp(7), tcp_wmem).
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._door.bounds.buffer_bytes)
                peer = Peer.of(accepted) if is_unix else None
            except OSError:  # it is gone already
                self._places.release()
                accepted.close()
                continue
            now_s = self._door.monotonic_s()
            connection = Connection("" if is_unix else str(address[0]), peer, now_s, now_s)
            task = loop.create_task(self._open(accepted, connection, None if is_unix else tls()))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, accepted: socket.socket, connection: Connection, tls: ssl.SSLContext | None) -> None:
        """Hand a connection to its protocol, after TLS's handshake if there is one."""
        bounds, inner = self._door.bounds, self._make()
        guarded = Guarded(inner, connection, self._over)
        self._known[inner] = self._mine[inner] = connection
        self._door.counted.connections += 1
        shake_s = bounds.first_s if tls is not None else None
        try:
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                lambda: guarded, accepted, ssl=tls, ssl_handshake_timeout=shake_s, ssl_shutdown_timeout=shake_s
            )
            transport.set_write_buffer_limits(high=bounds.buffer_bytes)
        except (OSError, asyncio.CancelledError):
            accepted.close()
            self._over(guarded)

    def _over(self, guarded: Guarded) -> None:
        self._known.pop(guarded.inner, None)
        if self._mine.pop(guarded.inner, None) is not None:
            self._door.counted.connections -= 1
            self._places.release()

    def look(self) -> None:
        """End the connections that hold things up. Called each ``LOOK_S``."""
        now_s, bounds = self._door.monotonic_s(), self._door.bounds
        for each in list(self._mine.values()):
            if each.transport is None:
                continue  # in its handshake, which has a time of its own
            waiting_bytes = each.transport.get_write_buffer_size()
            if waiting_bytes < each.waiting_bytes or not waiting_bytes:
                each.moved_s = now_s
            each.waiting_bytes = waiting_bytes
            if now_s - each.moved_s > bounds.slow_s:
                self._door.counted.slow += 1
                each.abort()
            elif not each.busy and now_s - each.since_s > (bounds.idle_s if each.served else bounds.first_s):
                each.abort()

    def close(self) -> None:
        """End all of them."""
        for task in self._opening:
            task.cancel()
        for each in list(self._mine.values()):
            each.abort()
