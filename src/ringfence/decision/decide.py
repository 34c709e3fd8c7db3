"""What to do about one error: from finding, situation and policy to the parts of a case and their reasons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ringfence.decision.flow import Facts, Position, State, halting
from ringfence.decision.orders import Subject, on_entering
from ringfence.decision.policy import OnUnlocated, Policy
from ringfence.decision.rows import Because, Row
from ringfence.diagnosis.containment import contain
from ringfence.diagnosis.containment_facts import is_past
from ringfence.diagnosis.finding import Finding
from ringfence.diagnosis.impact import Certainty, Impact, Party
from ringfence.diagnosis.severity import Severity
from ringfence.quick import changed
from ringfence.world.domain import DomainKind, McaHandler
from ringfence.world.identities import DOM0, DomainId
from ringfence.world.situation import Deed, Situation
from ringfence.world.steps import DegradeHost, PauseDomain, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """All that the choice of the first row depends on: few choices each, so that the product is enumerated.

    ``worst`` is the certainty of the impact's part that is known worst. ``host``: the hypervisor or Dom0 is consumer or
    loser. ``domus``: at least one DomU is. ``frames``: at least one frame is named. ``halt_unlocated``: the policy.
    """

    severity: Severity
    left_over: bool
    worst: Certainty
    host: bool
    domus: bool
    frames: bool
    halt_unlocated: bool


@dataclass(frozen=True, slots=True)
class FirstRow:
    """A row that a case may begin with: the state of the host's part (None: it has none), and whom it treats."""

    name: str
    row: Row
    state: State | None
    because: str
    applies: Callable[[Hit], bool]
    treats_domus: bool = False


FIRST_ROWS: tuple[FirstRow, ...] = (
    FirstRow(
        "left-over", Row.LAST_WORDS, None, "evidence of an earlier boot is history: nobody is hit by it now",
        lambda hit: hit.left_over,
    ),
    FirstRow("no-error", Row.CLASSIFY, None, "it is no hardware error", lambda hit: hit.severity is Severity.NONE),
    FirstRow(
        "corrected", Row.COUNT, State.NOTING, "the hardware corrected it: it is counted",
        lambda hit: hit.severity is Severity.CORRECTED,
    ),
    FirstRow(
        "fatal", Row.HALT, State.SPEAKING, "the error is FATAL: the rule is to halt",
        lambda hit: hit.severity is Severity.FATAL,
    ),
    FirstRow(
        "unconfined", Row.HALT, State.SPEAKING, "what was consumed cannot be bounded: the rule is to halt",
        lambda hit: hit.worst is Certainty.UNCONFINED,
    ),
    FirstRow(
        "unlocated-halt", Row.HALT, State.SPEAKING, "its page cannot be named, and the policy wants a halt then",
        lambda hit: hit.worst is Certainty.UNLOCATED and hit.halt_unlocated,
    ),
    FirstRow(
        "host", Row.SELF_HEAL, State.HEALING, "the hypervisor or Dom0 is hit: the host heals itself or panics",
        lambda hit: hit.host, treats_domus=True,
    ),
    FirstRow(
        "unlocated", Row.UNLOCATED, State.DEGRADING,
        "not every page can be named: nobody else is stopped, nothing new starts",
        lambda hit: hit.worst is Certainty.UNLOCATED, treats_domus=True,
    ),
    FirstRow(
        "domus", Row.ASK_DOM0, None, "a DomU is hit", lambda hit: hit.domus, treats_domus=True,
    ),
    FirstRow("nobody", Row.NOBODY, State.TAKING_OUT, "nobody loses: the page is taken out", lambda hit: hit.frames),
    FirstRow(
        "nothing-named", Row.UNLOCATED, State.DEGRADING, "neither a loser nor a page is named: nothing new starts",
        lambda _: True,
    ),
)  # fmt: skip
"""In order; the first that applies is taken. Total: the last one always applies."""


