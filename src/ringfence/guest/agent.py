"""The agent: what it makes of each message, and the loop that holds it, its transport and its healer together."""

from __future__ import annotations

import contextlib
import os
import platform
import queue
import select
import signal
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from types import FrameType
from typing import Final, Protocol

from ringfence.guest.healing import Healed, Healer
from ringfence.guest.protocol import (
    VERSIONS,
    Alive,
    Answer,
    FromGuest,
    Hello,
    Outcome,
    ProtocolError,
    Range,
    Told,
    Unwelcome,
    Welcome,
    What,
    Who,
    encoded,
    from_host,
)
from ringfence.guest.transports import Transport, Way

ANSWERS_KEPT: Final = 64
"""Answers that are given again when the same is told again: a host that was killed has told no more than that."""
MOST_WAITING: Final = 32
"""Messages that wait for the healer, which takes one after the other."""
FIRST_BEAT_S: Final = 10
"""Until a host says how often it wants to hear of the agent."""
RETRY_S: Final = (0.5, 30.0)
"""Between two attempts at a transport: doubled from the first to the second."""

Key = tuple[int, int, What, tuple[Range, ...]]


class Log(Protocol):
    """Where the agent says what happens."""

    def __call__(self, event: str, text: str, /, **facts: object) -> None:
        """``event`` is a word, ``text`` a sentence, ``facts`` are for a machine to read."""
        ...


@dataclass(slots=True)
class Agent:
    """What the agent has been told and has answered. ``hello`` is how it registers; ``log`` hears what happens."""

    hello: Hello
    log: Log
    beat_s: int = FIRST_BEAT_S
    is_welcome: bool = False
    _answers: OrderedDict[Key, Answer] = field(default_factory=OrderedDict)
    _waiting: dict[Key, Told] = field(default_factory=dict)

    def connected(self) -> FromGuest:
        """The host is there, or has begun anew: what to say first."""
        self.is_welcome = False
        return self.hello

    def beat(self) -> FromGuest:
        """What to say now and then: whoever has not been registered asks for it again."""
        return Alive() if self.is_welcome else self.hello

    def heard(self, line: bytes) -> tuple[FromGuest | None, Told | None]:
        """A message of the host: what to say at once, and what to heal."""
        try:
            message = from_host(line)
        except ProtocolError as error:
            self.log("not-understood", f"the host says something that is not understood: {error}")
            return None, None
        match message:
            case Who():
                return self.hello, None
            case Welcome():
                if not self.is_welcome:
                    self.log("registered", f"registered with the host, version {message.version}")
                self.beat_s, self.is_welcome = message.beat_s, True
                return None, None
            case Unwelcome():
                self.log("not-registered", f"the host does not register this agent: {message.why}")
                return None, None
            case Told():
                return self._told(message)

    def _told(self, told: Told) -> tuple[FromGuest | None, Told | None]:
        key = _key(told)
        if (known := self._answers.get(key)) is not None:
            return known, None
        if key in self._waiting:
            return None, None
        if len(self._waiting) >= MOST_WAITING:
            why = f"{MOST_WAITING} others wait already"
            return Answer(id=told.id, case=told.case, outcome=Outcome.REFUSED, why=why), None
        self._waiting[key] = told
        pages = ", ".join(f"{each.address:#x}+{each.size_bytes:#x}" for each in told.ranges)
        must = "must act" if told.must_act else "for information"
        self.log(
            "told", f"case {told.case}: {told.what} ({must}): {pages}",
            case=told.case, id=told.id, pages=str(told.what), must_act=told.must_act,
            ranges=[[each.address, each.size_bytes] for each in told.ranges],
        )  # fmt: skip
        return None, told

    def healed(self, told: Told, healed: Healed) -> FromGuest:
        """The healer has come to an end: what to answer."""
        answer, key = healed.answer, _key(told)
        self._waiting.pop(key, None)
        self._answers[key] = answer
        while len(self._answers) > ANSWERS_KEPT:
            self._answers.popitem(last=False)
        for ran in healed.hooks:
            self.log("hook", f"hook {ran.name}: {ran.why or 'it ended well'}", name=ran.name, code=ran.code)
        did = f" ({', '.join(answer.did)})" if answer.did else ""
        why = f": {answer.why}" if answer.why else ""
        self.log(
            "answered", f"case {answer.case}: {answer.outcome}{did}{why}",
            case=answer.case, id=answer.id, outcome=str(answer.outcome), did=[str(each) for each in answer.did],
            why=answer.why, owners=[[each.pid, each.name, each.unit] for each in healed.owners],
        )  # fmt: skip
        return answer


