"""Every way that a case can begin, and everything that Dom0 can answer or do ahead, by exhaustion.

``first_row`` is put to the whole product of what it looks at. ``decide`` is put to real evidence of every severity (the
registers of an error as they would stand in a log, diagnosed and contained as always) in a grid of situations that has
every impact: each page owner and mapper, each context that the CPU can have been in, each state of Dom0, the platform,
the policy and what a hypervisor did alone. ``answer`` and ``ahead`` are put to grids of domains, policies and trends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product

from ringfence.arch import mci_status as bits
from ringfence.arch.cpuid import Vendor
from ringfence.arch.mcg import EIPV, MCIP, RIPV, SER_P
from ringfence.decision import answer as dom0
from ringfence.decision import decide as deciding
from ringfence.decision.decide import Decision, Hit, Part
from ringfence.decision.enumeration_report import Breaches, Report
from ringfence.decision.flow import ENDS, State
from ringfence.decision.laws import Law
from ringfence.decision.policy import DEFAULT, Answer, DomainRule, OnPageTrend, OnRankTrend, OnUnlocated, Policy, Trends
from ringfence.decision.rows import Because, Row
from ringfence.diagnosis.finding import Finding, diagnose
from ringfence.diagnosis.impact import Certainty, Party
from ringfence.diagnosis.severity import ErrorClass, Severity
from ringfence.record.evidence import Delivery, Format, Origin, Record, Registers
from ringfence.world.domain import Checkpoint, Dom0State, Domain, DomainKind, DomainState, McaHandler
from ringfence.world.frames import FrameFacts, FrameUse, Mapping, MappingKind
from ringfence.world.identities import DOM0, PAGE_SHIFT, CaseId, CpuId, DomainId, Frame, GuestFrame
from ringfence.world.situation import (
    AlreadyDone,
    Context,
    Deed,
    Destination,
    OpenCase,
    Platform,
    PluginVerdict,
    Running,
    Situation,
    Suspect,
    Trend,
)
from ringfence.world.steps import (
    AskDom0,
    DegradeHost,
    DrainHost,
    ExchangeFrame,
    HaltHost,
    HealHost,
    IsolateFrame,
    LastWords,
    NotifyDom0,
    OfflineCpu,
    OfflineFrame,
    PauseDomain,
    SaveEvidence,
    Step,
)

ADDRESS = 0x1234_5000
_FRAME = Frame(ADDRESS >> PAGE_SHIFT)
_OWNER, _MAPPER, _STRANGER, _GONE = DomainId(1), DomainId(2), DomainId(3), DomainId(9)
_NUMBER, _OTHER_NUMBER = GuestFrame(0x40), GuestFrame(0x77)


@dataclass(slots=True)
class _Tally:
    """What was gone through."""

    breaches: Breaches = field(default_factory=Breaches)
    beginnings: int = 0
    rows: set[Row] = field(default_factory=set)
    first_rows: set[str] = field(default_factory=set)
    flow_states: set[State] = field(default_factory=set)
    severities: set[Severity] = field(default_factory=set)


def enumerate_entries(*, until: Law | None = None) -> Report:
    """Put every beginning to ``first_row`` and ``decide``, and every question to ``answer`` and ``ahead``.

    ``until``: go no further than to the first of these four that breaks this law.
    """
    tally = _Tally()
    for look in (_first_rows, _decisions, _answers, _aheads):
        if not tally.breaches.has(until):
            look(tally)
    return Report(
        name="every beginning",
        beginnings=tally.beginnings,
        states=tally.beginnings,
        moves=0,
        paths=tally.beginnings,
        rows=frozenset(tally.rows),
        flow_states=frozenset(tally.flow_states),
        missing=(
            *(f"first row: {rule.name}" for rule in deciding.FIRST_ROWS if rule.name not in tally.first_rows),
            *(f"severity: {severity}" for severity in Severity if severity not in tally.severities),
        ),
        broken=tally.breaches.all,
    )


# --- the first row --------------------------------------------------------------------------------------------------

_HALTS = frozenset({State.SAVING_EVIDENCE, State.SPEAKING})


def _first_rows(tally: _Tally) -> None:
    yes_no = (False, True)
    for severity, left_over, worst, host, domus, frames, halt in product(
        Severity, yes_no, Certainty, yes_no, yes_no, yes_no, yes_no
    ):
        hit = Hit(
            severity=severity,
            left_over=left_over,
            worst=worst,
            host=host,
            domus=domus,
            frames=frames,
            halt_unlocated=halt,
        )
        first = deciding.first_row(hit)
        tally.beginnings += 1
        tally.first_rows.add(first.name)
        uncorrected = ErrorClass.of(severity) is ErrorClass.UNCORRECTED
        must_halt = severity is Severity.FATAL or worst is Certainty.UNCONFINED
        halts = first.state in _HALTS
        laws = {
            (Law.L3, "a corrected error does more than be counted"): (
                severity is Severity.CORRECTED and (first.treats_domus or first.state not in {None, State.NOTING})
            ),
            (Law.L4, "history does something"): left_over and (first.treats_domus or first.state is not None),
            (Law.L4, "what is fatal or unconfined does not halt"): (
                uncorrected and not left_over and must_halt and not halts
            ),
            (Law.L6, "the host halts for an error that is confined"): (
                halts and not must_halt and not (worst is Certainty.UNLOCATED and halt)
            ),
            (Law.L2, "an uncorrected error has no part"): (
                uncorrected and not left_over and first.state is None and not (first.treats_domus and domus)
            ),
            (Law.L2, "a DomU that is hit is not treated"): (
                uncorrected and not left_over and domus and not halts and not first.treats_domus
            ),
        }
        for (law, what), broken in laws.items():
            if broken:
                tally.breaches.add(law, what, (str(hit), first.name))


# --- decide ---------------------------------------------------------------------------------------------------------

_SEEN = bits.VAL.mask | bits.EN.mask | bits.MISCV.mask | bits.ADDRV.mask
_UC = _SEEN | bits.UC.mask
_RESTARTABLE = RIPV.mask | MCIP.mask
_TIED = _RESTARTABLE | EIPV.mask
_PHYSICAL = 0x86
"""MCi_MISC of Intel: a physical address, good to 64 bytes (SDM vol. 3B 17.3.2.4)."""


def _intel(status: int, mcg_status: int, bank: int) -> Record:
    """What a Skylake server with SER_P reports."""
    registers = Registers(
        status=status, addr=ADDRESS, misc=_PHYSICAL, mcg_status=mcg_status, mcg_cap=SER_P.mask | 0xC00 | 0x14
    )
    return _record(registers, bank, Vendor.INTEL, 0x50654)


def _amd(status: int, mcg_status: int, bank: int, ipid: int) -> Record:
    """What a Zen 3 server reports."""
    registers = Registers(status=status, addr=ADDRESS, misc=0, mcg_status=mcg_status, mcg_cap=0x11C, ipid=ipid)
    return _record(registers, bank, Vendor.AMD, 0x00A00F11)


def _record(registers: Registers, bank: int, vendor: Vendor, cpuid: int) -> Record:
    return Record(
        origin=Origin("enumeration"), format=Format.TYPED, raw=b"", registers=registers, bank=bank, cpu=1,
        vendor=vendor, cpuid=cpuid, delivery=Delivery.UNKNOWN,
    )  # fmt: skip


_SRAR = _UC | bits.S.mask | bits.AR.mask | 0x134
EVIDENCE: dict[str, Record] = {
    "no error": _intel(0, 0, 7),
    "corrected": _intel(_SEEN | 0x90, 0, 7),
    "UCNA": _intel(_UC | 0x9F, 0, 7),
    "SRAO": _intel(_UC | bits.S.mask | 0xC0, _RESTARTABLE, 7),
    "SRAR": _intel(_SRAR, _TIED, 1),
    "SRAR, consumed elsewhere": _intel(_SRAR, _RESTARTABLE, 1),
    "SRAR, context lost": _intel(_SRAR, EIPV.mask | MCIP.mask, 1),
    "SRAR, tied to nothing": _intel(_SRAR, MCIP.mask, 1),
    "SRAR without a page": _intel(_SRAR & ~(bits.ADDRV.mask | bits.MISCV.mask), _TIED, 1),
    "SRAR, overflow": _intel(_SRAR | bits.OVER.mask, _TIED, 1),
    "FATAL": _intel(_UC | bits.PCC.mask | 0x134, MCIP.mask, 1),
    "DEFERRED": _amd(bits.VAL.mask | bits.ADDRV.mask | bits.DEFERRED.mask, 0, 17, 0x9600150F00),
    "SRAR of AMD": _amd(_UC | (1 << 43) | 0x10135, _TIED, 0, 0xB000000000),
}
"""One record of each severity, and of each way in which a consumed error is tied to who ran."""


def _mapping(domain: DomainId, kind: MappingKind, number: GuestFrame | None, *, removable: bool = True) -> Mapping:
    return Mapping(domain=domain, kind=kind, guest_frame=number, removable=removable)


_OWN = _mapping(_OWNER, MappingKind.CPU, _NUMBER)


def _frame(use: FrameUse, owner: DomainId | None = None, *mappings: Mapping, **more: int) -> tuple[FrameFacts, ...]:
    return (FrameFacts(frame=_FRAME, use=use, owner=owner, mappings=mappings, pages=more.get("pages", 1)),)


PAGES: dict[str, tuple[FrameFacts, ...]] = {
    "not known": (),
    "free": _frame(FrameUse.FREE),
    "offline": _frame(FrameUse.OFFLINE),
    "ballooned out": _frame(FrameUse.BALLOONED, _OWNER),
    "the hypervisor's": _frame(FrameUse.HYPERVISOR),
    "Dom0's": _frame(FrameUse.DOMAIN, DOM0, _mapping(DOM0, MappingKind.CPU, _NUMBER)),
    "a DomU's": _frame(FrameUse.DOMAIN, _OWNER, _OWN),
    "a DomU's without a number": _frame(FrameUse.DOMAIN, _OWNER, _mapping(_OWNER, MappingKind.CPU, None)),
    "a DomU's, granted to another": _frame(
        FrameUse.DOMAIN, _OWNER, _OWN, _mapping(_MAPPER, MappingKind.GRANT, _OTHER_NUMBER)
    ),
    "a DomU's, granted to Dom0": _frame(FrameUse.DOMAIN, _OWNER, _OWN, _mapping(DOM0, MappingKind.GRANT, None)),
    "a DomU's, mapped by a device": _frame(
        FrameUse.DOMAIN, _OWNER, _OWN, _mapping(_OWNER, MappingKind.IOMMU, _NUMBER, removable=False)
    ),
    "a superpage of a DomU": _frame(FrameUse.DOMAIN, _OWNER, _OWN, pages=512),
    "shared by two": _frame(
        FrameUse.DOMAIN,
        None,
        _mapping(_OWNER, MappingKind.SHARED, _NUMBER),
        _mapping(_MAPPER, MappingKind.SHARED, _OTHER_NUMBER),
    ),
    "Dom0's, mapped by a DomU": _frame(
        FrameUse.DOMAIN, DOM0, _mapping(DOM0, MappingKind.CPU, _NUMBER), _mapping(_MAPPER, MappingKind.GRANT, None)
    ),
    "of a domain that is gone": _frame(FrameUse.DOMAIN, _GONE),
    "no memory": _frame(FrameUse.NOT_MEMORY),
    "of unknown use": _frame(FrameUse.UNKNOWN),
}

_RAN: dict[str, Running] = {
    "nobody knows": Running(cpu=CpuId(1)),
    "the hypervisor": Running(cpu=CpuId(1), context=Context.HYPERVISOR),
    "the idle loop": Running(cpu=CpuId(1), context=Context.IDLE),
    "Dom0": Running(cpu=CpuId(1), context=Context.GUEST, domain=DOM0),
    "the owner": Running(cpu=CpuId(1), context=Context.GUEST, domain=_OWNER),
    "another DomU": Running(cpu=CpuId(1), context=Context.GUEST, domain=_STRANGER),
    "a domain that is gone": Running(cpu=CpuId(1), context=Context.GUEST, domain=_GONE),
    "a guest nobody can name": Running(cpu=CpuId(1), context=Context.GUEST),
}
_DOM0 = {
    "able": Dom0State(has_handler=True),
    "hurt": Dom0State(has_handler=True, hurt=True),
    "without a handler": Dom0State(has_handler=False),
}
_DOMAINS = (
    Domain(id=DOM0, name="Domain-0", kind=DomainKind.DOM0),
    Domain(id=_OWNER, name="owner", kind=DomainKind.PV, handler=McaHandler.TRAP),
    Domain(id=_MAPPER, name="mapper", kind=DomainKind.HVM, mca_enabled=True),
    Domain(id=_STRANGER, name="stranger", kind=DomainKind.PVH),
)
_KNOWN_CASE = OpenCase(CaseId(1), frozenset({_FRAME}), frozenset({_STRANGER}), consumed=True)


def situations() -> Iterator[tuple[str, Situation, Policy]]:
    """Every page with every context and state of Dom0; and each of the other things beside the usual ones."""
    for (page, frames), (ran, running), (able, state) in product(PAGES.items(), _RAN.items(), _DOM0.items()):
        usual = Situation(now_ms=0, dom0=state, domains=_DOMAINS, frames=frames, running=running)
        words = f"page {page}, ran {ran}, Dom0 {able}"
        yield words, usual, DEFAULT
        if able == "hurt":
            continue
        yield f"{words}, no poison", replace(usual, platform=Platform(poisons=False)), DEFAULT
        yield f"{words}, policy: halt", usual, Policy(unlocated=OnUnlocated.HALT)
        if ran not in {"the owner", "another DomU"}:
            continue
        yield f"{words}, policy: drain", usual, Policy(unlocated=OnUnlocated.DRAIN)
        yield f"{words}, earlier boot", replace(usual, earlier_boot=True), DEFAULT
        yield f"{words}, known case", replace(usual, open_cases=(_KNOWN_CASE,)), DEFAULT
        for deed in (Deed.KILLED_DOMAIN, Deed.INJECTED_VMCE, Deed.NOTIFIED_GUEST, Deed.ISOLATED_FRAME):
            yield (
                f"{words}, already: {deed}",
                replace(usual, already_done=(AlreadyDone(deed, _OWNER, _FRAME),)),
                DEFAULT,
            )


def _decisions(tally: _Tally) -> None:
    findings = {name: diagnose(record) for name, record in EVIDENCE.items()}
    tally.severities |= {finding.severity for finding in findings.values()}
    for words, situation, policy in situations():
        for name, finding in findings.items():
            if finding.severity is Severity.NONE and "nobody" not in words:
                continue
            decision = deciding.decide(finding, situation, policy)
            tally.beginnings += 1
            tally.first_rows.add(decision.first.name)
            tally.rows |= {reason.row for reason in decision.reasons}
            tally.rows |= {part.position.row for part in decision.parts}
            tally.flow_states |= {part.position.state for part in decision.parts}
            for law, what in _broken_by(decision, finding, situation):
                tally.breaches.add(law, what, (f"{name}, {words}", f"first row {decision.first.name}"))


def _broken_by(decision: Decision, finding: Finding, situation: Situation) -> Iterator[tuple[Law, str]]:
    severity, impact, steps = finding.severity, decision.impact, decision.steps
    uncorrected = ErrorClass.of(severity) is ErrorClass.UNCORRECTED and not impact.left_over
    halts = any(isinstance(step, (LastWords, SaveEvidence, HaltHost)) for step in steps)
    if severity is Severity.CORRECTED and not all(isinstance(step, NotifyDom0) for step in steps):
        yield Law.L3, "a corrected error does more than tell Dom0"
    if impact.left_over and steps:
        yield Law.L4, "history does something"
    if uncorrected and (severity is Severity.FATAL or impact.worst is Certainty.UNCONFINED) and not halts:
        yield Law.L4, "what is fatal or unconfined does not halt"
    if uncorrected and not decision.parts:
        yield Law.L2, "an uncorrected error has no part"
    about = [part.subject.domain for part in decision.parts]
    if len(set(about)) < len(about):
        yield Law.L2, "two parts are about the same domain"
    if any(isinstance(step, AskDom0) for step in steps):
        yield Law.L5, "Dom0 is asked before first aid is done"
    if any(isinstance(step, SaveEvidence) for step in steps) and (
        not situation.dom0.is_able or deciding.is_dom0_hit(impact)
    ):
        yield Law.L5, "Dom0 shall save evidence while it is hurt or has no handler"
    yield from _touches(decision)
    for part in decision.parts:
        yield from _of_part(part, decision, situation, halts=halts)
    if uncorrected and not halts:
        yield from _left_out(decision, situation)


def _touches(decision: Decision) -> Iterator[tuple[Law, str]]:
    impact = decision.impact
    hit = {impact.consumer.domain, *(loser.domain for loser in impact.losers)}
    frames = {frame for frame, _ in impact.frames}
    for step in decision.steps:
        domain = getattr(step, "domain", None)
        if domain is not None and domain not in hit:
            yield Law.L6, "a domain is touched that is neither consumer nor loser"
        touched = set(step.frames) if isinstance(step, HealHost) else set[Frame]()
        if isinstance(step, (IsolateFrame, OfflineFrame)):
            touched = {step.frame}
        if not touched <= frames:
            yield Law.L6, "a frame is touched that was not lost"


def _left_out(decision: Decision, situation: Situation) -> Iterator[tuple[Law, str]]:
    """Whoever is hit and has no part; where the host halts it is part of that."""
    impact = decision.impact
    about = {part.subject.domain for part in decision.parts}
    for loser in impact.losers:
        if loser.party is Party.DOMU and loser.domain not in about:
            yield Law.L2, "a DomU that loses has no part"
        if loser.party in {Party.HYPERVISOR, Party.DOM0} and None not in about:
            yield Law.L2, "the host loses and has no part"
    consumer = impact.consumer
    lives = consumer.domain is not None and (known := situation.domain(consumer.domain)) is not None and known.lives
    if consumer.party is Party.DOMU and lives and consumer.domain not in about:
        yield Law.L2, "the consumer has no part"


_BEGINNINGS = frozenset(
    {State.NOTING, State.COUNTED, State.HEALING, State.TAKING_OUT, State.DEGRADING, State.CONTAINING, *_HALTS}
)
"""Where the enumeration of the flow begins: a part that began elsewhere would be none of those that it proves."""


def _of_part(part: Part, decision: Decision, situation: Situation, *, halts: bool) -> Iterator[tuple[Law, str]]:
    subject, position = part.subject, part.position
    preempted = position.state in ENDS and bool(situation.already_done)
    if position.state not in _BEGINNINGS and not preempted:
        yield Law.L2, f"a part begins in {position.state}, from which nothing is proven"
    consumer = decision.impact.consumer
    if halts and consumer.party is Party.DOMU and consumer.domain is not None:
        if not any(isinstance(step, PauseDomain) and step.domain == consumer.domain for step in part.steps):
            yield Law.L1, "the consumer runs while the host is brought to a halt"
        return
    if subject.domain is None or preempted:
        return
    if subject.consumed != (consumer.domain == subject.domain) or position.stopped != subject.consumed:
        yield Law.L1, "a part is not stopped though its domain consumed the error, or the other way round"
    if subject.consumed and PauseDomain(subject.domain) not in part.steps:
        yield Law.L1, "the consumer is not stopped"
    isolated = {(step.frame, step.pages) for step in part.steps if isinstance(step, IsolateFrame)}
    if isolated != set(decision.impact.frames):
        yield Law.L1, "a lost page is not taken away from the loser"
    known = {
        GuestFrame(mapping.guest_frame + number)
        for frame in situation.frames
        for mapping in frame.mappings
        if mapping.domain == subject.domain and mapping.guest_frame is not None
        for number in range(frame.pages)
    }
    if subject.numbered and set(subject.pages) != known:
        yield Law.L7, "the pages that a domain is to be told of are not those that it lost"


# --- Dom0's seat ----------------------------------------------------------------------------------------------------

_HOSTS = (
    Situation(now_ms=0, dom0=Dom0State(has_handler=True), domains=_DOMAINS),
    Situation(
        now_ms=0,
        dom0=Dom0State(has_handler=True),
        domains=_DOMAINS,
        platform=Platform(migration_pages_per_s=250_000, disk_pages_per_s=125_000),
        destination=Destination(name="other", free_pages=1 << 30),
        free_pages=1 << 20,
    ),
)
_GUEST = Domain(
    id=_OWNER, name="owner", kind=DomainKind.HVM, memory_pages=1 << 18,
    checkpoint=Checkpoint(taken_ms=0, disks_of_same_moment=True),
)  # fmt: skip


def _answers(tally: _Tally) -> None:
    domains = (None, _GUEST, replace(_GUEST, kind=DomainKind.PV), replace(_GUEST, checkpoint=None), *(
        replace(_GUEST, state=state) for state in DomainState if state is not DomainState.RUNNING
    ))  # fmt: skip
    verdicts = ((), *((PluginVerdict("p", says, "because"),) for says in (*Answer, "nonsense")))
    for domain, host, wanted, severity, only, verdict, dry_run, busy in product(
        domains, _HOSTS, Answer, (Severity.SRAR, Severity.SRAO), (False, True), verdicts, (False, True), (0, 2)
    ):
        policy = Policy(dry_run=dry_run, otherwise=DomainRule(on_ue=wanted, on_srar=wanted))
        situation = replace(host, verdicts=verdict, operations_running=busy)
        reply = dom0.answer(domain, situation, policy, severity=severity, lost_pages=1, only_operate=only)
        tally.beginnings += 1
        tally.rows |= {reason.row for reason in reply.reasons}
        operates = reply.says in {Answer.OPERATE, Answer.BOTH}
        gone = domain is None or not domain.lives
        allowed = policy.otherwise.operations
        laws = {
            (Law.L8, "Dom0 operates on a domain that is gone, or in a dry run"): (gone or dry_run) and operates,
            (Law.L8, "an operation is chosen that cannot be done or is not allowed"): any(
                not each.feasible or each.operation not in allowed for each in reply.operations
            ),
            (Law.L2, "Dom0 will operate and has no operation, or has one and will not"): (
                operates != bool(reply.operations)
            ),
            (Law.L2, "only an operation is left, and Dom0 says to notify"): only and reply.says is Answer.NOTIFY,
            (Law.L2, "Dom0 answers without a reason"): not reply.reasons,
        }
        for (law, what), broken in laws.items():
            if broken:
                tally.breaches.add(law, what, (str(domain), str(policy.otherwise), str(reply.says)))


_OF_TRENDS = (OfflineFrame, ExchangeFrame, OfflineCpu, DrainHost, DegradeHost)
"""The steps that acting ahead may take on the machine (II.3); what it does to domains are campaigns (II.2)."""


def _aheads(tally: _Tally) -> None:
    for suspect, count, page, on_page, on_rank, host, offlined, dry_run in product(
        Suspect, (1, 20), PAGES.items(), OnPageTrend, OnRankTrend, _HOSTS, (0, 64), (False, True)
    ):
        trend = Trend(
            suspect=suspect, name="suspect", count=count, distinct_syndromes=count, window_ms=3_600_000,
            expected_ue_ms=3_600_000, frames=(_FRAME,), cpu=CpuId(1), offlined=offlined,
        )  # fmt: skip
        policy = Policy(dry_run=dry_run, trends=Trends(on_page=on_page, on_rank=on_rank))
        domains = (_DOMAINS[0], _GUEST)
        plan = dom0.ahead(trend, replace(host, frames=page[1], domains=domains), policy)
        tally.beginnings += 1
        tally.rows |= {reason.row for reason in plan.reasons}
        acts = bool(plan.steps or plan.campaigns or plan.renewals)
        laws = {
            (Law.L3, "a few corrected errors do something"): acts and count == 1,
            (Law.L3, "something is done ahead without a reason being given"): acts and not _announced(plan.reasons),
            (Law.L3, "a corrected error stops or changes a domain by no operation of case II"): any(
                not isinstance(step, _OF_TRENDS) for step in plan.steps
            ),
            (Law.L6, "a frame is touched that the trend does not name"): _strays(plan.steps),
            (Law.L8, "a dry run does something"): acts and dry_run,
            (Law.L6, "Dom0 is to be operated on"): any(
                each.domain == DOM0 for each in (*plan.campaigns, *plan.renewals)
            ),
            (Law.L3, "a guest is operated on for a page, and the policy does not say so"): (
                bool(plan.renewals) and on_page is not OnPageTrend.OPERATE
            ),
        }
        for (law, what), broken in laws.items():
            if broken:
                tally.breaches.add(law, what, (str(trend), page[0], str(policy.trends)))


def _announced(reasons: tuple[Because, ...]) -> bool:
    return any(reason.row in {Row.AHEAD, Row.DISTINCT_SYNDROMES} for reason in reasons)


def _strays(steps: tuple[Step, ...]) -> bool:
    return any(isinstance(step, (OfflineFrame, ExchangeFrame)) and step.frame != _FRAME for step in steps)