def first_row(hit: Hit) -> FirstRow:
    """The row that a case begins with."""
    return next(rule for rule in FIRST_ROWS if rule.applies(hit))


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a case: where it begins, and what is done at once. ``facts`` is None for the host's part."""

    subject: Subject
    position: Position
    steps: tuple[Step, ...]
    facts: Facts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is to be done about one error, and why. ``parts`` is empty where nothing is to be done."""

    impact: Impact
    first: FirstRow
    parts: tuple[Part, ...]
    reasons: tuple[Because, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """All that is to be done at once, in order, each once."""
        return tuple(dict.fromkeys(step for part in self.parts for step in part.steps))


def decide(finding: Finding, situation: Situation, policy: Policy) -> Decision:
    """What to do about an error, with the reasons; pure and total. What comes after is ``flow.advance``'s."""
    return decide_on(contain(finding, situation), finding, situation, policy)


def on_corrected(finding: Finding, situation: Situation, policy: Policy) -> tuple[Step, ...]:
    """The steps of ``decide`` for a corrected error. It stops and changes nobody (L3): whom it lies with decides
    nothing, and is not looked at, for there may be thousands of them a second.
    """
    first = _CORRECTED
    if first.state is None or is_past(finding, situation):
        return ()
    position = Position(state=first.state, row=first.row)
    if not situation.dom0.is_able:
        position = changed(position, state=State.COUNTED)
    return on_entering(position, Subject(domain=None), situation, policy)


_CORRECTED = next(rule for rule in FIRST_ROWS if rule.name == "corrected")


def decide_on(impact: Impact, finding: Finding, situation: Situation, policy: Policy) -> Decision:
    """As ``decide``, where the impact is known already: what its case has done by now may hide whom it hit."""
    hit = hit_of(finding.severity, impact, policy)
    first = first_row(hit)
    dom0_hit = is_dom0_hit(impact)
    reasons = [
        Because(Row.CLASSIFY, finding.reasons[0].because, finding.reasons[0].rule),
        *_poisoning(finding.severity, situation),
        *(Because(Row.IMPACT, ground.because, ground.rule) for ground in impact.grounds),
        Because(first.row, first.because, first.name),
    ]
    parts: list[Part] = []
    if first.state is State.HEALING and _is_dom0s_own(impact, situation):
        reasons.append(Because(first.row, "preempted: the hypervisor told Dom0's kernel by itself", "already done"))
    if first.state is not None:
        parts.append(_host_part(first, impact, situation, policy, dom0_hit))
    if first.treats_domus:
        domus = _domus(impact)
        if len(domus) > 1:
            reasons.append(Because(Row.MANY, f"{len(domus)} DomUs are hit: each goes by its own row"))
        for domain in domus:
            part, because = _domu_part(domain, impact, situation, policy, dom0_hit)
            parts.append(part)
            reasons += because
    return Decision(impact=impact, first=first, parts=tuple(parts), reasons=tuple(dict.fromkeys(reasons)))


def hit_of(severity: Severity, impact: Impact, policy: Policy) -> Hit:
    """What the first row depends on."""
    parties = {impact.consumer.party, *(loser.party for loser in impact.losers)}
    return Hit(
        severity=severity,
        left_over=impact.left_over,
        worst=impact.worst,
        host=bool(parties & {Party.HYPERVISOR, Party.DOM0}),
        domus=Party.DOMU in parties,
        frames=bool(impact.frames),
        halt_unlocated=policy.unlocated is OnUnlocated.HALT,
    )


def is_dom0_hit(impact: Impact) -> bool:
    """Whether Dom0 is consumer or loser: it is hurt then until a verified probe (B.3)."""
    return Party.DOM0 in {impact.consumer.party, *(loser.party for loser in impact.losers)}


