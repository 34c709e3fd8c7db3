"""The law of the intake: every item of every batch ends once in the journal, wherever Ringfence is killed meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringfence.decision.policy import Policy
from ringfence.errors import FormatError, JournalFullError, SourceError
from ringfence.journal import events as ev
from ringfence.journal.state import State
from ringfence.journal.store import Reader
from ringfence.record.evidence import Origin, Record, Unrecognised
from ringfence.service import intake, ledger
from ringfence.service.attendants import House, Problems
from ringfence.service.intake import FIRST_LOOK, Followed, Intake
from ringfence.service.loop import Loop
from ringfence.service.measures import Measures
from ringfence.service.others import Fact
from ringfence.service.policy_source import Loaded
from ringfence.service.simulation.metered import KilledError, Meter, MeteredHost, MeteredJournal
from ringfence.service.sources import own_thread
from ringfence.service.sources.source import (
    Availability,
    Batch,
    Emit,
    Item,
    Lost,
    Position,
    Presence,
    Resumption,
    as_position,
    of_position,
)
from ringfence.service.stand_in import STAND_INS, StandInHost
from ringfence.service.wiring import model_host
from ringfence.service.writer import BusyError, Desk
from ringfence.views.chain import chain_of_record
from ringfence.world.identities import OWN_CASES
from ringfence.world.situation import Suspect
from tests.service.sources.reports import Fault, counted, edac, poisoned, registers
from tests.service.test_taken_up import Seen

T = TypeVar("T")
PATIENCE_S = 10.0

THERE = Availability(Presence.PRESENT, "it is scripted")
SOFT = Fault(1000.0, 0x12345, 3, 7, 1)
HARD = Fault(1001.0, 0x777, 1, 7, 1, fatal=True)


@dataclass
class Scripted:
    """A source that has these batches, and keeps them: it resumes after the one that a position names."""

    name: str
    script: Sequence[tuple[Item, ...]]
    resumption: Resumption = Resumption.POSITION
    clock: str = "none"
    found: Availability = THERE
    faults: list[Exception] = field(default_factory=list)
    given: int = 0

    def probe(self) -> Availability:
        return self.found

    async def follow(self, emit: Emit, since: Position | None = None) -> None:
        if self.faults:
            raise self.faults.pop(0)
        at = of_position(since, int) if since is not None else 0
        for number in range(at, len(self.script)):
            await emit(Batch(self.name, self.script[number], as_position(number + 1)))
            self.given = number + 1
        self.given = len(self.script)
        await asyncio.Event().wait()


class Writer:
    """The writer's desk without a thread: what is asked is done at once, and a kill ends it."""

    def __init__(self, desk: Desk, host: Host) -> None:
        self.desk, self.host = desk, host
        self.killed = False

    def ask(self, what: Callable[[Desk], T]) -> Future[T]:
        self.host.asked += 1
        if self.killed or self.host.asked == self.host.busy_at:
            raise BusyError
        answer: Future[T] = Future()
        try:
            answer.set_result(what(self.desk))
            self.desk.loop.turn()
        except KilledError:
            # What was done is done; nobody hears of it.
            self.killed = True
            raise BusyError from None
        return answer


@dataclass
class World:
    host: MeteredHost
    reset_ms: int | None = None


