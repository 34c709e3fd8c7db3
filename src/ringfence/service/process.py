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
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from ringfence.decision.policy import DEFAULT
from ringfence.errors import RingfenceError, SourceError
from ringfence.journal import events as ev
from ringfence.journal.salvage import opened
from ringfence.journal.store import DISK_TAKES_NOTHING, PATIENCE_S
from ringfence.journal.waiting import opened_or_waiting
from ringfence.service import answers, plugins
from ringfence.service.answers import Doorkeeping, wall_ms
from ringfence.service.attendants import Attendant, House, Problems, keep
from ringfence.service.configuration.configuration import Configuration
from ringfence.service.configuration.file import Change, changes
from ringfence.service.configuration.section import Applies
from ringfence.service.configured import Asked, InForce, in_force, in_words
from ringfence.service.control import Control, News
from ringfence.service.control_protocol import Code, Health, Refused, Reloaded
from ringfence.service.intake import Followed
from ringfence.service.measures import Measures
from ringfence.service.measuring import exposed, measured
from ringfence.service.model_world import ModelWorld, Play, nothing
from ringfence.service.notify import Notifier, watch
from ringfence.service.others import left_to_others
from ringfence.service.outlets.trial import receivers, tested
from ringfence.service.promptness import prompt
from ringfence.service.real_world import RealWorld
from ringfence.service.stand_in import StandInWorld, stands_in
from ringfence.service.wiring import kvm_parts, kvm_source, kvm_world, xen_world
from ringfence.service.writer import BusyError, Desk, World, Writer
from ringfence.views.metrics import Sample

OPEN_AGAIN_S: Final = 1.0
"""Between two tries to let clients in where the disk takes no socket."""
STOPPING_S: Final = 20.0
"""The writer's last turn and the journal's end; systemd waits 90 s (DefaultTimeoutStopSec)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the process runs with. Without a policy's file, the policy is the one of what is played, or the default.

    ``play`` None: the model is healthy, or stands in for this machine where sources are followed.
    """

    state_dir: Path
    journal: Path
    socket: Path
    play: Play | None = None
    seed: int = 1
    hypervisor: str = "model"
    asked: Asked


class Household(Protocol):
    """Makes the attendants that a configuration asks for; ``more`` is what the backend has to be followed."""

    def __call__(self, configuration: Configuration, *, more: Sequence[Followed]) -> Sequence[Attendant]:
        """As ``household.attendants``."""
        ...