def facts_of(subject: Subject, situation: Situation, policy: Policy) -> Facts:
    """What the flow of a DomU's part depends on, as things stand now."""
    domain = situation.domain(subject.domain) if subject.domain is not None else None
    rule = policy.rule_for(domain) if domain is not None else policy.otherwise
    return Facts(
        kind=domain.kind if domain is not None else DomainKind.HVM,
        handler=domain.handler if domain is not None else McaHandler.NONE,
        mca_enabled=domain is not None and domain.mca_enabled,
        consumed=subject.consumed,
        dom0_able=situation.dom0.is_able and not subject.dom0,
        vmce=rule.vmce and len(subject.pages) <= policy.budgets.vmces_per_error,
        numbered=subject.numbered,
    )


def _host_part(first: FirstRow, impact: Impact, situation: Situation, policy: Policy, dom0_hit: bool) -> Part:
    subject = Subject(domain=None, frames=impact.frames, cpu=impact.cpu, dom0=dom0_hit)
    position = Position(state=first.state or State.NOTING, row=first.row)
    if first.row is Row.HALT:
        position = halting(position, dom0_able=situation.dom0.is_able and not dom0_hit)
    elif position.state is State.NOTING and not situation.dom0.is_able:
        position = changed(position, state=State.COUNTED)
    elif position.state is State.HEALING and _is_dom0s_own(impact, situation):
        position = changed(position, state=State.HEALED)
    steps = on_entering(position, subject, situation, policy)
    if first.state is State.HEALING and impact.worst is Certainty.UNLOCATED:
        steps = (*steps, DegradeHost())
    if first.row is Row.HALT and impact.consumer.party is Party.DOMU and impact.consumer.domain is not None:
        # It must not run while evidence is saved (L1); the others are stopped by the halt itself (L6).
        steps = (PauseDomain(impact.consumer.domain), *steps)
    return Part(subject=subject, position=position, steps=steps, facts=None)


def _is_dom0s_own(impact: Impact, situation: Situation) -> bool:
    """Whether the hypervisor has handed the error to Dom0's own kernel, which gives the page up or panics.

    Xen does so with Dom0's pages (mcaction.c, mc_memerr_dhandler). That Dom0 runs Ringfence now shows that it lived.
    """
    told = any(done.deed is Deed.INJECTED_VMCE and done.domain == DOM0 for done in situation.already_done)
    return told and Party.HYPERVISOR not in {impact.consumer.party, *(loser.party for loser in impact.losers)}


def _domus(impact: Impact) -> tuple[DomainId, ...]:
    """The DomUs that are hit, the consumer first, each once."""
    hit = [impact.consumer.domain] if impact.consumer.party is Party.DOMU else []
    hit += [loser.domain for loser in impact.losers if loser.party is Party.DOMU]
    return tuple(dict.fromkeys(domain for domain in hit if domain is not None and domain != DOM0))


_PREEMPTED: dict[Deed, State] = {
    Deed.KILLED_DOMAIN: State.KILLED,
    Deed.INJECTED_VMCE: State.INJECTED,
    Deed.NOTIFIED_GUEST: State.GUEST_HEALED,
}
"""Where a DomU's part stands already when the hypervisor acted alone."""

_BY_ITSELF: dict[Deed, tuple[str, str]] = {
    Deed.KILLED_DOMAIN: ("killed the domain {}", "to bring {} back, if the policy has it restored or restarted"),
    Deed.INJECTED_VMCE: ("injected a vMCE into {}", "nothing, as long as {} lives: it was told of its page"),
    Deed.NOTIFIED_GUEST: ("told {}", "nothing, as long as {} lives: it was told of its page"),
}
"""What the hypervisor did to a domain, and what is left to do of the row that it took away, in words."""