class Host:
    """A model host that stands in for this machine, with a journal that outlives Ringfence."""

    def __init__(self, path: Path) -> None:
        self.path, self.meter, self.problems = path, Meter(), Problems()
        self.model = model_host(Policy(), seed=1)
        self.model.create(STAND_INS["hvm"])
        self.model.set_dom0_handler(True)
        self.model.advance(1)
        self.world = World(MeteredHost(StandInHost(self.model), self.model, self.meter, Seen()))
        self.lives = 0
        self.facts: tuple[Fact, ...] = ()
        self.asked = 0
        self.busy_at: int | None = None

    def live(self, *followed: Followed, until: Callable[[], bool] | None = None) -> State | None:
        """One life: until all sources have given all they have, or ``until``. None if it was killed."""
        self.lives += 1
        journal: MeteredJournal | None = None
        try:
            journal = MeteredJournal(self.path, self.meter)
            loop = Loop(cast(Any, self.world.host), journal, Policy(), wall_ms=2_000_000_000)
            desk = Desk(loop, cast(Any, self.world), journal, cast(Loaded, None))
            return asyncio.run(self._attend(desk, followed, until))
        except KilledError:
            return None
        finally:
            if journal is not None:
                journal.close()

    async def _attend(
        self, desk: Desk, followed: tuple[Followed, ...], until: Callable[[], bool] | None
    ) -> State | None:
        writer = Writer(desk, self)
        house = cast(House, _House(self.path, writer, self.problems))
        sources = [cast(Scripted, each.source) for each in followed]
        task = asyncio.create_task(Intake(followed, lambda: self.facts).attend(house))
        for source in sources:
            source.given = 0
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not writer.killed:
                    if task.done():
                        await task
                    done = all(each.given == len(each.script) for each in sources) if until is None else until()
                    if done:
                        break
                    await asyncio.sleep(0.001)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if writer.killed:
            return None
        for _ in range(400):
            # What was begun comes to its end.
            self.model.advance(500)
            desk.loop.turn()
            if not desk.loop.state.cases:
                break
        return desk.loop.state

    def journal(self) -> list[ev.Stored]:
        with Reader(self.path) as journal:
            return [event for _, event in journal.events()]


@dataclass
class _House:
    journal: Path
    writer: Writer
    problems: Problems
    measures: Measures = field(default_factory=Measures)


def entered(stored: Sequence[ev.Stored]) -> Counter[bytes]:
    """How often each item is in the journal, by its raw bytes (what is lost: by its reason)."""
    found: Counter[bytes] = Counter()
    for event in stored:
        match event:
            case ev.Received(record=record):
                found[record.raw] += 1
            case ev.AlsoSeen(report=report):
                found[report.record.raw] += 1
            case ev.Unrecognised(raw=raw):
                found[raw] += 1
            case ev.Lost(why=why):
                found[why.encode()] += 1
            case _:
                pass
    return found


def marked(record: Record, mark: str) -> Record:
    return replace(record, raw=mark.encode())


def received(stored: Sequence[ev.Stored]) -> list[ev.Received]:
    return [event for event in stored if isinstance(event, ev.Received)]


def seen_again(stored: Sequence[ev.Stored]) -> list[ev.AlsoSeen]:
    return [event for event in stored if isinstance(event, ev.AlsoSeen)]


# --- the law ----------------------------------------------------------------------------------------------------------

SCRIPT: dict[str, tuple[tuple[Item, ...], ...]] = {
    "kmsg": (
        (marked(registers(SOFT), "k1"), Unrecognised(Origin("x"), b"k2", "no form is known")),
        (marked(registers(HARD), "k3"), marked(poisoned(HARD), "k4")),
        (Lost("kmsg", 3, True, "log records", "k5"), marked(registers(replace(SOFT, page=9)), "k6")),
    ),
    "tracefs": (
        (marked(registers(HARD), "t1"),),
        (marked(edac(SOFT), "t2"), marked(registers(SOFT, late=0.1), "t3")),
    ),
}
ITEMS = Counter({f"k{number}".encode(): 1 for number in range(1, 7)} | {f"t{n}".encode(): 1 for n in range(1, 4)})


def lives(host: Host, script: dict[str, tuple[tuple[Item, ...], ...]], kill_at: int | None) -> State:
    host.meter.kill_at = None if kill_at is None else host.meter.calls + kill_at
    for _ in range(3):
        state = host.live(*(Followed(Scripted(name, batches)) for name, batches in script.items()))
        if state is not None:
            return state
    raise AssertionError("it was killed once")