class Process:
    """One life of the process. ``run`` it once."""

    def __init__(
        self,
        settings: Settings,
        notifier: Notifier,
        attendants: Household = lambda *_, **__: (),
    ) -> None:
        """Raises SourceError, ConfigurationError or PolicyError if configuration or policy cannot be loaded."""
        self._settings, self._notifier = settings, notifier
        self._problems = Problems()
        self._measures = Measures()
        played = settings.play or nothing()
        found = in_force(settings.asked, DEFAULT)
        sources = found.configuration.sources
        self._stands_in = settings.hypervisor == "model" and sources.any
        self._play = stands_in(sources.stand_in) if self._stands_in else played
        # A model that plays has the policy of its play; what a real machine goes by is what `policy default` prints.
        plays = settings.hypervisor == "model" and not self._stands_in
        self._otherwise = played.scenario.policy if plays else DEFAULT
        self._in_force = self._first = found.without_policy(self._otherwise) if plays else found
        if self._stands_in and settings.play is not None:
            advice = "Leave --scenario out, or give --source none: the model cannot be both."
            raise SourceError("[sources]", "the model plays a scenario, or stands in for this machine", advice=advice)
        self._kvm = kvm_parts(found.configuration.kvm) if settings.hypervisor == "kvm" else None
        more = () if self._kvm is None else (kvm_source(self._kvm),)
        self._attendants = tuple(attendants(self._in_force.configuration, more=more))
        self._file_problem = ""
        self._reloading = asyncio.Lock()
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

        kept = self._in_force.configuration.journal
        writer: Writer = Writer(
            self._settings.journal,
            lambda boot: self._world(boot, writer.wake),
            self._in_force.policy,
            plugins=plugins.installed(),
            told=lambda last: _in_loop(loop, lambda: told(last)),
            ended=lambda error: _in_loop(loop, lambda: over(error)),
            measures=self._measures,
            opening=partial(
                opened_or_waiting,
                opening=partial(
                    opened, refuse=kept.on_damage == "refuse", limit_bytes=kept.limit_bytes, patience_s=PATIENCE_S
                ),
            ),
            pages_left_to=left_to_others(self._in_force.configuration.sources),
        )
        self._heed_signals(writer)
        writer.start()
        try:
            await asyncio.wait({began, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                prompt()
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
            roster=lambda: self._in_force.roster,
            reload=lambda who: self._reload(writer, control, who),
            metrics=lambda form: exposed(house, form),
            test=lambda name: tested(name, self._attendants, house),
        )
        house = self._house(writer, control)
        with suppress(BusyError):  # it has ended by now
            writer.ask(lambda desk: desk.configured(_loaded(desk.world.host.now_ms(), self._in_force, (), "")))
        async with asyncio.TaskGroup() as group:
            tasks = [
                await self._open(control, group),
                group.create_task(self._reloads(writer, control)),
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

    async def _open(self, control: Control, group: asyncio.TaskGroup) -> asyncio.Task[None]:
        """Let clients in. Where a disk takes no socket, it is tried again beside all else: a service that acts must not
        end for the want of one who asks. Raises SourceError for a path that is wrong.
        """

        async def later() -> None:
            while not await is_open():
                await asyncio.sleep(OPEN_AGAIN_S)

        async def is_open() -> bool:
            try:
                await control.open(group)
            except SourceError as error:
                if getattr(error.__cause__, "errno", None) not in DISK_TAKES_NOTHING:
                    raise
                self._problems.says("the control socket", f"{error}; it is tried again")
                return False
            self._problems.says("the control socket", "")
            return True

        if await is_open():
            return group.create_task(asyncio.sleep(0))
        _say(f"no client can be let in, and everything else goes on; {'; '.join(self._problems)}")
        return group.create_task(later())

    def _house(self, writer: Writer, control: Control) -> House:
        def samples(desk: Desk) -> tuple[Sample, ...]:
            health = self._health(desk, control.counted)
            return measured(desk, health, self._measures, waiting=writer.waiting)

        house = House(
            state_dir=self._settings.state_dir,
            journal=self._settings.journal,
            writer=writer,
            news=self._news,
            problems=self._problems,
            configuration=lambda: self._in_force.configuration,
            status=self._health,
            samples=samples,
            measures=self._measures,
            reload=lambda who: self._reload(writer, control, who),
            test=lambda name: tested(name, self._attendants, house),
        )
        return house

    def _world(self, boot: int, wake: Callable[[], None]) -> World:
        settings = self._settings
        if settings.hypervisor == "xen":
            return xen_world(settings.state_dir, boot, wake, self._first.configuration.xen)
        if self._kvm is not None:
            return kvm_world(settings.state_dir, boot, wake, self._kvm)
        model = ModelWorld(self._play, self._in_force.policy.policy, seed=settings.seed, boot=boot)
        return StandInWorld(model) if self._stands_in else model

    @property
    def _status_line(self) -> str:
        policy = self._in_force.policy
        played, host = self._play.scenario.name, self._settings.hypervisor
        where = f"on the model host {played!r}" if host == "model" else f"on {host}"
        return f"{where}, policy: {policy.file.path or 'the default policy'} ({policy.digest})"

    @property
    def _at_restart(self) -> tuple[str, ...]:
        """The keys whose value now is not the one that the process started with, and that hold at a start only."""
        found = changes(self._first.configuration, self._in_force.configuration)
        return tuple(each.key for each in found if each.applies is Applies.AT_RESTART)

    def _health(self, desk: Desk, door: Doorkeeping) -> Health:
        file, unknown = self._in_force.file, self._in_force.roster.unknown
        problems = [f"[rights] names {', '.join(unknown)}: not known on this machine"] if unknown else []
        return answers.health(
            desk,
            door,
            state_dir=self._settings.state_dir,
            started_wall_ms=self._started_wall_ms,
            policy_problem=self._file_problem,
            problems=(*problems, *self._problems, *(desk.world.problems if isinstance(desk.world, RealWorld) else ())),
            configuration=(file.path or "default", file.digest),
            at_restart=self._at_restart,
            notes=self._problems.noted,
            webhooks=receivers(self._attendants),
        )

    # --- signals -----------------------------------------------------------------------------------------------------

    def _heed_signals(self, writer: Writer) -> None:
        loop = asyncio.get_running_loop()

        def end(name: str) -> None:
            self._notifier.stopping()
            writer.stop(name)

        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # whoever started this may not have wanted to hear of children
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, end, each.name)
        loop.add_signal_handler(signal.SIGHUP, self._hangup.set)

    async def _reloads(self, writer: Writer, control: Control) -> None:
        while True:
            await self._hangup.wait()
            self._hangup.clear()
            reply = await self._reload(writer, control, "SIGHUP")
            if isinstance(reply, Refused):
                _say(f"SIGHUP: {reply.message}\n{reply.advice}")
            else:
                _say(f"SIGHUP: {in_words(reply)}")

    async def _reload(self, writer: Writer, control: Control, who: str) -> Reloaded | Refused:
        """Load configuration and policy anew, by the word of ``who``. What is bad is not in force: what was before goes
        on, and it is said so.
        """
        async with self._reloading:
            self._notifier.reloading()
            try:
                found = await asyncio.to_thread(in_force, self._settings.asked, self._otherwise)
                reply = await self._put_in_force(writer, control, found, who)
            except RingfenceError as error:
                self._file_problem = str(error)
                self._notifier.ready(f"{self._status_line}; a file is not in force: {error}")
                message = f"nothing is loaded, what was before goes on:\n{error}"
                return Refused(code=Code.REFUSED, message=message, advice=error.advice)
            self._notifier.ready(self._status_line)
            return reply

    async def _put_in_force(self, writer: Writer, control: Control, found: InForce, who: str) -> Reloaded:
        before = self._in_force
        changed = changes(before.configuration, found.configuration)

        def load(desk: Desk) -> None:
            desk.configured(_loaded(desk.world.host.now_ms(), found, changed, who))
            desk.load(found.policy, who)

        try:
            await asyncio.wrap_future(writer.ask(load))
        except BusyError as error:
            advice = "Try again in a moment."
            raise SourceError(found.file.path, "the service is too busy to take it", advice=advice) from error
        self._in_force, self._file_problem = found, ""
        try:
            control.open_anew()
        except RingfenceError as error:
            self._problems.says("the control socket", f"{error} ({error.advice})")
        else:
            self._problems.says("the control socket", "")
        return Reloaded(
            configuration=found.file.path or "default",
            configuration_digest=found.file.digest,
            policy=found.policy.file.path or "default",
            policy_digest=found.policy.digest,
            policy_changed=found.policy.digest != before.policy.digest,
            at_once=_keys(changed, Applies.AT_ONCE),
            at_restart=_keys(changed, Applies.AT_RESTART),
            unknown=found.roster.unknown,
        )


def _loaded(at_ms: int, found: InForce, changed: tuple[Change, ...], who: str) -> ev.ConfigurationLoaded:
    return ev.ConfigurationLoaded(
        at_ms=at_ms,
        digest=found.file.digest,
        text=found.file.text,
        path=found.file.path,
        at_once=_keys(changed, Applies.AT_ONCE),
        at_restart=_keys(changed, Applies.AT_RESTART),
        who=who,
    )


def _keys(changed: tuple[Change, ...], applies: Applies) -> tuple[str, ...]:
    return tuple(each.key for each in changed if each.applies is applies)


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
