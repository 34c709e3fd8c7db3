"""The control socket: who connects is known by the kernel's word, asks a line at a time, and is answered in lines.

A client holds up nobody else. Histories are read from the journal by a reader of their own, in batches, and a follower
that does not read is dropped: the journal is the queue, so none is kept for it in memory.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar, assert_never

import msgspec

from ringfence.errors import RingfenceError
from ringfence.service import answers, parts
from ringfence.service import control_protocol as say
from ringfence.service.answers import Doorkeeping
from ringfence.service.asking import ask
from ringfence.service.control_socket import bound, open_to
from ringfence.service.histories import BATCH, SILENT, Context, batch_of, words_after
from ringfence.service.rights import NEEDED, Peer, Right, Roster, allows
from ringfence.service.writer import Desk, Writer
from ringfence.views.exposition import Exposition

T = TypeVar("T")

MOST_CLIENTS: Final = 32
"""At a time: a console, some dashboards, and people at a bad moment. Each may cost BUFFER_BYTES and a batch of events.
"""
BUFFER_BYTES: Final = 1 << 16
"""What waits for one client beyond the kernel's own socket buffer."""
SLOW_S: Final = 10.0
"""A client that lets its buffer stay full for so long is dropped: it can come back and go on after the last number."""
IDLE_S: Final = 60.0
"""Between two requests."""
PARTING_S: Final = 1.0
"""For a client to see that it was the last reply, and to hang up."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds that a client meets."""

    clients: int = MOST_CLIENTS
    buffer_bytes: int = BUFFER_BYTES
    slow_s: float = SLOW_S
    idle_s: float = IDLE_S


@dataclass(slots=True)
class News:
    """How far the journal is, for those who follow it."""

    last: int = 0
    _come: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, last: int) -> None:
        """The journal has ``last`` events now."""
        self.last = last
        self._come.set()
        self._come = asyncio.Event()

    async def after(self, number: int) -> None:
        """Wait until there is an event after this one."""
        while self.last <= number:
            await self._come.wait()


