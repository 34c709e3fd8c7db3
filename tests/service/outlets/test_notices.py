"""What is told of each event: the topic, its weight, and words that are safe to show."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.diagnosis.severity import Severity
from ringfence.journal import events as ev
from ringfence.journal.store import Journal
from ringfence.record.evidence import Format, Origin, Record, Registers
from ringfence.service.histories import Context, Words
from ringfence.service.outlets.cloud_event import cloud_event
from ringfence.service.outlets.cursor import Identity
from ringfence.service.outlets.notices import (
    MOST_CHARACTERS,
    MOST_DETAILS,
    READ,
    Narrator,
    Notice,
    look,
    notice,
    priority_of,
    topic_of,
)
from ringfence.service.outlets.telling import Outlet
from ringfence.service.outlets.topics import Priority, Topic
from ringfence.world.domain import DomainKind, DomainState
from ringfence.world.identities import CaseId, DomainId, StepId
from ringfence.world.situation import Seat, Suspect
from ringfence.world.steps import Status
from tests.journal.strategies import events
from tests.journal.test_retention import compacted
from tests.journal.test_tallies import received as without_registers

CASE = CaseId(1)
RECORD = Record(
    origin=Origin("-", 1), format=Format.STRUCT_MCE, raw=b"x", registers=Registers(status=0xBD80000000100134), bank=1
)
IDENTITY = Identity("host", "journal")


def received(dimm: str | None, *, severity: str = "CORRECTED", left_over: bool = False) -> ev.Received:
    found = without_registers(dimm, severity=severity, left_over=left_over)
    return msgspec.structs.replace(found, record=RECORD)


def told(tmp_path: Path, *given: ev.Event) -> list[Notice]:
    """What is told of a journal."""
    path = tmp_path / "journal.sqlite"
    path.unlink(missing_ok=True)
    with Journal(path, fsync=False, reserve_bytes=0) as journal:
        journal.append(*given)
        last = journal.last
    narrator, place, found = Narrator(Words(Context((), {}), 0)), 0, list[Notice]()
    while place < last:
        seen = look(path, place, last, narrator.cases)
        found += [each for _, notices in narrator.notices(seen) for each in notices]
        assert seen.upto > place
        place = seen.upto
    return found


def of_case(severity: str = "SRAR", *, name: str = "old-pv") -> tuple[ev.Event, ...]:
    """A case as it stands in the journal."""
    step = ev.StepWire("DestroyDomain", (("domain", 4),))
    domain = DomainId(4)
    return (
        ev.DomainChanged(at_ms=1, domain=domain, name=name, domain_kind=DomainKind.PV, state=DomainState.RUNNING),
        msgspec.structs.replace(received("A1", severity=severity), case=CASE, summary="it broke"),
        ev.Decided(at_ms=1, case=CASE, domain=domain, seat=Seat.HYPERVISOR, row="I.3a-kill"),
        ev.Intended(at_ms=1, order=StepId(1), case=CASE, step=step),
        ev.Carried(at_ms=1, order=StepId(1), status=Status.FAILED, because="it would not"),
        ev.Closed(at_ms=1, case=CASE, outcome=(ev.OutcomeEntry(domain, "killed", "I.3a-kill", "it is killed"),)),
    )


def test_a_case_is_told_from_its_opening_to_its_outcome(tmp_path: Path) -> None:
    found = told(tmp_path, *of_case())
    assert [(each.topic, each.number, each.part, each.priority) for each in found] == [
        (Topic.CASE_OPENED, 2, "opened", Priority.NOTICE),
        (Topic.ERROR, 2, "", Priority.ERROR),
        (Topic.DECISION, 3, "", Priority.ERROR),
        (Topic.ORDER_FAILED, 5, "", Priority.ERROR),
        (Topic.CASE_CLOSED, 6, "", Priority.ERROR),
    ]
    assert {(each.case, each.severity) for each in found if each.topic is not Topic.ORDER_FAILED} == {(1, "SRAR")}
    assert [each.domain_name for each in found] == ["", "", "old-pv", "", "old-pv"]
    assert found[2].text == "it is killed (in the hypervisor's seat)"
    assert found[3].text == "DestroyDomain old-pv: failed: it would not"
    assert found[4].text == "old-pv: killed by I.3a-kill; it is killed"


def test_a_case_is_opened_once_wherever_the_reading_begins(tmp_path: Path) -> None:
    given = of_case()
    path = tmp_path / "journal.sqlite"
    with Journal(path, fsync=False, reserve_bytes=0) as journal:
        journal.append(*given)
    for place in range(len(given)):
        narrator = Narrator(Words(Context((), {}), place))
        found = [each for _, some in narrator.notices(look(path, place, 6, narrator.cases)) for each in some]
        assert [each.number for each in found if each.topic is Topic.CASE_OPENED] == ([2] if place < 2 else [])
        assert all(each.severity == "SRAR" for each in found if each.topic is Topic.CASE_CLOSED)


def test_a_case_is_opened_by_the_first_that_is_told_of_it(tmp_path: Path) -> None:
    """A superseding error's case begins with a step, and is reported after it was decided about."""
    step = ev.Progressed(at_ms=1, case=CASE, domain=None, event="reported", state="containing", row="I.2c-dom0")
    _, error, decided, *_ = of_case()
    found = told(tmp_path, step, decided, error)
    assert [(each.topic, each.number) for each in found] == [
        (Topic.CASE_OPENED, 2),
        (Topic.DECISION, 2),
        (Topic.ERROR, 3),
    ]
    assert {each.severity for each in found} == {"SRAR"}