def check(host: Host, state: State, items: Counter[bytes], errors: int, where: str) -> None:
    stored = host.journal()
    assert entered(stored) == items, where
    assert len(received(stored)) == errors, where
    uncorrected = {each.case for each in received(stored) if not each.corrected}
    outcomes = Counter(event.case for event in stored if isinstance(event, ev.Closed) and event.case < OWN_CASES)
    assert not state.cases and outcomes == Counter(dict.fromkeys(uncorrected, 1)), where


def test_a_kill_at_any_call_loses_nothing_and_enters_nothing_twice(tmp_path: Path) -> None:
    whole = Host(tmp_path / "whole.sqlite")
    check(whole, lives(whole, SCRIPT, None), ITEMS, 3, "not killed")
    killed = 0
    for call in range(1, whole.meter.calls + 1):
        host = Host(tmp_path / f"{call}.sqlite")
        state = lives(host, SCRIPT, call)
        killed += host.lives > 1
        check(host, state, ITEMS, 3, f"killed at call {call}")
        assert state.positions == {"kmsg": "3", "tracefs": "2"}
    assert killed > whole.meter.calls / 2


_faults = st.lists(
    st.builds(
        Fault, time=st.integers(0, 12).map(lambda step: 1000.0 + step / 2), page=st.just(0), line=st.integers(0, 2),
        bank=st.integers(7, 8), cpu=st.integers(0, 1), fatal=st.booleans(),
    ),
    min_size=1, max_size=5,
)  # fmt: skip
_WAYS: tuple[tuple[str, Callable[[Fault], Record]], ...] = (
    ("kmsg", registers), ("tracefs", registers), ("tracefs", edac), ("db", edac),
)  # fmt: skip


@st.composite
def _scripts(draw: st.DrawFn) -> tuple[dict[str, tuple[tuple[Item, ...], ...]], Counter[bytes], int]:
    """Scripts of three sources, their items, and how many errors they tell of: each of a page of its own."""
    faults = [replace(fault, page=100 + number) for number, fault in enumerate(draw(_faults))]
    items: dict[str, list[Item]] = {"kmsg": [], "tracefs": [], "db": []}
    marks: Counter[bytes] = Counter()
    for number, fault in enumerate(faults):
        for way in draw(st.sets(st.integers(0, len(_WAYS) - 1), min_size=1)):
            source, made = _WAYS[way]
            mark = f"{number}/{way}"
            items[source].append(marked(made(fault), mark))
            marks[mark.encode()] += 1
    scripts: dict[str, tuple[tuple[Item, ...], ...]] = {}
    for source, all_ in items.items():
        cuts = sorted(draw(st.sets(st.integers(1, max(1, len(all_))), max_size=3)) | {len(all_)})
        scripts[source] = tuple(tuple(all_[start:end]) for start, end in zip([0, *cuts], cuts, strict=False))
    return scripts, marks, len(faults)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(_scripts(), st.none() | st.integers(1, 60))
def test_every_item_is_entered_once_and_every_error_counted_once(
    tmp_path_factory: pytest.TempPathFactory,
    script: tuple[dict[str, tuple[tuple[Item, ...], ...]], Counter[bytes], int],
    kill_at: int | None,
) -> None:
    scripts, marks, errors = script
    host = Host(tmp_path_factory.mktemp("law") / "journal.sqlite")
    check(host, lives(host, scripts, kill_at), marks, errors, f"killed at {kill_at}")


def test_a_kernel_buffer_that_was_read_is_written_before_more_of_it_is_read(tmp_path: Path) -> None:
    host = Host(tmp_path / "journal.sqlite")
    seen: list[int] = []

    class Kept(Scripted):
        async def follow(self, emit: Emit, since: Position | None = None) -> None:
            for number in range(3):
                await emit(Batch(self.name, (marked(registers(replace(SOFT, page=number)), str(number)),)))
                seen.append(len(received(host.journal())))
            self.given = len(self.script)

    host.live(Followed(Kept("tracefs", ((),), Resumption.KEPT)))
    assert seen == [1, 2, 3]


# --- one error, several sources ---------------------------------------------------------------------------------------


def bare(fault: Fault) -> Record:
    """EDAC's report where the driver knows no address."""
    record = edac(fault)
    assert record.memory is not None
    return replace(record, memory=replace(record.memory, physical_address=None, grain_bytes=None))


