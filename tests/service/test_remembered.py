"""Dom0's seat treats alone and begins anew: what closed cases left to be heeded is heeded still."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.arch.cpuid import Vendor
from ringfence.decision.flow import Position, State
from ringfence.decision.policy import DEFAULT
from ringfence.decision.rows import Row
from ringfence.journal import events as ev
from ringfence.journal.store import Journal
from ringfence.record.evidence import Format, Origin, Record, Registers
from ringfence.service.loop import Loop
from ringfence.world.identities import CaseId, DomainId, Frame, StepId
from ringfence.world.steps import OfflineFrame, Order, PauseDomain, Result
from tests.contract.backends import BACKENDS, World

CASE = CaseId(1)
EVIDENCE = Record(
    origin=Origin("-"), format=Format.TYPED, raw=b"", vendor=Vendor.INTEL, cpuid=0x50657, bank=7,
    registers=Registers(status=0xAC00_0000_0001_0091, addr=0x12_3000, misc=0x86, mcg_cap=0x100_0C16),
)  # fmt: skip
"""An uncorrected error that nobody has consumed (UCNA: UC=1 PCC=0 S=0 AR=0; SDM vol. 3B 17.6.3)."""


@pytest.fixture
def world() -> World:
    return BACKENDS["model xen-4.20"]()


def begun(world: World, path: Path, *events: ev.Event) -> None:
    """An earlier life of the same boot, which wrote these events."""
    with Journal(path, fsync=False) as journal:
        journal.append(
            ev.Started(at_ms=0, life=1, version="0", hypervisor="model", boot=str(world.host.boot)),
            ev.Received(at_ms=1, token=None, case=CASE, urgent=True, record=EVIDENCE, severity="SRAR", summary=""),
            *events,
        )


def at(domain: DomainId, position: str, *, state: str, ended: bool) -> ev.Progressed:
    return ev.Progressed(
        at_ms=2, case=CASE, domain=domain, event="done", state=state, row="I.2c-alone", position=position, ended=ended
    )


def remembered(world: World, path: Path) -> tuple[frozenset[DomainId], frozenset[tuple[Frame, CaseId]]]:
    with Journal(path, fsync=False) as journal:
        loop = Loop(world.host, journal, DEFAULT)
        assert loop._alone is not None
        return loop._alone.treatment.remembered


def test_the_pages_that_a_closed_case_dealt_with_are_known_to_the_next_life(world: World, tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    frames = ((Frame(0x800), 512), (Frame(0x123), 1))
    impact = ev.Impacted(
        at_ms=2, case=CASE, consumer=ev.Hit(party="nobody", certainty="proven"), losers=(), certainty="proven",
        frames=frames,
    )  # fmt: skip
    end = ev.Closed(at_ms=3, case=CASE, outcome=(ev.OutcomeEntry(world.pv, "operated", "I.2c-alone"),))
    begun(world, path, impact, end)
    for _ in range(2):
        _, treated = remembered(world, path)
        assert treated == {(Frame(each), CASE) for each in (*range(0x800, 0xA00), 0x123)}
    world.host.reboot()
    assert remembered(world, path)[1] == frozenset(), "another boot: its pages are new"


@pytest.mark.parametrize("is_closed", [True, False])
def test_the_host_hears_which_pages_are_lost_before_an_order_is_given_again(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_closed: bool
) -> None:
    """Or a page that lost what it held would be read, to be copied elsewhere."""
    path, heard = tmp_path / "j.sqlite", list[object]()
    impact = ev.Impacted(
        at_ms=2, case=CASE, consumer=ev.Hit(party="nobody", certainty="proven"), losers=(), certainty="proven",
        frames=((Frame(0x123), 1), (Frame(0x800), 2)),
    )  # fmt: skip
    order = ev.Intended(at_ms=3, case=CASE, order=StepId(7), step=ev.on_wire(OfflineFrame(Frame(0x123))))
    end = ev.Closed(at_ms=4, case=CASE, outcome=(ev.OutcomeEntry(None, "operated", "I.2b"),))
    begun(world, path, impact, *((end,) if is_closed else (order,)))
    real = world.host.carry_out

    def carry_out(given: Order) -> Result:
        heard.append(given.step)
        return real(given)

    monkeypatch.setattr(world.host, "heed_lost", heard.extend)
    monkeypatch.setattr(world.host, "carry_out", carry_out)
    remembered(world, path)
    assert heard[:3] == [Frame(0x123), Frame(0x800), Frame(0x801)]
    assert any(isinstance(each, OfflineFrame) for each in heard[3:]) is not is_closed


def test_a_domain_that_must_not_run_again_is_known_to_the_next_life(world: World, tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    held = Position(state=State.OPERATED, row=Row.ON_DOMAIN, held=True).encode()
    free = Position(state=State.OPERATED, row=Row.ON_DOMAIN).encode()
    begun(
        world, path,
        at(world.pv, held, state="operated", ended=True),
        at(world.hvm, free, state="operated", ended=True),
    )  # fmt: skip
    world.host.carry_out(Order(StepId(1 << 50), PauseDomain(world.pv)))
    assert remembered(world, path)[0] == {world.pv}


def test_where_a_later_version_wrote_where_a_part_stood_the_start_says_so_and_goes_on(
    world: World, tmp_path: Path
) -> None:
    path = tmp_path / "j.sqlite"
    impact = ev.Impacted(
        at_ms=2, case=CASE, consumer=ev.Hit(party="nobody", certainty="proven"), certainty="proven",
        losers=(ev.Hit(party="DomU", certainty="proven", domain=world.pv),), frames=((Frame(0x123), 1),),
    )  # fmt: skip
    begun(world, path, impact, at(world.pv, "becalmed/I.9z/x/0", state="becalmed", ended=False))
    with Journal(path, fsync=False) as journal:
        loop = Loop(world.host, journal, DEFAULT)
        loop.turn()
        assert not loop.state.cases
        said = [event for _, event in journal.events() if isinstance(event, ev.Progressed) and event.ended]
    (end,) = said
    assert end.state == "unknown"
    assert "becalmed/I.9z/x/0" in end.because and f"domain {world.pv}" in end.because