def test_corrected_errors_are_told_as_a_trend_only(tmp_path: Path) -> None:
    trend = ev.TrendSeen(at_ms=1, suspect=Suspect.DIMM, name="A1", count=10, distinct=1, window_ms=1000)
    found = told(tmp_path, *(received("A1") for _ in range(10)), trend)
    assert [each.topic for each in found] == [Topic.TREND]


@pytest.mark.parametrize(
    ("event", "topic", "priority"),
    [
        (received(None, severity="FATAL"), Topic.ERROR, Priority.CRITICAL),
        (received(None, severity="FATAL", left_over=True), Topic.ERROR, Priority.CRITICAL),
        (received(None, severity="SRAR"), Topic.ERROR, Priority.ERROR),
        (received(None, severity="UCNA"), Topic.ERROR, Priority.WARNING),
        (received(None, severity="a later one"), Topic.ERROR, Priority.WARNING),
        (received(None), None, None),
        (ev.Lost(at_ms=1, count=1, urgent=True), Topic.EVIDENCE_LOST, Priority.ERROR),
        (ev.Lost(at_ms=1, count=1, urgent=False), Topic.EVIDENCE_LOST, Priority.WARNING),
        (ev.Dom0Changed(at_ms=1, has_handler=True, hurt=True), Topic.DOM0, Priority.ERROR),
        (ev.Dom0Changed(at_ms=1, has_handler=True, hurt=False), Topic.DOM0, Priority.NOTICE),
        (ev.Dom0Changed(at_ms=1, has_handler=False, hurt=False), Topic.DOM0, Priority.WARNING),
        (ev.Carried(at_ms=1, order=StepId(1), status=Status.DONE), None, None),
        (ev.PolicyLoaded(at_ms=1, digest="x"), None, None),
        (ev.PolicyLoaded(at_ms=1, digest="x", who="me"), Topic.LOADED, Priority.NOTICE),
        (ev.Closed(at_ms=1, case=CASE, outcome=()), Topic.CASE_CLOSED, Priority.NOTICE),
        (ev.Salvaged(at_ms=1, read=9, lost=1, lost_from=10, lost_to=10), Topic.SALVAGED, Priority.ERROR),
    ],
)
def test_an_event_weighs_what_it_means(event: ev.Event, topic: Topic | None, priority: Priority | None) -> None:
    assert topic_of(event) is topic
    if topic is not None:
        assert priority_of(event, topic) is priority


def test_every_uncorrected_class_is_told() -> None:
    told_of = {severity for severity in Severity if topic_of(received(None, severity=severity)) is Topic.ERROR}
    assert told_of == set(Severity) - {Severity.NONE, Severity.CORRECTED}


NAMES = st.text(max_size=8) | st.sampled_from(("\x1b[2J", "\u202e", "a\nb", "\ud800"))


@settings(max_examples=40)
@given(stored=st.lists(events, max_size=12), name=NAMES)
def test_whatever_a_journal_holds_is_told_in_words_that_are_safe(
    stored: list[ev.Event], name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for each in told(tmp_path_factory.mktemp("j"), *stored, *of_case(name=name)):
        for text in (each.text, each.domain_name, each.dimm, each.severity, *each.details):
            assert not any(unicodedata.category(character) in {"Cc", "Cs"} for character in text)
            assert "\u202e" not in text
            assert len(text) <= MOST_CHARACTERS
        assert len(each.details) <= MOST_DETAILS
        body = cloud_event(each, IDENTITY, 1)
        assert len(body) < 64 << 10 or not body.isascii()
        assert msgspec.json.decode(body)["data"]["number"] == each.number


def test_every_kind_of_event_is_read_or_is_known_to_say_nothing_to_others() -> None:
    silent = {"Acknowledged", "AlsoSeen", "Answered", "Asked", "Compacted", "EvidenceSaved", "ModulesSeen",
              "PluginSaid", "Progressed", "Repeated", "SourceRead"}  # fmt: skip
    assert set(ev.KINDS) - {kind.__name__ for kind in READ} == silent


def test_an_event_that_cannot_be_put_into_words_is_told_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(tmp_path, without_registers(None, severity="SRAR"))  # a record without registers: no reader makes one
    assert [(each.topic, each.text) for each in found] == [
        (Topic.ERROR, "event 1 (Received) cannot be put into words, which is a defect of Ringfence")
    ]
    assert "nothing to decode" in capsys.readouterr().err


def test_what_a_journal_no_longer_keeps_is_known_as_missing(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with Journal(path, fsync=False, reserve_bytes=0) as journal:
        journal.append(*(ev.Stopped(at_ms=1, because=str(number)) for number in range(6)))
        compacted(journal, 4)
        while journal.drop():
            pass
    found = look(path, 2, 7, frozenset())
    assert found.missing == 4
    assert [number for number, _ in found.events] == [5, 6]
    assert look(path, 4, 7, frozenset()).missing == 0


def test_topics_are_chosen_by_name_or_by_pattern() -> None:
    async def nowhere(_: Notice, __: Identity) -> None:
        raise AssertionError

    def heard(*wants: str) -> set[Topic]:
        outlet = Outlet("a", wants, nowhere, lambda _: None)
        return {topic for topic in Topic if outlet.hears(topic)}

    assert heard("*") == set(Topic)
    assert heard("case.*", "trend") == {Topic.CASE_OPENED, Topic.CASE_CLOSED, Topic.TREND}
    assert heard() == set()


def test_details_without_end_are_cut() -> None:
    found = notice(Topic.TEST, 1, "x" * 9999, details=("y" * 9999 for _ in range(99)))
    assert found.text.endswith("...")
    assert (len(found.text), len(found.details), len(found.details[0])) == (
        MOST_CHARACTERS, MOST_DETAILS, MOST_CHARACTERS,
    )  # fmt: skip
