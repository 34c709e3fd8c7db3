"""One run: a script played on a model host with the production loop, treatment, action and journal.

Only the clock and the port are the simulator's: time is the model's, and between port, journal and loop stand the
counters of ``metered``, which can kill Ringfence at any of their calls. What is Ringfence's own is what runs on a real
host: ``service.loop.Loop`` with a ``journal.store.Journal`` on a file, and ``service.treatment.Treatment`` in the
hypervisor's seat.

Fault model, besides the model host's own (hypervisor.model.host): Ringfence dies at any call and comes again later, or
gets no CPU; operators pause, destroy, move, back up and restart guests and reboot the host behind its back. A guest
that has ended is started again after ten minutes, a halted host is reset after one. The disk does not fail (the
journal's own tests make it), and a kill never tears an ``append``: SQLite's transaction is whole or absent.
"""

from __future__ import annotations

import heapq
import itertools
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final, assert_never

from ringfence.decision.policy import Operation
from ringfence.errors import RingfenceError
from ringfence.hypervisor.model import observer as facts
from ringfence.hypervisor.model.clock import HOUR, MILLISECOND, Clock
from ringfence.hypervisor.model.host import HostSettings, ModelHost
from ringfence.hypervisor.model.machine import Settings
from ringfence.hypervisor.model.platforms import PLATFORMS
from ringfence.hypervisor.model.topology import Topology
from ringfence.hypervisor.port import Arrival, Question, Telemetry, Token
from ringfence.journal.events import STEPS
from ringfence.journal.snapshot import decode, encode
from ringfence.journal.state import State
from ringfence.journal.store import Reader
from ringfence.service.loop import Loop
from ringfence.service.simulation import acts
from ringfence.service.simulation.acts import Act, MemoryHit, Script, UnitHit
from ringfence.service.simulation.instructions import MADE_TO_FAIL, instruct
from ringfence.service.simulation.metered import KilledError, Meter, MeteredHost, MeteredJournal
from ringfence.service.simulation.scenario import Scenario
from ringfence.service.simulation.strikes import Strikes
from ringfence.service.simulation.trace import (
    Acknowledged,
    AnsweredBy,
    Arrived,
    Dom0Is,
    Down,
    Life,
    Note,
    Operator,
    Ordered,
    Sample,
    SinkIs,
    Trace,
    Turned,
    count,
)
from ringfence.service.simulation.witness import WatchedSeat, Witness
from ringfence.service.treatment import Treatment
from ringfence.world.identities import CaseId, DomainId, GuestFrame, StepId
from ringfence.world.steps import MigrateDomain, Order, PauseDomain, Result, UnpauseDomain
from ringfence.world.treatment import Dom0Says, TreatingSeat

CASES_A_BOOT: Final = 1 << 20
"""Numbers of cases that each boot of the seat has for itself (as ``service.wiring`` gives them)."""
OPERATORS_ORDERS: Final = 1 << 50
"""Orders that operators give past Ringfence have numbers above this."""
REVIVE_MS: Final = 600_000
RESET_MS: Final = 60_000
TAIL_MS: Final = 1_800_000
"""After the last act, so that every deadline can pass."""
TAIL_ROUNDS: Final = 8
"""So often the tail is prolonged while a case is open."""
MOST_STEPS: Final = 5_000_000
"""Events of a run: a hundred times what a day of storms takes. More is a loop without end."""
DOM0_PAGES: Final = 1 << 15
XEN_PAGES: Final = 1 << 12
TURNS: Final = 16
"""What Dom0 does has consequences that it hears of at once, and so on: a case has fewer."""
SNAPSHOT_EVENTS: Final = 200
"""Between two snapshots of the state: far fewer than in service, so that starts from one are many, and kills in one."""
SAMPLES: Final = 2
"""States that are kept of a run, besides those at each kill."""


