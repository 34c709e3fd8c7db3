"""What is decided about one error, from real registers and a situation to the first steps."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from ringfence.decision.decide import Decision, decide, on_corrected
from ringfence.decision.enumeration_entry import EVIDENCE, PAGES
from ringfence.decision.flow import State
from ringfence.decision.policy import DEFAULT, OnUnlocated, Policy
from ringfence.decision.rows import Row
from ringfence.diagnosis.finding import diagnose
from ringfence.diagnosis.severity import Severity
from ringfence.world.domain import Dom0State, Domain, DomainKind, McaHandler
from ringfence.world.identities import DOM0, CpuId, DomainId, Frame
from ringfence.world.situation import AlreadyDone, Context, Deed, Platform, Running, Situation
from ringfence.world.steps import (
    DegradeHost,
    DrainHost,
    HealHost,
    IsolateFrame,
    LastWords,
    NotifyDom0,
    OfflineFrame,
    PauseDomain,
    SaveEvidence,
)

FRAME = Frame(0x12345)
OWNER, MAPPER = DomainId(1), DomainId(2)
HOST = Situation(
    now_ms=1_000,
    dom0=Dom0State(has_handler=True),
    domains=(
        Domain(id=DOM0, name="Domain-0", kind=DomainKind.DOM0),
        Domain(id=OWNER, name="owner", kind=DomainKind.PV, handler=McaHandler.TRAP),
        Domain(id=MAPPER, name="mapper", kind=DomainKind.HVM, mca_enabled=True),
    ),
)
IN_OWNER = Running(cpu=CpuId(1), context=Context.GUEST, domain=OWNER)
HURT = Dom0State(has_handler=True, hurt=True)


def decided(evidence: str, page: str = "a DomU's", policy: Policy = DEFAULT, **changes: object) -> Decision:
    return decide(diagnose(EVIDENCE[evidence]), replace(HOST, frames=PAGES[page], **changes), policy)  # type: ignore[arg-type]  # each caller names fields of Situation


def rows(decision: Decision) -> set[Row]:
    return {reason.row for reason in decision.reasons}


def test_the_consumer_is_stopped_first_and_loses_its_way_to_the_page() -> None:
    decision = decided("SRAR", running=IN_OWNER)
    assert decision.steps == (PauseDomain(OWNER), IsolateFrame(FRAME), OfflineFrame(FRAME))
    assert decision.parts[0].position.stopped


def test_who_only_lost_a_page_runs_on_without_it() -> None:
    decision = decided("SRAO", running=IN_OWNER)
    assert decision.steps == (IsolateFrame(FRAME), OfflineFrame(FRAME))
    assert not decision.parts[0].subject.consumed


def test_a_corrected_error_does_nothing_but_tell_dom0() -> None:
    assert decided("corrected").steps == (NotifyDom0(urgent=False),)
    assert decided("corrected", dom0=HURT).parts[0].position.state is State.COUNTED


def test_a_granted_page_has_a_part_for_each_domu() -> None:
    decision = decided("SRAO", "a DomU's, granted to another")
    assert [part.subject.domain for part in decision.parts] == [OWNER, MAPPER]
    assert [part.subject.pages for part in decision.parts] == [(0x40,), (0x77,)]
    assert Row.MANY in rows(decision)


@pytest.mark.parametrize("evidence", ["FATAL", "SRAR, overflow"])
def test_what_is_fatal_halts_and_an_able_dom0_gets_a_second_for_the_evidence(evidence: str) -> None:
    deadline = HOST.now_ms + DEFAULT.deadlines.evidence_ms
    assert decided(evidence).steps == (SaveEvidence(deadline),)
    assert decided(evidence, dom0=HURT).steps == (LastWords(),)


def test_a_consumer_does_not_run_while_the_host_is_brought_to_a_halt() -> None:
    decision = decided("SRAR without a page", running=IN_OWNER, dom0=HURT)
    assert decision.steps == (PauseDomain(OWNER), LastWords())


@pytest.mark.parametrize("evidence", ["SRAR, consumed elsewhere", "SRAR, tied to nothing"])
def test_what_was_consumed_by_nobody_knows_whom_halts(evidence: str) -> None:
    assert decided(evidence, running=IN_OWNER).first.name == "unconfined"


def test_without_poisoning_every_uncorrected_error_halts() -> None:
    decision = decided("SRAO", platform=Platform(poisons=False))
    assert decision.first.row is Row.HALT
    assert Row.POISONING in rows(decision)


def test_an_error_of_an_earlier_boot_is_history() -> None:
    decision = decided("FATAL", earlier_boot=True)
    assert decision.parts == ()
    assert decision.first.row is Row.LAST_WORDS


@pytest.mark.parametrize(
    ("wanted", "steps"),
    [
        (OnUnlocated.DEGRADE, (DegradeHost(),)),
        (OnUnlocated.DRAIN, (DegradeHost(), DrainHost())),
        (OnUnlocated.HALT, (LastWords(),)),
    ],
)
def test_what_cannot_be_located_stops_nobody_unless_the_policy_wants_a_halt(
    wanted: OnUnlocated, steps: tuple[object, ...]
) -> None:
    assert decided("DEFERRED", policy=Policy(unlocated=wanted), dom0=HURT).steps == steps


@pytest.mark.parametrize("page", ["free", "offline", "ballooned out", "of a domain that is gone"])
def test_a_page_that_nobody_has_is_taken_out_of_use(page: str) -> None:
    decision = decided("SRAO", page)
    assert decision.first.row is Row.NOBODY
    assert decision.steps == (OfflineFrame(FRAME),)


@pytest.mark.parametrize("page", ["the hypervisor's", "Dom0's"])
def test_the_host_heals_itself_and_a_hurt_dom0_gets_no_time_for_evidence(page: str) -> None:
    decision = decided("SRAO", page)
    assert decision.steps == (HealHost((FRAME,), None, page == "Dom0's"),)


def test_what_the_hypervisor_did_alone_is_where_the_part_stands_already() -> None:
    decision = decided("SRAO", already_done=(AlreadyDone(Deed.INJECTED_VMCE, OWNER, FRAME),))
    assert decision.parts[0].position.state is State.INJECTED
    assert any("preempted" in reason.because for reason in decision.reasons)


def test_every_decision_names_the_class_the_impact_and_its_row() -> None:
    for evidence in EVIDENCE:
        decision = decided(evidence)
        assert {Row.CLASSIFY, Row.IMPACT, decision.first.row} <= rows(decision)


def test_what_is_done_about_a_corrected_error_does_not_depend_on_whom_it_lies_with() -> None:
    corrected = [each for each in map(diagnose, EVIDENCE.values()) if each.severity is Severity.CORRECTED]
    assert corrected
    both = (False, True)
    for finding, page, running, earlier, handler, hurt, deed in product(
        corrected, PAGES.values(), (Running(), IN_OWNER), both, both, both, (None, *Deed)
    ):
        situation = replace(
            HOST, frames=page, running=running, earlier_boot=earlier, dom0=Dom0State(has_handler=handler, hurt=hurt),
            already_done=() if deed is None else (AlreadyDone(deed, OWNER, FRAME),),
        )  # fmt: skip
        assert on_corrected(finding, situation, DEFAULT) == decide(finding, situation, DEFAULT).steps
