"""The long-running process: one writer's thread, the control socket, signals, and systemd, put together.

Every task belongs to one TaskGroup: what fails in one of them ends the process in order, and nothing outlives it.
Queues, each with its bound: the writer's inbox (``writer.INBOX``), a client's line
(``control_protocol.MAX_LINE_BYTES``) and what waits for it (``control.BUFFER_BYTES``); signals of a kind that come
together count as one.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ringfence.decision.policy import DEFAULT
from ringfence.errors import RingfenceError, SourceError
from ringfence.service import answers, plugins
from ringfence.service.answers import Doorkeeping, wall_ms
from ringfence.service.attendants import Attendant, House, Problems, keep
from ringfence.service.configuration.configuration import DEFAULT as DEFAULT_CONFIGURATION
from ringfence.service.configuration.configuration import Configuration
from ringfence.service.control import Control, News
from ringfence.service.control_protocol import Health
from ringfence.service.model_world import ModelWorld, Play
from ringfence.service.notify import Notifier, watch
from ringfence.service.policy_source import Loaded, loaded
from ringfence.service.writer import BusyError, Desk, World, Writer

STOPPING_S: Final = 20.0
"""The writer's last turn and the journal's end; systemd waits 90 s (DefaultTimeoutStopSec)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the process runs with. ``policy`` None: the one of what is played, or the default."""

    state_dir: Path
    journal: Path
    socket: Path
    play: Play
    seed: int = 1
    policy: str | None = None
    reading_group: int | None = None
    configuration: Configuration = DEFAULT_CONFIGURATION


class Process:
    """One life of the process. ``run`` it once."""

    def __init__(self, settings: Settings, notifier: Notifier, attendants: Sequence[Attendant] = ()) -> None:
        """Raises SourceError or PolicyError if the policy cannot be loaded."""
        self._settings, self._notifier, self._attendants = settings, notifier, tuple(attendants)
        self._configuration = settings.configuration
        self._problems = Problems()
        played = settings.play.scenario.policy if settings.policy is None else DEFAULT
        self._policy = loaded(settings.policy, otherwise=played)
        self._policy_problem = ""
        self._started_wall_ms = wall_ms()
        self._news = News()
        self._hangup = asyncio.Event()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises RingfenceError if the process cannot go on."""
        try:
            asyncio.run(self._serve())
        except BaseExceptionGroup as group:
            # Whatever ended with the first fault came of it.
            raise _first(group) from group

    # --- its life ----------------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        began: asyncio.Future[None] = loop.create_future()
        ended: asyncio.Future[None] = loop.create_future()

        def told(last: int) -> None:
            self._news.tell(last)
            if not began.done():
                began.set_result(None)

        def over(error: BaseException | None) -> None:
            if ended.done():
                return
            if error is None:
                ended.set_result(None)
            else:
                ended.set_exception(error)

        writer = Writer(
            self._settings.journal,
            self._world,
            self._policy,
            plugins=plugins.installed(),
            told=lambda last: _in_loop(loop, lambda: told(last)),
            ended=lambda error: _in_loop(loop, lambda: over(error)),
        )
        self._heed_signals(writer)
        writer.start()
        try:
            await asyncio.wait({began, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await self._attend(writer, ended)
            await ended
        finally:
            writer.stop("the process ends")
            await asyncio.to_thread(writer.join, STOPPING_S)

    async def _attend(self, writer: Writer, ended: asyncio.Future[None]) -> None:
        """Serve clients, signals and systemd until the writer has ended."""
        control = Control(
            self._settings.socket,
            self._settings.journal,
            writer,
            self._news,
            status=self._health,
            reading_group=self._settings.reading_group,
        )
        async with asyncio.TaskGroup() as group:
            await control.open(group)
            house = self._house(writer)
            tasks = [
                group.create_task(self._reloads(writer)),
                group.create_task(watch(self._notifier, lambda: writer.beat_s)),
                *(group.create_task(keep(each, house), name=each.name) for each in self._attendants),
            ]
            self._notifier.ready(self._status_line)
            try:
                await asyncio.wait({ended})
            finally:
                for task in tasks:
                    task.cancel()
                control.close()

    def _house(self, writer: Writer) -> House:
        return House(
            state_dir=self._settings.state_dir,
            journal=self._settings.journal,
            writer=writer,
            news=self._news,
            problems=self._problems,
            configuration=lambda: self._configuration,
            status=self._health,
        )

    def _world(self, boot: int) -> World:
        settings = self._settings
        return ModelWorld(settings.play, self._policy.policy, seed=settings.seed, boot=boot)

    @property
    def _status_line(self) -> str:
        policy = self._policy.file.path or "the default policy"
        return f"on the model host {self._settings.play.scenario.name!r}, policy: {policy} ({self._policy.digest})"

    def _health(self, desk: Desk, door: Doorkeeping) -> Health:
        return answers.health(
            desk,
            door,
            state_dir=self._settings.state_dir,
            started_wall_ms=self._started_wall_ms,
            policy_problem=self._policy_problem,
            problems=tuple(self._problems),
        )

    # --- signals -----------------------------------------------------------------------------------------------------

    def _heed_signals(self, writer: Writer) -> None:
        loop = asyncio.get_running_loop()

        def end(name: str) -> None:
            self._notifier.stopping()
            writer.stop(name)

        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, end, each.name)
        loop.add_signal_handler(signal.SIGHUP, self._hangup.set)

    async def _reloads(self, writer: Writer) -> None:
        while True:
            await self._hangup.wait()
            self._hangup.clear()
            await self._reload(writer)

    async def _reload(self, writer: Writer) -> None:
        """Load the policy's file anew. One that is bad is not in force: what was before goes on, and it is said so."""
        path = self._settings.policy
        if path is None:
            _say("SIGHUP: there is no policy file to load again")
            return
        self._notifier.reloading()
        try:
            policy = await asyncio.to_thread(loaded, path)
            await self._put_in_force(writer, policy)
        except RingfenceError as error:
            self._policy_problem = str(error)
            _say(f"SIGHUP: the policy is not loaded, the one before goes on:\n{error}\n{error.advice}")
            self._notifier.ready(f"{self._status_line}; the file is not in force: {error}")
            return
        self._policy, self._policy_problem = policy, ""
        _say(f"SIGHUP: the policy {path} is in force ({policy.digest})")
        self._notifier.ready(self._status_line)

    async def _put_in_force(self, writer: Writer, policy: Loaded) -> None:
        try:
            await asyncio.wrap_future(writer.ask(lambda desk: desk.load(policy)))
        except BusyError as error:
            advice = "Send SIGHUP again in a moment."
            raise SourceError(policy.file.path, "the service is too busy to take it", advice=advice) from error


def _in_loop(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    """Have something done in the event loop's thread, if it still runs."""
    with suppress(RuntimeError):  # closed: nobody listens any more
        loop.call_soon_threadsafe(what)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _say(text: str) -> None:
    """Words for the operator: systemd takes standard error into its journal."""
    sys.stderr.write(f"ringfence: {text}\n")
    sys.stderr.flush()