def test_a_further_report_counts_for_what_it_is_the_first_to_name(tmp_path: Path) -> None:
    host = Host(tmp_path / "journal.sqlite")
    host.live(Followed(Scripted("db", ((bare(SOFT),),))))
    state = host.live(Followed(Scripted("tracefs", ((edac(SOFT),),))))
    assert state is not None and (state.received, state.also_seen) == (1, 1)
    counts = {key: sum(each.count for each in seen) for key, seen in state.history.items()}
    assert counts[Suspect.DIMM, "DIMM_A"] == counts[Suspect.PAGE, "0x12345"] == 1
    (further,) = seen_again(host.journal())
    assert further.adds == (Suspect.PAGE,)
    assert dict(further.report.place)["label"] == "DIMM_A"
    (first,) = received(host.journal())
    told = [link.text for link in chain_of_record(1, first, [further]).links if link.what == "also seen"]
    assert told == ["tracefs reports sighting 1 as well (device), and names its page"]


def test_every_piece_of_evidence_of_an_uncorrected_error_is_in_its_case(tmp_path: Path) -> None:
    host = Host(tmp_path / "journal.sqlite")
    host.live(
        Followed(Scripted("kmsg", ((registers(HARD),), (poisoned(HARD),)))), Followed(Scripted("db", ((edac(HARD),),)))
    )
    (first,) = received(host.journal())
    assert first.case is not None and first.urgent
    assert [each.case for each in seen_again(host.journal())] == [first.case] * 2


def test_a_report_that_names_the_page_is_heard_by_whoever_treats_the_error(tmp_path: Path) -> None:
    host = Host(tmp_path / "journal.sqlite")
    host.live(Followed(Scripted("kmsg", ((bare(HARD),),))))
    host.live(Followed(Scripted("late", ((edac(HARD),),))))
    (first,), (further,) = received(host.journal()), seen_again(host.journal())
    assert further.case not in {None, first.case}
    impacts = [each for each in host.journal() if isinstance(each, ev.Impacted) and each.case == further.case]
    assert [hit.domain is not None for each in impacts for hit in each.losers] == [True]


# --- what was before --------------------------------------------------------------------------------------------------


def test_what_an_earlier_boot_left_is_history_once(tmp_path: Path) -> None:
    host = Host(tmp_path / "journal.sqlite")
    left = Followed(Scripted("pstore", ((registers(HARD, tsc=5), registers(replace(HARD, page=2), tsc=6)),)), "pstore")
    for _ in range(2):
        state = host.live(left)
        assert state is not None
    found = received(host.journal())
    assert [each.left_over for each in found] == [True, True] and {each.sink for each in found} == {"pstore"}
    closed = [each for each in host.journal() if isinstance(each, ev.Closed)]
    assert len({each.case for each in found}) == len(closed) == 2
    assert {entry.state for each in closed for entry in each.outcome} == {"halted"}
    assert not any(isinstance(each, ev.Intended) for each in host.journal())


def test_what_the_kernel_logged_before_it_died_is_known_again_in_what_it_left(tmp_path: Path) -> None:
    host = Host(tmp_path / "journal.sqlite")
    host.live(Followed(Scripted("kmsg", ((registers(HARD, tsc=5),),))))
    host.live(Followed(Scripted("pstore", ((registers(HARD, late=500, tsc=5),),)), "pstore"))
    (first,), (again,) = received(host.journal()), seen_again(host.journal())
    assert again.of == first.sighting and again.rule in {"tsc", "the same report, logged twice"}


def test_the_first_look_at_counters_tells_of_nobody_knows_when(tmp_path: Path) -> None:
    host = Host(tmp_path / "journal.sqlite")
    first = counted(5000, since=0.0, until=1000.0)
    state = host.live(Followed(Scripted("edac", ((first,),))))
    assert state is not None and not state.history
    assert [each.sink for each in received(host.journal())] == [FIRST_LOOK]


