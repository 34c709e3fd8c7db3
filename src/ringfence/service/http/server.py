"""The HTTP server as an attendant of the process: its sockets, its certificate, and its configuration as it changes."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import sys
from collections.abc import Callable
from typing import Final

from ringfence.errors import MissingExtraError, RingfenceError
from ringfence.service.attendants import House
from ringfence.service.configuration.http import Http
from ringfence.service.configuration.places import NetworkPlace, Place, UnixPlace
from ringfence.service.http.bounds import BOUNDS, Bounds
from ringfence.service.http.connections import LOOK_S, Connection, Connections
from ringfence.service.http.door import Door
from ringfence.service.http.listening import Certificate, certificate_of, listening, names
from ringfence.service.http.table import ROUTES
from ringfence.service.rights import Roster

try:
    from aiohttp import web

    from ringfence.service.http.app import App, protocol_of
except ImportError as error:  # pragma: no cover - a test runs it in a process without the library
    raise MissingExtraError("The HTTP API", "web") from error

_SILENT: Final = logging.getLogger("ringfence.http.protocol")
"""Where the library says what is wrong with a client's bytes: nowhere, or any client could fill the log."""
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


ENDING_S: Final = 2.0
"""For requests that are served when the process ends; their connections are gone by then."""


class HttpServer:
    """Serves the API and the console while its configuration has it enabled."""

    name = "HTTP"

    def __init__(self, bounds: Bounds = BOUNDS) -> None:
        self._bounds = bounds
        self.door: Door | None = None
        """What it knows of its clients; None until it serves."""
        self.addresses: tuple[str, ...] = ()
        """Where it listens: a port 0 in the configuration has become a real one."""

    async def attend(self, house: House) -> None:
        """Serve until cancelled. Raises SourceError if it cannot listen, or the certificate is no good."""
        if not house.configuration().http.enabled:
            return
        serving = await _Serving.begun(house, self._bounds)
        self.door, self.addresses = serving.door, serving.addresses
        _say(f"HTTP at {', '.join(serving.addresses)}")
        try:
            while True:
                await asyncio.sleep(LOOK_S)
                await serving.look()
                house.problems.says(self.name, "; ".join(serving.problems.values()))
                self.addresses = serving.addresses
        finally:
            await serving.close()