class Control:
    """The control socket of one process. ``status`` makes the answer to ``Status`` in the writer's thread; ``roster``
    says who may do what now; ``reload`` loads the configuration again, by whom it is told; ``metrics`` gives the
    service's numbers as text; ``test`` tries a webhook out.
    """

    def __init__(  # noqa: PLR0913 (what it reads, whom it asks, and who may)
        self,
        path: Path,
        journal: Path,
        writer: Writer,
        news: News,
        *,
        status: Callable[[Desk, Doorkeeping], say.Health],
        roster: Callable[[], Roster],
        reload: Callable[[str], Awaitable[say.Reloaded | say.Refused]],
        metrics: Callable[[Exposition], Awaitable[str | say.Refused]],
        test: Callable[[str], Awaitable[say.Tested | say.Refused]],
        bounds: Bounds = Bounds(),
    ) -> None:
        self.path, self._journal, self._writer, self._news = path, journal, writer, news
        self._status, self._roster, self._reload, self._bounds = status, roster, reload, bounds
        self._metrics, self._test = metrics, test
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._slow_readers = self._turned_away = self._bad_lines = 0

    # --- its life ----------------------------------------------------------------------------------------------------

    async def open(self, group: asyncio.TaskGroup) -> None:
        """Listen; each client is a task of ``group``. Raises SourceError if it cannot."""
        listening = bound(self.path, self._roster())

        def came(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = group.create_task(self._client(reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        self._server = await asyncio.start_unix_server(came, sock=listening, limit=say.MAX_LINE_BYTES)

    def open_anew(self) -> None:
        """The roster has changed: let those knock who have a right now. Raises SourceError if it cannot."""
        open_to(self.path, self._roster())

    def close(self) -> None:
        """Listen no more, and let every client go."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        with suppress(OSError):  # a disk that is read-only: the next start makes its way
            self.path.unlink(missing_ok=True)

    @property
    def counted(self) -> Doorkeeping:
        """What it has counted."""
        return Doorkeeping(len(self._tasks), self._slow_readers, self._turned_away, self._bad_lines)

    # --- one client --------------------------------------------------------------------------------------------------

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=self._bounds.buffer_bytes)
        try:
            await self._converse(reader, writer)
            await _part(reader, writer)
        except TimeoutError:
            self._slow_readers += 1
        except OSError:
            pass  # it is gone
        except Exception as error:
            # A fault in serving one client is no reason to end the service; it must be seen.
            sys.stderr.write(f"the control socket failed to serve a client: {error!r}\n")
        finally:
            if not writer.is_closing():
                writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection: socket.socket = writer.get_extra_info("socket")
        peer = Peer.of(connection)
        if len(self._tasks) > self._bounds.clients or self._right(peer) is Right.NOTHING:
            self._turned_away += 1
            await self._say(writer, _NOT_ALLOWED if self._right(peer) is Right.NOTHING else _TOO_MANY)
            return
        while (line := await self._line(reader, writer)) is not None:
            request = say.request_of(line)
            if isinstance(request, say.Refused):
                self._bad_lines += 1
                await self._say(writer, request)
            elif not allows(self._right(peer), request):
                await self._say(writer, _too_little(self._right(peer), request))
            elif isinstance(request, say.Events):
                await self._events(request, reader, writer)
                if request.follow:
                    return
            else:
                await self._say(writer, await self._answer(request, peer))

    def _right(self, peer: Peer) -> Right:
        """What the peer may do now: a right that is taken away does not outlive its connection."""
        return self._roster().right_of(peer, own_uid=os.geteuid())

    async def _line(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes | None:
        """The next line; None if the client has nothing more to say."""
        try:
            async with asyncio.timeout(self._bounds.idle_s):
                line = await reader.readline()
        except TimeoutError:
            return None
        except ValueError:
            self._bad_lines += 1
            message = f"a request has at most {say.MAX_LINE_BYTES} bytes"
            await self._say(writer, say.Refused(code=say.Code.TOO_LONG, message=message))
            return None
        return line if line.endswith(b"\n") else None

    async def _say(self, writer: asyncio.StreamWriter, *replies: say.Reply) -> None:
        """Send replies. Raises TimeoutError if the client does not read."""
        # Not writelines: in CPython 3.12 to 3.12.8 and 3.13.0/1 it does not heed the buffer's limit (gh-127655).
        writer.write(b"".join(map(say.line_of, replies)))
        async with asyncio.timeout(self._bounds.slow_s):
            await writer.drain()

    # --- answers -----------------------------------------------------------------------------------------------------

    async def _ask(self, what: Callable[[Desk], T]) -> T | say.Refused:
        return await ask(self._writer, what)

    async def _answer(self, request: say.Question | say.Change, peer: Peer) -> say.Reply:
        if isinstance(request, say.Change):
            return await self._changed(request, await asyncio.to_thread(peer.in_words))
        match request:
            case say.Status():
                health = await self._ask(lambda desk: self._status(desk, self.counted))
                return health if isinstance(health, say.Refused) else await self._to(peer, health)
            case say.Cases(closed=closed):
                return await self._ask(lambda desk: answers.cases(desk, closed=closed))
            case say.Domains():
                return await self._ask(answers.domains)
            case say.Approvals():
                return await self._ask(answers.approvals)
            case say.Parts(all=everything):
                known = await self._ask(parts.look)
                if isinstance(known, say.Refused):
                    return known
                return await asyncio.to_thread(parts.parts, known, everything=everything)
            case say.PageQuery(frame=frame):
                return await self._ask(lambda desk: parts.page(desk, frame))
            case say.Metrics(openmetrics=openmetrics):
                form = Exposition.OPENMETRICS if openmetrics else Exposition.PROMETHEUS
                text = await self._metrics(form)
                return text if isinstance(text, say.Refused) else say.Exposed(media=form.value, text=text)
            case say.TestWebhook(name=name):
                return await self._test(name)
            case never:
                assert_never(never)

    async def _changed(self, request: say.Change, who: str) -> say.Reply:
        """What becomes of a change that ``who`` asks for."""
        match request:
            case say.Approve():
                return await self._ask(lambda desk: answers.approve(desk, request, who))
            case say.Do():
                return await self._ask(lambda desk: answers.do(desk, request, who))
            case say.Unpause() | say.Page() | say.Cpu():
                return await self._ask(lambda desk: answers.step(desk, request, who))
            case say.Clear():
                return await self._cleared(request, who)
            case say.Reload():
                return await self._reload(who)
            case never:
                assert_never(never)

    async def _cleared(self, request: say.Clear, who: str) -> say.Reply:
        known = await self._ask(parts.look)
        key = known if isinstance(known, say.Refused) else await asyncio.to_thread(parts.meant, known, request.part)
        if isinstance(key, say.Refused):
            return key
        return await self._ask(lambda desk: parts.clear(desk, request, key, who))

    async def _to(self, peer: Peer, health: say.Health) -> say.Health:
        """The health as it is told to this client: with what it may do itself."""
        who = await asyncio.to_thread(peer.in_words)
        return msgspec.structs.replace(health, you=who, you_may=tuple(map(str, self._right(peer).held)))

    # --- histories ---------------------------------------------------------------------------------------------------

    async def _events(self, asked: say.Events, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not (0 <= asked.last <= say.MOST_EVENTS and 0 <= (asked.after or 0) <= say.MOST_NUMBER):
            message = f"last is 0 to {say.MOST_EVENTS}, after 0 to {say.MOST_NUMBER}"
            await self._say(writer, say.Refused(code=say.Code.BAD_REQUEST, message=message))
            return
        context = await self._ask(Context.of)
        if isinstance(context, say.Refused):
            await self._say(writer, context)
            return
        telling = asyncio.create_task(self._tell(asked, context, writer))
        # Who follows says no more: the next that is read is the end of the connection.
        leaving = asyncio.create_task(reader.read(1)) if asked.follow else None
        tasks = {each for each in (telling, leaving) if each is not None}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in tasks:
                each.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _tell(self, asked: say.Events, context: Context, writer: asyncio.StreamWriter) -> None:
        try:
            if asked.after is None:
                number = await self._tell_last(asked.last, context, writer)
            else:
                number = await self._tell_after(asked.after, asked.last, context, writer)
            words = await asyncio.to_thread(words_after, self._journal, context, number)
            while asked.follow:
                await self._news.after(number)
                batch = await asyncio.to_thread(batch_of, self._journal, number, BATCH)
                number = batch[-1][0] if batch else number
                await self._say(writer, *words.all(batch))
        except RingfenceError as error:
            await self._say(writer, say.Refused(code=say.Code.FAILED, message=str(error), advice=error.advice))
            return
        await self._say(writer, say.End(last=number))

    async def _tell_last(self, most: int, context: Context, writer: asyncio.StreamWriter) -> int:
        """Tell the last events that say something; the number of the last one that was read."""
        known = self._news.last
        number = max(0, known - SILENT * most)
        words = await asyncio.to_thread(words_after, self._journal, context, number)
        found = deque[say.Event](maxlen=most)
        while number < known and (
            batch := await asyncio.to_thread(batch_of, self._journal, number, min(BATCH, known - number))
        ):
            number = batch[-1][0]
            found.extend(words.all(batch))
        while found:
            await self._say(writer, *(found.popleft() for _ in range(min(BATCH, len(found)))))
        return known

    async def _tell_after(self, number: int, most: int, context: Context, writer: asyncio.StreamWriter) -> int:
        """Tell the events after a number; the number of the last one that was read."""
        words = await asyncio.to_thread(words_after, self._journal, context, number)
        while most > 0 and (batch := await asyncio.to_thread(batch_of, self._journal, number, min(BATCH, most))):
            number = batch[-1][0]
            most -= len(batch)
            await self._say(writer, *words.all(batch))
        return number


_ADVICE: Final = (
    "Root and the service's own user may; others by [rights] in the configuration, or to look by the group that "
    "`ringfence run --read-group` names."
)
_NOT_ALLOWED: Final = say.Refused(code=say.Code.NOT_ALLOWED, message="you may not use this socket", advice=_ADVICE)


def _too_little(right: Right, request: say.Request) -> say.Refused:
    message = f"you may {', '.join(right.held) or 'do nothing'} here; this needs the right to {NEEDED[type(request)]}"
    return say.Refused(code=say.Code.NOT_ALLOWED, message=message, advice=_ADVICE)


_TOO_MANY: Final = say.Refused(
    code=say.Code.BUSY, message="too many clients are connected", advice="Try again, or end one that follows events."
)


async def _part(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close so that the last reply arrives: input that nobody has read would take it away (ECONNRESET)."""
    writer.write_eof()
    with suppress(TimeoutError):
        async with asyncio.timeout(PARTING_S):
            while await reader.read(say.MAX_LINE_BYTES):
                pass
    writer.close()
