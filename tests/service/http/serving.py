"""The HTTP server on real sockets with a real writer behind it, in a thread; and a client that says what it is told."""

from __future__ import annotations

import asyncio
import http.client
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ringfence.decision.policy import DEFAULT
from ringfence.service import answers
from ringfence.service import control_protocol as say
from ringfence.service.attendants import House, Problems, keep
from ringfence.service.configuration.configuration import Configuration
from ringfence.service.configuration.http import Http
from ringfence.service.control import News
from ringfence.service.http import tokens
from ringfence.service.http.bounds import BOUNDS, Bounds
from ringfence.service.http.door import Door
from ringfence.service.http.routes import Scope
from ringfence.service.http.server import HttpServer
from ringfence.service.measures import Measures
from ringfence.service.model_world import ModelWorld, Play, nothing
from ringfence.service.policy_source import loaded
from ringfence.service.writer import Desk, Writer

T = TypeVar("T")
PATIENCE_S = 60.0


def until(what: Callable[[], T | None], patience_s: float = PATIENCE_S) -> T:
    """What ``what`` gives as soon as it gives anything true."""
    end_s = time.monotonic() + patience_s
    while time.monotonic() < end_s:
        if found := what():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


@dataclass(frozen=True)
class Said:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class OverUnix(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)  # waits while the queue is full, as it does without a timeout only
        self.sock.settimeout(PATIENCE_S)


@dataclass
class Client:
    """Whoever asks: each request on a connection of its own. ``place`` is an address, or a path."""

    place: str
    token: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def connect(self) -> http.client.HTTPConnection:
        if self.place.startswith("/"):
            return OverUnix(self.place)
        host, _, port = self.place.rpartition(":")
        return http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)

    def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Said:
        """A request; ``body`` becomes JSON unless it is bytes."""
        connection = self.connect()
        given = {**self.headers, **(headers or {})}
        if self.token:
            given.setdefault("Authorization", f"Bearer {self.token}")
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if data is not None:
            given.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body=data, headers=given)
            found = connection.getresponse()
            return Said(found.status, {name.lower(): value for name, value in found.getheaders()}, found.read())
        finally:
            connection.close()

    def get(self, path: str) -> Said:
        return self.ask("GET", path)

    def post(self, path: str, body: object) -> Said:
        return self.ask("POST", path, body)


def health(desk: Desk, door: answers.Doorkeeping) -> say.Health:
    return answers.health(desk, door, state_dir=Path("/state"), started_wall_ms=0, policy_problem="")


@dataclass
class Served:
    """A server that runs."""

    state_dir: Path
    server: HttpServer
    house: House
    configuration: Configuration

    @property
    def door(self) -> Door:
        assert self.server.door is not None
        return self.server.door

    @property
    def address(self) -> str:
        return next(each for each in self.server.addresses if not each.startswith("/"))

    def client(self, *scopes: Scope, name: str = "") -> Client:
        """A client on the network, with a token of these scopes; without scopes, without a token."""
        return Client(self.address, self.token(*scopes, name=name) if scopes else "")

    def over_unix(self) -> Client:
        return Client(next(each for each in self.server.addresses if each.startswith("/")))

    def token(self, *scopes: Scope, name: str = "", expires_wall_ms: int | None = None) -> str:
        path = self.state_dir / tokens.FILE
        named = name or f"t{len(tokens.read(path))}"
        now_ms = time.time_ns() // 1_000_000
        return tokens.create(path, named, scopes, wall_ms=now_ms, expires_wall_ms=expires_wall_ms)


@contextmanager
def served(  # noqa: PLR0915 (a whole service, from its beginning to its end)
    directory: Path,
    *,
    bounds: Bounds = BOUNDS,
    http: Http | None = None,
    journal: Path | None = None,
    play: Play | None = None,
) -> Iterator[Served]:
    """A server with a writer of its own, on any free port and on a unix socket; ``journal`` is copied to begin with."""
    state_dir = directory / "state"
    state_dir.mkdir(exist_ok=True)
    if journal is not None:
        shutil.copy(journal, state_dir / "journal.sqlite")
    settings = http or Http(enabled=True, listen=("127.0.0.1:0", str(directory / "h")))
    begun, found, wrong = threading.Event(), list[Served](), list[BaseException]()
    stop: list[Callable[[], None]] = []

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        news, ended, told = News(), asyncio.Event(), asyncio.Event()

        def tell(last: int) -> None:
            news.tell(last)
            told.set()

        writer = Writer(
            state_dir / "journal.sqlite",
            lambda boot: ModelWorld(play or nothing(), DEFAULT, seed=1, boot=boot),
            loaded(None),
            plugins={},
            told=lambda last: _soon(loop, lambda: tell(last)),
            ended=lambda _: _soon(loop, ended.set),
        )
        writer.start()
        await told.wait()
        server = HttpServer(bounds)
        configuration = Configuration(http=settings)
        house = House(
            state_dir=state_dir,
            journal=state_dir / "journal.sqlite",
            writer=writer,
            news=news,
            problems=Problems(),
            configuration=lambda: found[0].configuration,
            status=health,
            samples=lambda _: (),
            measures=Measures(),
        )
        found.append(Served(state_dir, server, house, configuration))
        over = asyncio.Event()
        stop.append(lambda: _soon(loop, over.set))
        task = asyncio.create_task(keep(server, house))
        while not server.addresses and not tuple(house.problems):
            await asyncio.sleep(0.005)
        begun.set()
        try:
            await over.wait()
        finally:
            task.cancel()
            await asyncio.wait({task})
            writer.stop("the test is over")
            await ended.wait()
            await asyncio.to_thread(writer.join)

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            wrong.append(error)
        finally:
            begun.set()

    thread = threading.Thread(target=run, name="served")
    thread.start()
    begun.wait(PATIENCE_S)
    try:
        if wrong:
            raise wrong[0]
        yield found[0]
    finally:
        for each in stop:
            each()
        thread.join(PATIENCE_S)
    if wrong:
        raise wrong[0]


def _soon(loop: asyncio.AbstractEventLoop, what: Callable[[], object]) -> None:
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(what)


def changed(http: Http, **keys: object) -> Http:
    """A configuration with other values."""
    return msgspec.structs.replace(http, **keys)


def raw(place: str) -> socket.socket:
    """A bare connection."""
    if place.startswith("/"):
        found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        found.connect(place)  # waits while the queue is full, as it does without a timeout only
        found.settimeout(PATIENCE_S)
        return found
    host, _, port = place.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE_S)