def test_a_counter_waits_for_what_may_account_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "COUNTER_WAIT_S", 0.2)
    host = Host(tmp_path / "journal.sqlite")
    host.live(
        Followed(Scripted("edac", ((counted(2, since=995.0, until=1005.0),),))),
        Followed(Scripted("tracefs", ((edac(SOFT),),))),
    )
    assert [(each.source, each.count) for each in received(host.journal())] == [("tracefs", 1), ("edac", 1)]


def test_what_is_read_late_is_counted_when_it_happened(tmp_path: Path) -> None:
    """The wall clock says 2,000,000 s at the start of the host's clock; these errors are days older."""
    host = Host(tmp_path / "journal.sqlite")
    days = [replace(SOFT, time=2_000_000.0 - 86_400 * day) for day in (9, 5, 1)]
    state = host.live(Followed(Scripted("db", (tuple(map(registers, days)),))))
    assert state is not None
    times = [each.at_ms for each in state.history[Suspect.PAGE, "0x12345"]]
    assert [(later - earlier) // 86_400_000 for earlier, later in pairwise(times)] == [4, 4]
    assert times[-1] < state.now_ms - 86_000_000
    older = replace(SOFT, time=2_000_000.0 - 86_400 * 7)
    state = host.live(Followed(Scripted("mcelog", ((registers(older),),))))
    assert state is not None
    times = [each.at_ms for each in state.history[Suspect.PAGE, "0x12345"]]
    assert times == sorted(times) and len(times) == 4
    told = [link.text for link in chain_of_record(1, received(host.journal())[0]).links]
    assert any(text.endswith("(it happened 1970-01-15T03:33:20Z)") for text in told)


@pytest.mark.parametrize(("apart_s", "too_many"), [(600, True), (4 * 86_400, False)])
def test_a_threshold_looks_at_what_was_seen_until_an_old_error_happened(
    tmp_path: Path, apart_s: int, too_many: bool
) -> None:
    host = Host(tmp_path / "journal.sqlite")
    log = tuple(registers(replace(SOFT, time=1_900_000.0 - apart_s * (12 - number))) for number in range(12))
    host.live(Followed(Scripted("db", (log,))))
    found = [each for each in host.journal() if isinstance(each, ev.TrendSeen) and each.suspect is Suspect.PAGE]
    assert bool(found) is too_many


# --- each source by itself --------------------------------------------------------------------------------------------


def told_of(host: Host, name: str) -> str:
    return next((each for each in host.problems if each.startswith(f"source {name}:")), "")


def test_a_source_that_fails_is_named_with_its_advice_and_the_others_go_on(tmp_path: Path) -> None:
    host = Host(tmp_path / "journal.sqlite")
    broken = Scripted("db", ((registers(SOFT),),), faults=[SourceError("/db", "it is torn", advice="Mend it.")] * 99)
    well = Scripted("kmsg", ((registers(HARD),),))
    host.live(Followed(broken), Followed(well), until=lambda: well.given == 1 and bool(told_of(host, "db")))
    assert told_of(host, "db") == "source db: /db: it is torn (Mend it.)"
    assert [each.source for each in received(host.journal())] == ["kmsg"]


def test_a_fault_in_reading_hostile_evidence_ends_neither_the_process_nor_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host = Host(tmp_path / "journal.sqlite")
    broken = Scripted("db", ((registers(SOFT),),), faults=[ZeroDivisionError("hostile")])
    well = Scripted("kmsg", ((registers(HARD),),))
    host.live(Followed(broken), Followed(well), until=lambda: well.given == 1 and bool(told_of(host, "db")))
    assert "a fault of Ringfence's own in reading it: ZeroDivisionError('hostile')" in told_of(host, "db")
    assert "Traceback" in capsys.readouterr().err


def test_a_position_of_another_version_is_not_taken_and_the_source_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "FIRST_PAUSE_S", 0.01)
    host = Host(tmp_path / "journal.sqlite")
    host.live(Followed(Scripted("kmsg", ((marked(registers(SOFT), "1"),),))))
    other = Scripted(
        "kmsg", ((marked(registers(SOFT, late=9), "2"),),), faults=[FormatError("no position of this source")]
    )
    host.live(Followed(other))
    assert "read from its beginning" in told_of(host, "kmsg")
    assert [each.record.raw for each in received(host.journal())] == [b"1", b"2"]