class _Listener:
    """One place that is listened at."""

    def __init__(self, place: Place, listens: socket.socket, connections: Connections) -> None:
        self.place, self.socket, self.connections = place, listens, connections
        self._accepting: asyncio.Task[None] | None = None

    def begin(self, tls: Callable[[], ssl.SSLContext | None]) -> None:
        """Let clients in."""
        self._accepting = asyncio.get_running_loop().create_task(self.connections.accept(self.socket, tls))

    def look(self) -> None:
        """See to the connections. Raises whatever ended the letting in."""
        if self._accepting is not None and self._accepting.done():
            self._accepting.result()
        self.connections.look()

    async def close(self) -> None:
        """Let nobody in any more, and everybody go."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait({self._accepting})
        self.connections.close()
        self.leave()

    def leave(self) -> None:
        """Give the place up."""
        self.socket.close()
        if isinstance(self.place, UnixPlace):
            self.place.path.unlink(missing_ok=True)

    @property
    def address(self) -> str:
        """The place as it is, with the port that the kernel chose where none was named."""
        if isinstance(self.place, UnixPlace):
            return str(self.place)
        host, port, *_ = self.socket.getsockname()
        return str(NetworkPlace(host, port))


class _Serving:
    """What one configuration makes, and what becomes of it when that changes."""

    def __init__(self, house: House, bounds: Bounds, roster: Roster) -> None:
        self._house, self._roster = house, roster
        self._configuration = house.configuration()
        self._listeners: dict[Place, _Listener] = {}
        self._ended: list[_Listener] = []
        self._known: dict[asyncio.Protocol, Connection] = {}
        self._names: frozenset[str] = frozenset()
        self._certificate: Certificate | None = None
        self._marks: tuple[int, ...] = ()
        self._context: ssl.SSLContext | None = None
        self.door = Door.of(house.state_dir, bounds)
        self.problems: dict[str, str] = {}
        app = App(
            house,
            self.door,
            ROUTES,
            connection_of=self._connection_of,
            names=lambda: self._names,
            roster=lambda: self._roster,
        )
        self._runner = web.AppRunner(
            app.web,
            handle_signals=False,
            access_log=None,
            logger=_SILENT,
            shutdown_timeout=ENDING_S,
            keepalive_timeout=bounds.idle_s,
            lingering_time=bounds.body_s,
            max_line_size=bounds.head_bytes,
            max_field_size=bounds.head_bytes,
            max_headers=bounds.headers,
            auto_decompress=False,
        )

    def _connection_of(self, request: web.BaseRequest) -> Connection:
        """The connection of a request. Raises ConnectionResetError if it is gone."""
        found = self._known.get(request.protocol)
        if found is None:
            raise ConnectionResetError
        return found

    @classmethod
    async def begun(cls, house: House, bounds: Bounds) -> _Serving:
        """Listening as the configuration says. Raises SourceError if that cannot be."""
        found = cls(house, bounds, await asyncio.to_thread(Roster.of, house.configuration().rights))
        await found._runner.setup()
        try:
            found._apply(house.configuration().http)
        except BaseException:
            await found.close()
            raise
        return found

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens."""
        return tuple(each.address for each in self._listeners.values())

    async def close(self) -> None:
        """Serve no more."""
        for each in (*self._listeners.values(), *self._ended):
            await each.close()
        await self._runner.cleanup()

    async def look(self) -> None:
        """See to the connections, to the certificate's files, and to what a reload has changed."""
        while self._ended:
            await self._ended.pop().close()
        for each in self._listeners.values():
            each.look()
        now = self._house.configuration()
        if now is not self._configuration:
            before, self._configuration = self._configuration, now
            if now.rights != before.rights:
                self._roster = await asyncio.to_thread(Roster.of, now.rights)
            if now.http != before.http:
                self._try("configuration", lambda: self._apply(now.http))
        certificate = self._certificate
        if certificate is not None and (marks := certificate.marks()) and marks != self._marks:
            self._try("certificate", lambda: self._load(certificate))

    def _try(self, what: str, change: Callable[[], None]) -> None:
        """Make a change; one that is bad changes nothing, and is told."""
        try:
            change()
        except RingfenceError as error:
            self.problems[what] = f"the {what} of before goes on: {error} ({error.advice})"
        else:
            self.problems.pop(what, None)

    def _apply(self, settings: Http) -> None:
        """Listen where the configuration says; what was there already stays as it is. Raises SourceError."""
        server = self._runner.server
        assert server is not None  # noqa: S101 (set up in begun; narrowed for the type checker)
        wanted, certificate = settings.places, certificate_of(settings)
        context = certificate.context() if certificate is not None else None
        marks = certificate.marks() if certificate is not None else ()
        made: list[_Listener] = []
        try:
            for place in wanted:
                if place not in self._listeners:
                    connections = Connections(self.door, lambda: protocol_of(server()), self._known)
                    made.append(_Listener(place, listening(place, self._roster), connections))
        except BaseException:
            for each in made:
                each.leave()
            raise
        self._certificate, self._marks, self._context = certificate, marks, context
        self._names = names(settings)
        self._ended += [self._listeners.pop(place) for place in list(self._listeners) if place not in wanted]
        for each in made:
            self._listeners[each.place] = each
            each.begin(lambda: self._context)

    def _load(self, certificate: Certificate) -> None:
        """Take a certificate that was replaced; connections that there are keep theirs. Raises SourceError."""
        self._marks = certificate.marks()
        self._context = certificate.context()


def _say(text: str) -> None:
    """Words for the operator: systemd takes standard error into its journal."""
    sys.stderr.write(f"ringfence: {text}\n")
    sys.stderr.flush()