def _domu_part(
    domain: DomainId, impact: Impact, situation: Situation, policy: Policy, dom0_hit: bool
) -> tuple[Part, tuple[Because, ...]]:
    losses = [loser for loser in impact.losers if loser.domain == domain]
    pages = tuple(dict.fromkeys(page for loser in losses for page in loser.pages))
    consumed = impact.consumer.party is Party.DOMU and impact.consumer.domain == domain
    known = situation.domain(domain)
    subject = Subject(
        domain=domain,
        pages=pages,
        numbered=bool(pages) and not any(loser.unnumbered for loser in losses),
        frames=impact.frames,
        cpu=impact.cpu,
        consumed=consumed,
        dom0=dom0_hit,
        out_already=frozenset(facts.frame for facts in situation.frames if facts.broken),
        incarnation=known.incarnation if known is not None else 0,
    )
    facts = facts_of(subject, situation, policy)
    position = Position(state=State.CONTAINING, row=Row.ASK_DOM0 if facts.dom0_able else Row.ALONE, stopped=consumed)
    name = _name(domain, situation)
    reasons = [_asked_or_alone(name, facts), *_ways(name, facts)]
    done = next((deed for deed in situation.already_done if deed.domain == domain and deed.deed in _PREEMPTED), None)
    if done is not None:
        position = changed(position, state=_PREEMPTED[done.deed], stopped=False)
        deed, remains = _BY_ITSELF[done.deed]
        reasons += (
            Because(position.row, f"preempted: the hypervisor {deed.format(name)} by itself", "already done"),
            Because(Row.ON_DOMAIN, f"what remains: {remains.format(name)}", "already done"),
        )
    steps = on_entering(position, subject, situation, policy)
    return Part(subject=subject, position=position, steps=steps, facts=facts), tuple(reasons)


def _poisoning(severity: Severity, situation: Situation) -> tuple[Because, ...]:
    """Whether the platform marks bad data, which every confinement of an uncorrected error rests on (B.7)."""
    platform = situation.platform
    if severity in {Severity.NONE, Severity.CORRECTED} or platform.poisons is None:
        return ()
    marks = "marks bad data until it is consumed" if platform.poisons else "does not mark bad data"
    return (Because(Row.POISONING, f"the platform {marks}: {platform.poisons_because}", "platform"),)


def _name(domain: DomainId, situation: Situation) -> str:
    known = situation.domain(domain)
    return known.name if known is not None else f"domain {domain}"


def _ways(name: str, facts: Facts) -> tuple[Because, ...]:
    """Which ways there are to tell a domain, and why the others are none (B.4, B.5)."""
    found: list[Because] = []
    match facts.handler:
        case McaHandler.NONE:
            found.append(Because(Row.PV_MEANS_HANDLER, f"{name} has registered no PV MCA handler"))
        case McaHandler.AGENT if facts.consumed:
            text = f"{name} has an agent only, which cannot run: it consumed the error and is stopped"
            found.append(Because(Row.PV_MEANS_HANDLER, text))
        case _:
            text = f"{name} has registered a PV MCA handler ({facts.handler})"
            found.append(Because(Row.PV_MEANS_HANDLER, text))
    if not facts.is_pv:
        if not facts.mca_enabled:
            text = f"no vMCE into {name}: it did not enable MCA"
        elif facts.vmce:
            text = f"a vMCE may be injected into {name}: it enabled MCA, and the policy allows it"
        else:
            text = f"no vMCE into {name}: it enabled MCA, but the policy or the number of lost pages forbids it"
        found.append(Because(Row.INJECTION, text, "policy: vmce"))
    if not facts.numbered:
        text = f"not every lost page has a number of {name}'s own: it cannot be told"
        found.append(Because(Row.IMPACT, text, "L7"))
    return tuple(found)


def _asked_or_alone(name: str, facts: Facts) -> Because:
    if facts.dom0_able:
        return Because(Row.ASK_DOM0, f"{name} is hit, and Dom0 has a handler and is unhurt")
    return Because(Row.ALONE, f"{name} is hit, and Dom0 cannot be asked (no handler, or hurt)")