@pytest.mark.parametrize(
    ("presence", "expected", "said"),
    [
        (Presence.FORBIDDEN, False, "source kmsg: /dev/kmsg: Operation not permitted (Give it CAP_SYSLOG.)"),
        (Presence.ABSENT, True, "source kmsg: /dev/kmsg: Operation not permitted (Give it CAP_SYSLOG.)"),
        (Presence.ABSENT, False, ""),
    ],
)
def test_what_may_not_be_read_is_said_and_what_nobody_expects_is_only_noted(
    tmp_path: Path, presence: Presence, expected: bool, said: str
) -> None:
    host = Host(tmp_path / "journal.sqlite")
    found = Availability(presence, "/dev/kmsg: Operation not permitted", "Give it CAP_SYSLOG.")
    noted = "source kmsg: not there: /dev/kmsg: Operation not permitted"
    shut = Scripted("kmsg", ((registers(SOFT),),), found=found)
    host.live(
        Followed(shut, expected=expected), until=lambda: bool(told_of(host, "kmsg")) or noted in host.problems.noted
    )
    assert told_of(host, "kmsg") == said
    assert shut.given == 0


def test_a_source_that_is_stuck_in_a_read_is_named_and_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "HANGS_S", 0.6)
    monkeypatch.setattr(intake, "WATCH_S", 0.01)
    monkeypatch.setattr(own_thread, "BEAT_S", 0.05)
    host = Host(tmp_path / "journal.sqlite")
    goes_on = threading.Event()

    class Stuck(Scripted):
        async def follow(self, emit: Emit, since: Position | None = None) -> None:
            goes_on.wait()
            await super().follow(emit, since)

    stuck, well = Stuck("file", ((registers(SOFT),),)), Scripted("kmsg", ((registers(HARD),),))
    host.live(Followed(stuck), Followed(well), until=lambda: well.given == 1 and bool(told_of(host, "file")))
    assert "it has been stuck in a read for 1 s; the other sources go on" in told_of(host, "file")
    host.problems = Problems()
    goes_on.set()
    host.live(Followed(stuck), Followed(well))
    assert not told_of(host, "file")
    assert {each.source for each in received(host.journal())} == {"kmsg", "file"}


def test_what_clashes_on_this_host_and_how_evidence_comes_here_are_said(tmp_path: Path) -> None:
    host = Host(tmp_path / "journal.sqlite")
    clash = Fact("rasdaemon takes pages out of use", "/etc/rasdaemon", "Leave them to one.", clashes=True)
    first = Fact("Firmware takes errors first on this host", "the kernel log", tells_source=True)
    source = Scripted("kmsg", ())
    host.facts = (clash, first, Fact("the mcelog daemon runs", "/proc/7/comm"))
    host.live(Followed(source), until=lambda: bool(host.problems.noted) and bool(list(host.problems)))
    assert list(host.problems) == [
        "this host (0): rasdaemon takes pages out of use; Leave them to one. [/etc/rasdaemon]"
    ]
    assert "this host: Firmware takes errors first on this host" in host.problems.noted


# --- the host ---------------------------------------------------------------------------------------------------------


def test_a_host_that_has_halted_hears_nothing_until_it_comes_again(tmp_path: Path) -> None:
    host = Host(tmp_path / "journal.sqlite")
    host.world.reset_ms = 1
    source = Scripted("kmsg", ((registers(HARD),),))
    asked: list[int] = []

    def waits() -> bool:
        asked.append(source.given)
        if len(asked) == 20:
            assert not received(host.journal())
            host.world.reset_ms = None
        return source.given == 1

    host.live(Followed(source), until=waits)
    assert len(received(host.journal())) == 1


