"""The end and the next boot: last words smallest first, sinks that fail, left-overs (B.2, B.3, L4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.api import evidence
from ringfence.hypervisor.model import faults
from ringfence.hypervisor.model.observer import Carried, Halted, Said, Sink
from ringfence.hypervisor.port import EvidenceWanted, LeftOver, Telemetry
from ringfence.record.binary import cper
from ringfence.record.evidence import Record
from ringfence.world.identities import CpuId, DomainId, GuestFrame, SocketId
from ringfence.world.situation import Situation
from ringfence.world.steps import HaltHost, LastWords, SaveEvidence, Status, Step
from ringfence.world.treatment import StepEnded
from tests.hypervisor.model.staged import Staged, guest, stage


def corrupt(staged: Staged, cpu: int = 1) -> None:
    staged.host.inject(faults.ContextCorrupt(cpu=CpuId(cpu)))
    staged.host.advance(10)


def test_b2_every_sink_gets_its_smallest_record_before_any_sink_gets_more() -> None:
    staged = stage()
    corrupt(staged)
    said = staged.of(Said)
    first = said[:4]
    assert [each.sink for each in first] == [Sink.ERST, Sink.SERIAL, Sink.SCREEN, Sink.LOG]
    for each in first[1:]:
        later = [more for more in said[4:] if more.sink is each.sink]
        assert later
        assert all(len(each.content) <= len(more.content) for more in later)
    assert [each.panic for each in staged.of(Halted)] == [True]
    assert staged.host.halted


def test_last_words_in_erst_are_cper_records_that_read_back() -> None:
    staged = stage()
    corrupt(staged)
    (record,) = [each for each in cper.read(staged.host.erst[0], "erst") if isinstance(each, Record)]
    assert record.registers.status == staged.seat.records[0].registers.status
    assert record.bank == staged.seat.records[0].bank


def test_last_words_on_the_serial_line_are_read_as_xens_console(tmp_path: Path) -> None:
    staged = stage()
    corrupt(staged)
    lines = staged.host.console(Sink.SERIAL)
    status = staged.seat.records[0].registers.status
    assert f"{status:16x}" in lines
    file = tmp_path / "serial"
    file.write_text(lines)
    assert status in {each.registers.status for each in evidence(file) if isinstance(each, Record)}


@pytest.mark.parametrize("broken", [(Sink.ERST,), (Sink.SERIAL, Sink.SCREEN), tuple(Sink)])
def test_l4_a_broken_sink_is_declared_and_the_others_get_theirs(broken: tuple[Sink, ...]) -> None:
    staged = stage()
    for sink in broken:
        staged.host.break_sink(sink)
    corrupt(staged)
    assert {each.sink for each in staged.of(Said) if not each.kept} == set(broken)
    assert {each.sink for each in staged.of(Said) if each.kept} == set(Sink) - set(broken)
    assert staged.host.halted
    assert bool(staged.host.erst) is (Sink.ERST not in broken)
    spoken = next(each.result for each in staged.of(Carried) if isinstance(each.order.step, LastWords))
    assert len(spoken.declared) == len(broken)
    assert spoken.status is (Status.FAILED if len(broken) == len(Sink) else Status.DONE)


def saves_evidence(record: Record, situation: Situation) -> tuple[Step, ...]:
    # The other thread of the core reads the same bank.
    return (SaveEvidence(situation.now_ms + 500),) if record.cpu in {1, 7} else ()


def test_b3_dom0_is_given_time_and_alone_runs_until_the_end() -> None:
    staged = stage(answering=saves_evidence)
    domain = guest(staged)
    staged.host.advance(100)
    corrupt(staged, cpu=7)
    begun = staged.host.now_ms()
    (wanted,) = [each for each in staged.host.arrivals() if isinstance(each, EvidenceWanted)]
    assert staged.host.arrivals()[0] == wanted
    assert [each for each in staged.host.arrivals() if isinstance(each, Telemetry)]
    staged.host.advance(200)
    assert staged.host.ran(domain, begun, begun + 200) == ()
    assert staged.host.ran(DomainId(0), begun, begun + 200)
    staged.host.evidence_saved(wanted.case)
    ended = [each for each in staged.seat.told_of if isinstance(each, StepEnded)]
    assert [each.result.status for each in ended] == [Status.RUNNING, Status.DONE]


@pytest.mark.parametrize("hurt", [False, True])
def test_l5_a_dom0_without_handler_or_hurt_is_not_waited_for(hurt: bool) -> None:
    staged = stage(answering=saves_evidence)
    staged.host.set_dom0_handler(hurt)
    staged.host.hurt_dom0(hurt)
    corrupt(staged)
    assert not [each for each in staged.host.arrivals() if isinstance(each, EvidenceWanted)]
    ended = [each for each in staged.seat.told_of if isinstance(each, StepEnded)]
    assert [each.result.status for each in ended] == [Status.FAILED]


def test_b2_left_overs_are_found_after_a_warm_reboot_marked_as_such_and_once() -> None:
    staged = stage()
    guest(staged)
    corrupt(staged)
    staged.host.reboot()
    assert not staged.host.halted
    left = [each for each in staged.take() if isinstance(each, LeftOver)]
    assert {each.sink for each in left} == {"banks", "ERST"}
    for each in left:
        for record in each.records:
            assert staged.host.situation(record).earlier_boot
    assert not [each for each in staged.take() if isinstance(each, LeftOver)]
    assert staged.host.erst == ()
    assert not staged.host.halted


def test_after_a_cold_reset_the_banks_are_clear_and_erst_still_speaks() -> None:
    staged = stage()
    corrupt(staged)
    staged.host.reboot(cold=True)
    assert [each.sink for each in staged.take() if isinstance(each, LeftOver)] == ["ERST"]


def test_what_erst_holds_stays_until_it_is_acknowledged() -> None:
    staged = stage()
    corrupt(staged)
    staged.host.reboot(cold=True)
    staged.host.reboot(cold=True)
    assert [each.sink for each in staged.take() if isinstance(each, LeftOver)] == ["ERST"]


def test_a_reboot_starts_the_guests_that_lived_with_new_memory() -> None:
    staged = stage()
    first, second = guest(staged), guest(staged)
    name = staged.domain(second).name
    staged.host.destroy(first)
    corrupt(staged)
    staged.host.reboot()
    assert [each.name for each in staged.host.situation(None).domains] == ["Domain-0", name]
    assert staged.host.boot == 2
    assert not staged.host.situation(None).dom0.has_handler


def test_what_was_planned_before_a_halt_does_not_happen_after_it() -> None:
    staged = stage()
    domain = guest(staged, behaviour="ignores")
    staged.host.read(domain, GuestFrame(3))
    corrupt(staged)
    before = len(staged.facts)
    staged.host.advance(60_000)
    assert len(staged.facts) == before


def test_a_machine_check_that_no_bank_explains_ends_the_machine() -> None:
    staged = stage()
    staged.host.inject(faults.SpuriousMachineCheck())
    staged.host.advance(10)
    (halted,) = staged.of(Halted)
    assert halted.panic
    assert staged.seat.records == []


def test_a_cpu_that_does_not_come_to_the_rendezvous_ends_the_machine_after_the_evidence_was_seen() -> None:
    staged = stage(answering=lambda record, situation: ())
    staged.host.inject(faults.Stuck(cpu=CpuId(3)))
    staged.host.inject(faults.InterconnectUncorrected(socket=SocketId(0)))
    staged.host.advance(2_000)
    assert staged.seat.records
    assert staged.host.halted


def test_dom0s_last_words_where_xen_acts_alone_are_about_what_it_was_shown() -> None:
    staged = stage("xen-4.20")
    staged.host.inject(faults.CacheWriteback(cpu=CpuId(0), addr=staged.host.free_address()))
    staged.host.advance(1)
    assert staged.host.arrivals()
    assert staged.do(LastWords()).status is Status.DONE
    (kept,) = staged.host.erst
    assert kept.startswith(b"CPER")


def test_a_halted_host_refuses_everything() -> None:
    staged = stage()
    domain = guest(staged)
    corrupt(staged)
    for step in (HaltHost(), LastWords()):
        assert staged.do(step).status is Status.REFUSED
    assert staged.host.arrivals() == ()
    assert staged.host.consume(domain, GuestFrame(1)) is None