def _key(told: Told) -> Key:
    return told.id, told.case, told.what, told.ranges


def hello(healer: Healer, version: str) -> Hello:
    """How this agent registers."""
    name = f"ringfence {version}, Linux {platform.release()}"
    return Hello(*VERSIONS, name[:64], healer.can)


class _Worker:
    """Heals in a thread of its own, so that the agent stays alive to its host; ``file`` is readable when it has."""

    def __init__(self, healer: Healer) -> None:
        self._healer = healer
        self._orders: queue.SimpleQueue[Told | None] = queue.SimpleQueue()
        self._ends: queue.SimpleQueue[tuple[Told, Healed]] = queue.SimpleQueue()
        self.file, self._bell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._work, name="healer", daemon=True)
        self._thread.start()

    def begin(self, told: Told) -> None:
        self._orders.put(told)

    def ended(self) -> list[tuple[Told, Healed]]:
        with contextlib.suppress(BlockingIOError):
            os.read(self.file, 4096)
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._ends.get_nowait())
        return found

    def ring(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._bell, b"!")

    def _work(self) -> None:
        while (told := self._orders.get()) is not None:
            try:
                healed = self._healer.heal(told)
            except Exception as error:
                # Whatever it is, the host hears of it, and the agent goes on.
                why = f"the agent has failed: {type(error).__name__}"
                healed = Healed(Answer(id=told.id, case=told.case, outcome=Outcome.FAILED, why=why))
            self._ends.put((told, healed))
            self.ring()


class Service:
    """The agent as a process: it opens its transport again and again, until ``stop``."""

    def __init__(self, agent: Agent, healer: Healer, way: Way, log: Log) -> None:
        self._agent, self._way, self._log = agent, way, log
        self._worker = _Worker(healer)
        self._ends = False

    def stop(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """End soon; for a signal handler."""
        self._ends = True
        self._worker.ring()

    def run(self) -> None:
        """Until it is stopped."""
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self.stop)
        pause_s, said = RETRY_S[0], ""
        while not self._ends:
            try:
                transport = self._way.open()
            except OSError as error:
                if str(error) != said:
                    said = str(error)
                    self._log("unreachable", f"{self._way.word}: {said}; it is tried again and again")
            else:
                try:
                    self._serve(transport)
                except OSError as error:
                    self._log("lost", f"{transport.name}: {error.strerror or error}; it is opened again")
                    pause_s = RETRY_S[0] if self._agent.is_welcome else pause_s
                finally:
                    transport.close()
            self._wait(pause_s)
            pause_s = min(pause_s * 2, RETRY_S[1])

    def _wait(self, pause_s: float) -> None:
        """Between two attempts; what is healed meanwhile is answered when the host tells it again."""
        until_s = time.monotonic() + pause_s
        while not self._ends and (left_s := until_s - time.monotonic()) > 0:
            select.select([self._worker.file], [], [], left_s)
            for told, healed in self._worker.ended():
                self._agent.healed(told, healed)

    def _serve(self, transport: Transport) -> None:
        self._log("connected", f"connected to the host by {transport.name}")
        self._say(transport, self._agent.connected())
        beat_at = time.monotonic() + self._agent.beat_s
        while not self._ends:
            writable = [transport] if transport.has_unsent else []
            files = [transport.fileno(), self._worker.file]
            ready, to_write, _ = select.select(files, writable, [], max(0.0, beat_at - time.monotonic()))
            if to_write:
                transport.flush()
            if transport.fileno() in ready:
                self._take(transport)
            for told, healed in self._worker.ended():
                self._say(transport, self._agent.healed(told, healed))
            if time.monotonic() >= beat_at:
                transport.beat()
                self._take(transport)
                self._say(transport, self._agent.beat())
                beat_at = time.monotonic() + self._agent.beat_s

    def _take(self, transport: Transport) -> None:
        lines = transport.receive()
        if transport.begins_anew():
            self._say(transport, self._agent.connected())
        for line in lines:
            reply, told = self._agent.heard(line)
            if reply is not None:
                self._say(transport, reply)
            if told is not None:
                self._worker.begin(told)

    @staticmethod
    def _say(transport: Transport, message: FromGuest) -> None:
        transport.send(encoded(message))