def test_a_further_report_never_comes_before_its_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What presses has a way of its own to the writer; it must not arrive before what was placed before it."""
    monkeypatch.setattr(intake, "BUSY_PAUSE_S", 0.2)
    host = Host(tmp_path / "journal.sqlite")
    host.busy_at = 2  # the first asks how far it is, the second tells of the first error

    class Later(Scripted):
        async def follow(self, emit: Emit, since: Position | None = None) -> None:
            while host.asked < 2:
                await asyncio.sleep(0.001)
            await super().follow(emit, since)

    first, later = Scripted("kmsg", ((registers(SOFT),),)), Later("tracefs", ((registers(HARD), edac(SOFT)),))
    host.live(Followed(first), Followed(later))
    told = [each for each in host.journal() if isinstance(each, ev.Received | ev.AlsoSeen)]
    assert [each.sighting if isinstance(each, ev.Received) else each.of for each in told] == [1, 2, 1]
    assert isinstance(told[0], ev.Received) and told[0].source == "kmsg"


def test_who_erases_waits_until_it_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "FULL_PAUSE_S", 0.001)
    host = Host(tmp_path / "journal.sqlite")
    is_full = threading.Event()
    append = MeteredJournal.append

    def full(self: MeteredJournal, *events: ev.Event) -> int:
        if is_full.is_set() and any(isinstance(each, ev.SourceRead) for each in events):
            raise JournalFullError(self.path, tuple(map(ev.to_text, events)))
        return append(self, *events)

    monkeypatch.setattr(MeteredJournal, "append", full)
    is_full.set()
    asked: list[int] = []
    source = Scripted("pstore", ((registers(HARD, tsc=5),),))

    def waits() -> bool:
        asked.append(source.given)
        host.model.advance(20)  # what waits for room is tried again after a while
        if len(asked) == 50:
            is_full.clear()
        return source.given == 1

    host.live(Followed(source, "pstore", erases=True), until=waits)
    assert asked[49] == 0
    assert len(received(host.journal())) == 1


def test_while_much_waits_for_the_disk_sources_are_held_up_but_for_uncorrected_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "FULL_PAUSE_S", 0.001)
    monkeypatch.setattr(ledger, "ROOM_FOR_ALL", 1)
    host = Host(tmp_path / "journal.sqlite")
    is_full = threading.Event()
    append = MeteredJournal.append

    def full(self: MeteredJournal, *events: ev.Event) -> int:
        if is_full.is_set() and any(isinstance(each, ev.SourceRead) for each in events):
            raise JournalFullError(self.path, tuple(map(ev.to_text, events)))
        return append(self, *events)

    monkeypatch.setattr(MeteredJournal, "append", full)
    is_full.set()
    soft = Scripted("kmsg", tuple((registers(replace(SOFT, page=page)),) for page in range(3)))
    hard = Scripted("tracefs", tuple((registers(replace(HARD, page=page)),) for page in range(9)))
    given: list[int] = []

    def waits() -> bool:
        given.append(soft.given)
        host.model.advance(20)
        if len(given) == 100:
            assert hard.given == 9
            is_full.clear()
        return soft.given == 3

    host.live(Followed(soft), Followed(hard), until=waits)
    assert given[99] == 1, "the first one was taken before anybody knew"
    assert len(received(host.journal())) == 12


def test_of_a_socket_an_uncorrected_error_waits_for_nobody_and_what_else_it_has_is_put_together_until_it_is_its_turn(
    tmp_path: Path,
) -> None:
    host = Host(tmp_path / "journal.sqlite")
    host.world.reset_ms = 1
    pages = [(registers(replace(each, page=page)),) for page, each in enumerate((HARD, HARD, SOFT, SOFT))]
    source = Scripted("socket", tuple(pages), Resumption.NONE)
    looks: list[int] = []

    def looked() -> bool:
        looks.append(source.given)
        return looks.count(2) == 20 or source.given > 2

    host.live(Followed(source), until=looked)
    assert source.given == 2
    assert not received(host.journal())
