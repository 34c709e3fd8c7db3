"""A receiver of webhooks on loopback that behaves as it is told, and a house with a real writer to tell from."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ringfence.decision.policy import DEFAULT
from ringfence.diagnosis.fault_case import Ending
from ringfence.journal import events as ev
from ringfence.service import answers
from ringfence.service import control_protocol as say
from ringfence.service.attendants import House, Problems
from ringfence.service.configuration.configuration import Configuration
from ringfence.service.configuration.outlets import Webhook
from ringfence.service.control import News
from ringfence.service.measures import Measures
from ringfence.service.model_world import ModelWorld, nothing
from ringfence.service.policy_source import loaded
from ringfence.service.writer import Desk, Writer
from ringfence.world.situation import Suspect

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Got:
    """A request as it came."""

    head: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found

    @property
    def name(self) -> str:
        """What the event is about, as ``tell`` called it."""
        text = str(self.event["data"]["text"])
        return text.partition(" ")[2].partition(":")[0]


Behave = Callable[[asyncio.StreamReader, asyncio.StreamWriter, Got], Any]


def answers_with(status: str, *headers: str, body: str = "") -> Behave:
    """A receiver that answers so."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: Got) -> None:
        lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", body]
        writer.write("\r\n".join(lines).encode())
        await writer.drain()

    return behave


def says(text: bytes) -> Behave:
    """A receiver that says just that, and hangs up."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: Got) -> None:
        writer.write(text)
        await writer.drain()

    return behave


async def hangs(reader: asyncio.StreamReader, _: asyncio.StreamWriter, __: Got) -> None:
    """A receiver that takes the request and never answers."""
    await reader.read(1)


async def drips(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: Got) -> None:
    """A receiver that answers a byte at a time, without an end."""
    with suppress(ConnectionError):
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X: y\r\n")
            await writer.drain()
            await asyncio.sleep(0.02)


OK = answers_with("204 No Content")


@dataclass
class Receiver:
    """A server of its own thread: ``behaviours`` are for one request each, the last one for all that come after."""

    behaviours: list[Behave] = field(default_factory=lambda: [OK])
    got: list[Got] = field(default_factory=list)
    port: int = 0
    _loop: asyncio.AbstractEventLoop | None = None
    _stop: asyncio.Event | None = None
    _thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?a=1"

    @property
    def names(self) -> list[str]:
        return [each.name for each in self.got]

    def __enter__(self) -> Self:
        begun = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(begun)))
        self._thread.start()
        begun.wait(PATIENCE_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._loop is not None
        assert self._stop is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE_S)

    async def _serve(self, begun: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        tasks = set[asyncio.Task[None]]()

        async def came(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                    await self._one(reader, writer)
            finally:
                tasks.discard(task)
                writer.transport.abort()

        server = await asyncio.start_server(came, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        begun.set()
        await self._stop.wait()
        server.close()
        for each in list(tasks):
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
        first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        self.got.append(got := Got(first, headers, body))
        behave = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
        await behave(reader, writer, got)
        if writer.can_write_eof():
            writer.write_eof()


@contextmanager
def receiver(*behaviours: Behave) -> Iterator[Receiver]:
    with Receiver(list(behaviours) or [OK]) as made:
        yield made


# --- a house ----------------------------------------------------------------------------------------------------------


@dataclass
class Home:
    """A house whose writer lives."""

    house: House
    writer: Writer

    async def tell(self, *names: str) -> None:
        """Have an event for each name in the journal."""
        await asyncio.wrap_future(self.writer.ask(lambda desk: write(desk, *names)))
        await self.house.news.after(self.house.news.last - 1)

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(self.house.problems)


def write(desk: Desk, *names: str) -> None:
    for name in names:
        desk.loop.note(ev.Cleared(at_ms=desk.world.host.now_ms(), suspect=Suspect.DIMM, name=name, how=Ending.REPAIRED))


def health(desk: Desk, door: answers.Doorkeeping) -> say.Health:
    return answers.health(desk, door, state_dir=Path("/state"), started_wall_ms=0, policy_problem="")


@asynccontextmanager
async def home(state_dir: Path) -> AsyncIterator[Home]:
    loop = asyncio.get_running_loop()
    news, ended = News(), asyncio.Event()

    def told(last: int) -> None:
        loop.call_soon_threadsafe(news.tell, last)

    def over(_: BaseException | None) -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(ended.set)

    writer = Writer(
        state_dir / "journal.sqlite",
        lambda boot: ModelWorld(nothing(), DEFAULT, seed=1, boot=boot),
        loaded(None),
        plugins={},
        told=told,
        ended=over,
    )
    house = House(
        state_dir=state_dir,
        journal=state_dir / "journal.sqlite",
        writer=writer,
        news=news,
        problems=Problems(),
        configuration=Configuration,
        status=health,
        samples=lambda _: (),
        measures=Measures(),
    )
    writer.start()
    await news.after(0)
    try:
        yield Home(house, writer)
    finally:
        writer.stop("the test is over")
        await ended.wait()
        await asyncio.to_thread(writer.join)


async def until(what: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(patience_s):
        while not what():
            await asyncio.sleep(0.005)


def webhook(url: str, **keys: Any) -> Webhook:
    """A receiver's settings: only what ``tell`` tells, and pauses for tests."""
    return Webhook(**{"name": "ops", "url": url, "events": ("fault.ended",), "longest_pause_s": 1.0, **keys})