class Run:
    """One run. ``play`` gives its trace."""

    def __init__(  # noqa: PLR0913 (what a run is a function of)
        self, scenario: Scenario, script: Script, *, seed: int, hours: float, path: Path, kill_at: int | None = None
    ) -> None:
        self.scenario, self.script, self.path = scenario, script, path
        self.trace = Trace(script)
        self.meter = Meter()
        self.meter.kill_at = kill_at
        self._end_ms = max(round(hours * 3_600_000), script[-1].at_ms if script else 0) + 1_000
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._orders = itertools.count(OPERATORS_ORDERS)
        self._clock = Clock()
        self._witness = Witness(self.trace)
        self._seat = _seat(scenario, 1)
        self.host = self._host("model", seed, WatchedSeat(self._seat, self._witness), self._witness.see)
        self._witness.watch(self.host)
        self._other: ModelHost | None = None
        if scenario.other_host:
            self._other = self._host("other", seed + 1, _seat(scenario, 1), facts.nobody)
            self.host.connect(self._other)
        self._port = MeteredHost(self.host, self.host, self.meter, self)
        self._ids: dict[str, DomainId] = {}
        self._loop: Loop | None = None
        self._journal: MeteredJournal | None = None
        self._lives = 0
        self._asked: dict[tuple[CaseId, DomainId], int] = {}
        self._gone_until = self._hurt_until = self._busy_until = 0
        self._dead_tidily = False
        self._dom0 = (False, False)
        self._strikes = Strikes(self.host, self._witness, self._ids)
        self._turned_at = -1
        self._remembers = SNAPSHOT_EVENTS
        self.watch: Callable[[], None] = _look_away
        """Called after everything that happens: for who shows the run while it goes on."""

    def _host(self, name: str, seed: int, seat: TreatingSeat, observer: facts.Observer) -> ModelHost:
        wanted = self.scenario.machine
        settings = Settings(
            platform=PLATFORMS[wanted.platform],
            topology=Topology(sockets=wanted.sockets, cores=wanted.cores, threads=wanted.threads),
            memory_bytes=wanted.memory_gib << 30,
            patrol=wanted.patrol,
            patrol_pass_ns=round(wanted.patrol_hours * HOUR),
        )
        host = HostSettings(
            name=name,
            personality=self.scenario.personality,
            machine=settings,
            dom0_pages=DOM0_PAGES,
            xen_pages=XEN_PAGES,
        )
        return ModelHost(host, seed=seed, seat=seat, clock=self._clock, observer=observer)

    # --- the run -----------------------------------------------------------------------------------------------------

    def play(self) -> Trace:
        """Play the whole script, and what follows from it. A fault of the code under test ends it, and is kept."""
        try:
            self._play_to_a_fault()
            self._finish()
        finally:
            self._drop()
        return self.trace

    def _play_to_a_fault(self) -> None:
        try:
            self._play()
        except (
            RingfenceError,
            ArithmeticError,
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            AssertionError,
        ) as error:
            self.trace.fault = _where(error)

    def _play(self) -> None:
        for guest in self.scenario.guests:
            self._ids[guest.name] = self.host.create(guest)
        self._set_dom0()
        self._start()
        for act in self.script:
            self._at(act.at_ms, lambda act=act: self._act(act))  # type: ignore[misc]  # bound now, called once
        self._until(self._end_ms)
        for _ in range(TAIL_ROUNDS):
            self._until(self._now_ms + TAIL_MS)
            self._turn()
            if self._loop is not None and not self._loop.state.cases and not self._seat.open_cases:
                break
        if self._loop is not None:
            self.meter.kill_at = None
            self._loop.stop("the run has ended")

    def _until(self, end_ms: int) -> None:
        for _ in range(MOST_STEPS):
            now_ms = self._now_ms
            if self._agenda and self._agenda[0][0] <= now_ms:
                heapq.heappop(self._agenda)[2]()
                self._react()
                continue
            if now_ms >= end_ms:
                return
            next_ms = min(end_ms, self._agenda[0][0]) if self._agenda else end_ms
            wake_ms = self._wake_ms()
            if wake_ms is not None and wake_ms <= now_ms and self._turned_at < now_ms:
                self._turn()
                continue
            if wake_ms is not None:
                next_ms = min(next_ms, max(wake_ms, now_ms + 1))
            self.host.advance_to_next(next_ms - now_ms)
            self._react()
            self.watch()
        raise AssertionError(f"no end after {MOST_STEPS} events")

    def _wake_ms(self) -> int | None:
        if self._loop is None or self._now_ms < self._busy_until:
            return None
        return self._loop.wake_ms

    @property
    def _now_ms(self) -> int:
        return self._clock.now_ns // MILLISECOND

    def _at(self, at_ms: int, what: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (max(at_ms, self._now_ms), next(self._number), what))

    def _after(self, ms: int, what: Callable[[], None]) -> None:
        self._at(self._now_ms + ms, what)

    def _note(self, note: Note) -> None:
        self.trace.happened.append(note)

    # --- Ringfence ---------------------------------------------------------------------------------------------------

    def _react(self) -> None:
        """After anything happened: Dom0 dies with the host, else Ringfence does what is due."""
        for domain in self._witness.take_ended():
            self._guest_ended(domain)
        if self.host.halted:
            if self._witness.take_halted():
                self._halted()
        elif self._witness.take_news():
            self._turn()

    def _turn(self) -> None:
        if self._loop is None or self._now_ms < self._busy_until:
            return
        self._turned_at = self._now_ms
        for _ in range(TURNS):
            loop = self._loop
            if loop is None:
                return
            if not self._alive(loop.turn):
                return
            if not self._witness.take_news():
                break
        self._note(Turned(self._clock.now_ns))
        self._sample()
        self._alive(self._remember)

    def _remember(self) -> None:
        """Now and then the state is put beside the events, as the service does, so that a start is a short one."""
        if self._loop is None or self._journal is None or self._journal.last < self._remembers:
            return
        for _ in self._loop.remember():
            pass
        self._remembers = self._journal.last + SNAPSHOT_EVENTS

    def _alive(self, what: Callable[[], object]) -> bool:
        """Let Ringfence do something; False if it is killed in it."""
        try:
            what()
        except KilledError:
            self._killed()
            return False
        return True

    def _start(self) -> None:
        """A life begins, on the journal that is there."""
        if self._loop is not None or self.host.halted:
            return
        self._lives += 1
        self.trace.tally.lives += 1
        self._note(Life(self._clock.now_ns, self._lives))
        self._dead_tidily = False
        self._set_dom0()

        def begin() -> None:
            self._journal = MeteredJournal(self.path, self.meter)
            self._loop = Loop(self._port, self._journal, self.scenario.policy)
            self._loop.turn()

        self._alive(begin)

    def _killed(self, dead_ms: int = 0, *, tidy: bool = False) -> None:
        """It is gone: nothing of it is left but the file. Unless the host halted under it, it comes again."""
        halted = self.host.halted
        planned, self._planned = self._planned, None
        if planned is not None:
            dead_ms, tidy = planned.dead_ms, planned.tidy
        self._note(Life(self._clock.now_ns, self._lives, ended=True, killed=not halted))
        if self._loop is not None:
            self.trace.tally.resumed += 0 if halted else len(self._loop.state.orders) + len(self._loop.state.cases)
            if self._loop.is_settled:  # else it died with events that counted, and of which nothing had come yet
                self._keep(self._loop.state, copied=False)
        self._drop()
        if halted:
            return
        self.trace.tally.kills += 1
        self._dead_tidily = tidy
        self._set_dom0()
        self._after(max(1, dead_ms), self._start)

    _planned: acts.Kill | None = None

    def _drop(self) -> None:
        if self._journal is not None:
            self._journal.close()
        self._journal = self._loop = None

    def _sample(self) -> None:
        if self._loop is None or len(self.trace.samples) >= SAMPLES:
            return
        if self._loop.state.applied >= 50 * (8 ** len(self.trace.samples)):
            self._keep(self._loop.state, copied=True)

    def _keep(self, state: State, *, copied: bool) -> None:
        self.trace.samples.append(Sample(state.applied, decode(encode(state)) if copied else state))

    # --- what passes through the port (metered.Spectator) ----------------------------------------------------------

    def arrived(self, arrivals: tuple[Arrival, ...]) -> None:
        """As ``Spectator.arrived``."""
        if not arrivals:
            return
        for arrival in arrivals:
            if isinstance(arrival, Question):
                self._asked[arrival.case, arrival.domain] = arrival.deadline_ms
                self.trace.tally.questions += 1
        telemetry = tuple((each.token, each.urgent) for each in arrivals if isinstance(each, Telemetry))
        kinds = tuple(type(each).__name__ for each in arrivals)
        self._note(Arrived(self._clock.now_ns, kinds, telemetry))

    def acknowledged(self, token: Token) -> None:
        """As ``Spectator.acknowledged``."""
        last = self._journal.last if self._journal is not None else 0
        self._note(Acknowledged(self._clock.now_ns, token, last))

    def ordered(self, order: Order) -> None:
        """As ``Spectator.ordered``."""
        last = self._journal.last if self._journal is not None else 0
        self._note(Ordered(self._clock.now_ns, order, last))

    def answered(self, case: CaseId, domain: DomainId, says: Dom0Says, result: Result) -> None:
        """As ``Spectator.answered``."""
        self.trace.tally.answers += 1
        self._witness.expect()
        deadline_ms = self._asked.get((case, domain))
        self._note(AnsweredBy(self._clock.now_ns, case, domain, says, result, deadline_ms))

    # --- the host's end, and the guests' -----------------------------------------------------------------------------

    def _halted(self) -> None:
        self.trace.tally.halts += 1
        if self._loop is not None:
            self._note(Life(self._clock.now_ns, self._lives, ended=True))
            self._drop()
        self._after(RESET_MS, lambda: self._reset(cold=False, by_operator=False))

    def _reset(self, *, cold: bool, by_operator: bool) -> None:
        if by_operator and self.host.halted:
            return
        if self._loop is not None:
            self._note(Life(self._clock.now_ns, self._lives, ended=True))
            self._drop()
        self.trace.tally.reboots += 1
        boot = self.host.boot + 1
        self._seat = _seat(self.scenario, boot)
        self._note(Down(self._clock.now_ns, boot, by_operator))
        self._asked.clear()
        self.host.reboot(cold=cold, seat=WatchedSeat(self._seat, self._witness))
        self._witness.take_ended()
        self._witness.take_halted()
        self._hurt_until = 0
        self._dom0 = (False, False)
        self._ids.clear()
        for guest in self.scenario.guests:
            self._revive(guest.name)
        self._after(1_000, self._start)

    def _guest_ended(self, domain: DomainId) -> None:
        name = next((name for name, number in self._ids.items() if number == domain), None)
        if name is not None:
            del self._ids[name]
            self.trace.tally.guests_ended += 1
            self._after(REVIVE_MS, lambda: self._revive(name))

    def _revive(self, name: str) -> None:
        """An operator starts a guest again, if it is not there and the host takes it."""
        if self.host.halted or name in self._ids:
            return
        spec = next(guest for guest in self.scenario.guests if guest.name == name)
        if self._other is not None:
            for stray in self._moved_away(name):
                self._other.destroy(stray)
        known = self._living(name)
        if known is not None:
            self._ids[name] = known
            return
        try:
            self._ids[name] = self.host.create(spec)
        except ValueError:
            # Degraded: no new guests until a reboot.
            return
        self._witness.take_news()

    def _living(self, name: str) -> DomainId | None:
        """The guest of this name that lives on this host now (a reboot starts them by itself)."""
        situation = self.host.situation(None)
        return next((each.id for each in situation.domains if each.name == name and each.lives), None)

    def _moved_away(self, name: str) -> tuple[DomainId, ...]:
        if self._other is None:
            return ()
        return tuple(each.id for each in self._other.situation(None).domains if each.name == name and each.lives)

    # --- Dom0 --------------------------------------------------------------------------------------------------------

    def _set_dom0(self) -> None:
        """Bring the model's Dom0 to what the world wants it to be now."""
        if self.host.halted:
            return
        now_ms = self._now_ms
        handler = self.scenario.handler and now_ms >= self._gone_until and not self._dead_tidily
        hurt = now_ms < self._hurt_until
        if (handler, hurt) == self._dom0:
            return
        before, self._dom0 = self._dom0, (handler, hurt)
        self._note(Dom0Is(self._clock.now_ns, handler, hurt))
        if handler != before[0]:
            self.host.set_dom0_handler(handler)
        if hurt != before[1]:
            self.host.hurt_dom0(hurt)

    # --- acts --------------------------------------------------------------------------------------------------------

    def _act(self, act: Act) -> None:
        self.trace.tally.acts += 1
        if not self._done(act):
            self.trace.tally.skipped += 1

    def _done(self, act: Act) -> bool:  # noqa: PLR0912 (one arm a kind of act)
        """Let an act happen; False if it cannot now."""
        now_ms = self._now_ms
        if self.host.halted and not isinstance(act, acts.SinkBroken):
            return False
        match act:
            case MemoryHit():
                return self._strikes.hit(act)
            case UnitHit():
                self._strikes.hit_unit(act)
            case acts.Kill():
                if self._loop is None:
                    return False
                self.meter.kill_at = self.meter.calls + act.calls
                self._planned = act
            case acts.Busy():
                self._busy_until = max(self._busy_until, now_ms + act.for_ms)
                self._after(act.for_ms, self._turn)
            case acts.HandlerGone():
                self._gone_until = max(self._gone_until, now_ms + act.for_ms)
                self._set_dom0()
                self._after(act.for_ms, self._set_dom0)
            case acts.Dom0Hurt():
                self._hurt_until = max(self._hurt_until, now_ms + act.for_ms)
                self._set_dom0()
                self._after(act.for_ms, self._set_dom0)
            case acts.StepsFail():
                self.host.fail_next(STEPS[act.step], MADE_TO_FAIL, act.times)
            case acts.SinkBroken():
                self._break_sink(facts.Sink(act.sink), broken=True)
                self._after(act.for_ms, lambda: self._break_sink(facts.Sink(act.sink), broken=False))
            case acts.Rebooted():
                self._reset(cold=act.cold, by_operator=True)
            case acts.Approved():
                return self._approve(granted=act.granted)
            case acts.GuestReads():
                return self._strikes.read_again()
            case acts.Instructed():
                refusal = instruct(self.host, act.wrong, self._ids.get(act.domain), self._seat, next(self._orders))
                if refusal is None:
                    return False
                self.trace.tally.refusals += refusal.refused
                self._note(refusal)
            case (
                acts.GuestCrashes()
                | acts.Destroyed()
                | acts.Migrated()
                | acts.Paused()
                | acts.Checkpointed()
                | acts.Ballooned()
            ):
                return self._operate(act)
            case never:
                assert_never(never)
        return True

    def _break_sink(self, sink: facts.Sink, *, broken: bool) -> None:
        self.host.break_sink(sink, broken)
        self._note(SinkIs(self._clock.now_ns, sink, broken))

    def _approve(self, *, granted: bool) -> bool:
        loop = self._loop
        if loop is None or self._now_ms < self._busy_until:
            return False
        waiting = list(loop.state.approvals.values())
        for each in waiting:
            if each.domain is not None and self._loop is loop:
                case, domain, operation = each.case, each.domain, Operation(each.operation)
                self._alive(lambda: loop.approve(case, domain, operation, granted=granted, who="operator"))  # noqa: B023
        return bool(waiting)

    def _operate(
        self,
        act: acts.GuestCrashes | acts.Destroyed | acts.Migrated | acts.Paused | acts.Checkpointed | acts.Ballooned,
    ) -> bool:
        """What guests and operators do by themselves."""
        domain = self._ids.get(act.domain)
        if domain is None:
            return False
        self._note(Operator(self._clock.now_ns, domain, type(act).__name__))
        match act:
            case acts.GuestCrashes():
                self.host.crash(domain)
            case acts.Destroyed():
                self.host.destroy(domain)
            case acts.Migrated():
                self._order(MigrateDomain(domain, "other"))
            case acts.Paused():
                if self.host.situation(None).domain(domain) is None or not self._runs(domain):
                    return False
                self._order(PauseDomain(domain))
                self._after(act.for_ms, lambda: self._unpause(domain))
            case acts.Checkpointed():
                self.host.checkpoint(domain, disks_of_same_moment=act.disks_of_same_moment)
            case acts.Ballooned():
                try:
                    self.host.balloon_out(domain, GuestFrame(act.page))
                except KeyError:
                    return False
            case never:
                assert_never(never)
        return True

    def _runs(self, domain: DomainId) -> bool:
        known = self.host.situation(None).domain(domain)
        return known is not None and known.state == "running"

    def _unpause(self, domain: DomainId) -> None:
        """An operator lets a guest run again, unless an error is being treated on it: then Ringfence has the say."""
        known = self.host.situation(None).domain(domain)
        treated = any(domain in case.domains for case in self._seat.open_cases)
        if known is not None and known.state == "paused" and not treated and not self.host.halted:
            self._note(Operator(self._clock.now_ns, domain, "unpaused"))
            self._order(UnpauseDomain(domain))

    def _order(self, step: PauseDomain | UnpauseDomain | MigrateDomain) -> None:
        self.host.carry_out(Order(StepId(next(self._orders)), step))

    # --- the end -----------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        tally = self.trace.tally
        if self._loop is not None:
            self._keep(self._loop.state, copied=False)
        self._drop()
        self.trace.ended_ms = self._now_ms
        if not self.host.halted:
            # What runs now has a span that is open: close it, so that it is seen.
            for number in self._ids.values():
                self._order(PauseDomain(number))
        tally.calls = self.meter.calls
        with Reader(self.path) as reader:
            self.trace.journal = list(reader.events())
        tally.journal_events = len(self.trace.journal)
        count(self.trace)


def _where(error: Exception) -> str:
    """What was raised, and where."""
    frames = traceback.extract_tb(error.__traceback__)
    at = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""
    return f"{type(error).__name__}{at}: {error}"


def _look_away() -> None:
    """Nobody watches."""


def _seat(scenario: Scenario, boot: int) -> Treatment:
    return Treatment(scenario.policy, first_case=boot * CASES_A_BOOT + 1)
