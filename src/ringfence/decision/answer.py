"""Dom0's seat: what it answers when it is asked (I.2c-dom0), and what it does ahead of an error (II.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ringfence.decision.feasibility import Costed, loss_of_waiting, plan, sum_of_waiting
from ringfence.decision.policy import Answer, OnPageTrend, OnRankTrend, Operation, Policy
from ringfence.decision.rows import Because, Row
from ringfence.diagnosis.severity import Severity
from ringfence.world.domain import Domain, McaHandler
from ringfence.world.frames import FrameFacts, FrameUse
from ringfence.world.identities import DOM0, DomainId
from ringfence.world.situation import Situation, Suspect, Trend
from ringfence.world.steps import DrainHost, ExchangeFrame, NotifyGuest, OfflineCpu, OfflineFrame, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Dom0's answer for one domain. ``operations`` are to be tried in this order if it says so; all are feasible."""

    says: Answer
    operations: tuple[Costed, ...] = ()
    reasons: tuple[Because, ...] = ()


def answer(  # noqa: PLR0913 (one argument a fact, and the last three are named)
    domain: Domain | None,
    situation: Situation,
    policy: Policy,
    *,
    severity: Severity,
    lost_pages: int,
    only_operate: bool,
) -> Reply:
    """What Dom0 answers for a domain that is hit.

    ``only_operate``: the domain cannot be told (I.3a-dom0, I.3b-dom0), an operation is all that is left; the reply is
    OPERATE or LEAVE then. A plug-in's verdict, if it is one of the answers, takes the place of the policy's.
    """
    if domain is None or not domain.lives:
        return Reply(says=Answer.LEAVE, reasons=(Because(Row.CHECKED, "the domain does not exist any more"),))
    if policy.dry_run:
        return Reply(says=Answer.LEAVE, reasons=(Because(Row.ASK_DOM0, "dry run: the row without Dom0 applies"),))
    wanted, because = _wanted(domain, situation, policy, severity)
    if only_operate:
        wanted = Answer.OPERATE
        because = Because(
            Row.PV_DOM0 if domain.kind == "PV" else Row.HVM_DOM0, "it cannot be told: an operation is all that is left"
        )
    if wanted not in {Answer.OPERATE, Answer.BOTH}:
        return Reply(says=wanted, reasons=(because,))
    otherwise = Answer.LEAVE if only_operate else Answer.NOTIFY
    # Whoever must wait for other operations waits within the time that the hypervisor gives to an operation.
    costed = plan(
        domain,
        policy.rule_for(domain).operations,
        situation,
        poisoned_pages=lost_pages,
        expected_ue_ms=_expected_ue_ms(situation),
        policy=policy,
    )
    feasible = tuple(each for each in costed if each.feasible)
    refused = tuple(
        Because(Row.FEASIBILITY, f"{each.operation}: {each.why_not}") for each in costed if not each.feasible
    )
    if not feasible:
        nothing = Because(Row.FEASIBILITY, "no operation that the policy allows can be done")
        return Reply(says=otherwise, reasons=(because, nothing, *refused))
    best = feasible[0]
    chosen = Because(
        Row.FEASIBILITY, f"{best.operation} has the least expected loss, {best.expected_loss:.2f} of an ordinary domain"
    )
    return Reply(says=wanted, operations=feasible, reasons=(because, chosen, *refused))


BRINGS_BACK: Final = (Operation.RESTORE, Operation.RESTART)
"""What makes a domain run again that has ended."""


def revival(domain: Domain, situation: Situation, policy: Policy, *, severity: Severity) -> Reply:
    """What Dom0 does for a domain that the hypervisor has crashed before anybody was asked: the row that would have
    asked is preempted, and of what Dom0 could have done only bringing it back is left (II.2).

    LEAVE where the policy says so, and where nothing can bring it back.
    """
    wanted, because = _wanted(domain, situation, policy, severity)
    if wanted is Answer.LEAVE:
        return Reply(says=wanted, reasons=(because,))
    allowed = tuple(each for each in policy.rule_for(domain).operations if each in BRINGS_BACK)
    costed = plan(domain, allowed, situation, poisoned_pages=0, expected_ue_ms=None, policy=policy)
    feasible = tuple(each for each in costed if each.feasible)
    gone = Because(Row.ON_DOMAIN, f"{domain.name} was crashed by the hypervisor: what is left is to bring it back")
    refused = tuple(
        Because(Row.FEASIBILITY, f"{each.operation}: {each.why_not}") for each in costed if not each.feasible
    )
    return Reply(says=Answer.OPERATE if feasible else Answer.LEAVE, operations=feasible, reasons=(gone, *refused))


def _wanted(domain: Domain, situation: Situation, policy: Policy, severity: Severity) -> tuple[Answer, Because]:
    for verdict in situation.verdicts:
        if verdict.domain in {None, domain.id} and verdict.answer in list(Answer):
            return Answer(verdict.answer), Because(
                Row.ASK_DOM0, f"the plug-in {verdict.plugin} says {verdict.answer}: {verdict.because}", verdict.plugin
            )
    rule = policy.rule_for(domain)
    consumed = severity is Severity.SRAR
    wanted = rule.on_srar if consumed else rule.on_ue
    key = "on_srar" if consumed else "on_ue"
    return wanted, Because(Row.ASK_DOM0, f"the policy says {wanted} for {domain.name}", f"policy: {key}")


def _expected_ue_ms(situation: Situation) -> int | None:
    """The soonest uncorrected error that any trend lets one expect."""
    return min((trend.expected_ue_ms for trend in situation.trends if trend.expected_ue_ms is not None), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """The operations to be tried on one domain, in this order, until one is done."""

    domain: DomainId
    operations: tuple[Costed, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """What Dom0 does ahead of an error that is expected (II.1): steps on the machine, and campaigns on domains."""

    steps: tuple[Step, ...] = ()
    campaigns: tuple[Campaign, ...] = ()
    renewals: tuple[Campaign, ...] = ()
    """Only if a page waits for its owner to let go of it after the steps: then the owner is made to."""
    unexchanged: tuple[NotifyGuest, ...] = ()
    """Said only if a page cannot be exchanged."""
    reasons: tuple[Because, ...] = ()
    sums: tuple[str, ...] = ()
    """B.6's sums of every domain, what it costs to wait among them: of those, too, that stay."""


def ahead(trend: Trend, situation: Situation, policy: Policy) -> Ahead:
    """What to do about a trend, if it has passed its threshold; pure. ``situation.frames`` are the trend's frames."""
    match trend.suspect:
        case Suspect.PAGE:
            return _ahead_of_page(trend, situation, policy)
        case Suspect.RANK:
            return _ahead_of_rank(trend, situation, policy)
        case Suspect.CORE:
            return _ahead_of_core(trend, policy)
        case _:
            # Raw counts of a wider part predict little (B.8): they are told, and the person who reads them decides.
            return Ahead()


def informs(policy: Policy) -> bool:
    """Whether a policy has anybody told of corrected errors at all."""
    return not policy.dry_run and any(rule.inform_of_ce for rule in (*policy.domains, policy.otherwise))


def inform(situation: Situation, policy: Policy) -> tuple[NotifyGuest, ...]:
    """Whom to tell of a corrected error, "for purely notification purposes" (I.3a-inform): nobody need act, and nothing
    is changed for anybody (L3). ``situation.frames`` are the pages that it names.
    """
    told: list[NotifyGuest] = []
    for facts in situation.frames if not policy.dry_run else ():
        domain = situation.domain(facts.owner) if facts.owner is not None else None
        if domain is not None and policy.rule_for(domain).inform_of_ce:
            told += _warning(facts, situation)
    return tuple(told)


def _warning(facts: FrameFacts, situation: Situation) -> tuple[NotifyGuest, ...]:
    """The word to the guest that has an endangered page, if it has a handler, in its own number for it."""
    domain = situation.domain(facts.owner) if facts.owner is not None else None
    mapped = (mapping.guest_frame for mapping in facts.mappings if mapping.domain == facts.owner)
    page = next((number for number in (facts.guest_frame, *mapped) if number is not None), None)
    if domain is None or domain.is_dom0 or not domain.lives or domain.handler is McaHandler.NONE or page is None:
        return ()
    return (NotifyGuest(domain.id, (page,), must_act=False, endangered=True),)


def _ahead_of_page(trend: Trend, situation: Situation, policy: Policy) -> Ahead:
    wanted = policy.trends
    if trend.count < wanted.page_count or wanted.on_page is OnPageTrend.NONE:
        return Ahead()
    seen = Because(
        Row.AHEAD, f"{trend.count} corrected errors of {trend.name} within {trend.window_ms // 3_600_000} h", "trends"
    )
    if situation.pages_left_to:
        others = f"the page is left to {situation.pages_left_to}, as the configuration says"
        return Ahead(reasons=(seen, Because(Row.AHEAD, others, "configuration: sources.page-isolation")))
    if trend.offlined >= policy.budgets.pages_per_dimm:
        spent = f"{trend.offlined} pages of this DIMM are out of use already: the budget is spent, replace it"
        return Ahead(reasons=(seen, Because(Row.AHEAD, spent, "policy: budgets.pages_per_dimm")))
    if policy.dry_run:
        return Ahead(reasons=(seen, Because(Row.AHEAD, "dry run: nothing is ordered")))
    steps = tuple(step for facts in situation.frames for step in _take_out(facts, wanted.on_page, situation))
    left = tuple(
        Because(Row.AHEAD, f"a page in use by {facts.use} stays: it cannot be taken out while it is good")
        for facts in situation.frames
        if not _take_out(facts, wanted.on_page, situation)
    )
    exchanged = {step.frame for step in steps if isinstance(step, ExchangeFrame)}
    told = tuple(
        step for facts in situation.frames if facts.frame not in exchanged for step in _warning(facts, situation)
    )
    unexchanged = tuple(
        step for facts in situation.frames if facts.frame in exchanged for step in _warning(facts, situation)
    )
    heard = tuple(
        Because(Row.INFORM, f"domain {step.domain} has a handler: it can let go of the page while it is good")
        for step in told
    )
    renewals, why = _renewals(situation, policy) if wanted.on_page is OnPageTrend.OPERATE else ((), ())
    reasons = (seen, *heard, *left, *why)
    return Ahead(steps=(*told, *steps), renewals=renewals, unexchanged=unexchanged, reasons=reasons)


def _renewals(situation: Situation, policy: Policy) -> tuple[tuple[Campaign, ...], tuple[Because, ...]]:
    """How the guests that have these pages let go of them: by the operations that their rules allow ahead."""
    found: list[Campaign] = []
    reasons: list[Because] = []
    for number in dict.fromkeys(facts.owner for facts in situation.frames if facts.use is FrameUse.DOMAIN):
        domain = situation.domain(number) if number is not None else None
        if domain is None or domain.is_dom0 or not domain.lives:
            continue
        costed = plan(
            domain, policy.rule_for(domain).ahead, situation, poisoned_pages=0, expected_ue_ms=None, policy=policy
        )
        feasible = tuple(each for each in costed if each.feasible)
        if feasible:
            found.append(Campaign(domain=domain.id, operations=feasible))
            text = f"{domain.name} is made to let go of the page, if it waits for that: {feasible[0].operation}"
        else:
            text = f"{domain.name} keeps the page until it lets go of it: nothing that its rule allows can be done"
        reasons.append(Because(Row.AHEAD, text, "policy: trends.on_page"))
    return tuple(found), tuple(reasons)


def _take_out(facts: FrameFacts, wanted: OnPageTrend, situation: Situation) -> tuple[Step, ...]:
    """How a page that is still good leaves use: copied away from a DomU, or at once if nobody has it."""
    match facts.use:
        case FrameUse.FREE | FrameUse.BALLOONED:
            return (OfflineFrame(facts.frame, facts.pages),)
        case FrameUse.DOMAIN if facts.owner is not None and facts.owner != DOM0:
            if wanted is OnPageTrend.EXCHANGE and situation.free_pages > 0:
                return (ExchangeFrame(facts.owner, facts.frame),)
            # Pending until its owner lets go of it: nothing stops or changes for the domain (L3).
            return (OfflineFrame(facts.frame, facts.pages),)
        case _:
            return ()


def _ahead_of_rank(trend: Trend, situation: Situation, policy: Policy) -> Ahead:
    wanted = policy.trends
    if trend.distinct_syndromes < wanted.rank_syndromes or wanted.on_rank is OnRankTrend.NONE:
        return Ahead()
    seen = Because(
        Row.DISTINCT_SYNDROMES,
        f"{trend.distinct_syndromes} distinct syndromes of {trend.name} within {trend.window_ms // 3_600_000} h "
        f"({trend.count} corrected errors in all)",
        "msg01049",
    )
    if policy.dry_run:
        return Ahead(reasons=(seen, Because(Row.AHEAD, "dry run: nothing is ordered")))
    if wanted.on_rank is OnRankTrend.DRAIN:
        return Ahead(steps=(DrainHost(),), reasons=(seen, Because(Row.ON_MACHINE, "the policy wants the host drained")))
    campaigns: list[Campaign] = []
    sums: list[str] = []
    reasons = [seen, Because(Row.AHEAD, "an uncorrected error is to be expected: Dom0 acts ahead of it")]
    for domain in situation.domains:
        if domain.is_dom0 or not domain.lives:
            continue
        costed = plan(
            domain, policy.rule_for(domain).ahead, situation, poisoned_pages=0, expected_ue_ms=trend.expected_ue_ms,
            policy=policy,
        )  # fmt: skip
        waiting = loss_of_waiting(domain, trend.expected_ue_ms, policy)
        worth_it = tuple(each for each in costed if each.feasible and each.expected_loss < waiting)
        if worth_it:
            campaigns.append(Campaign(domain=domain.id, operations=worth_it))
            best = worth_it[0]
            text = f"{domain.name}: {best.operation}, expected loss {best.expected_loss:.2f}; waiting: {waiting:.2f}"
        elif any(each.feasible for each in costed):
            text = f"{domain.name} stays: every operation costs more than waiting ({waiting:.2f})"
        else:
            text = f"{domain.name} stays: nothing that the policy allows can be done ahead"
        reasons.append(Because(Row.FEASIBILITY, text))
        sums.append(f"{domain.name}: waiting: {sum_of_waiting(domain, trend.expected_ue_ms, policy)}")
        sums += (f"{domain.name}: {each.operation}: {line}" for each in costed for line in each.sum)
    return Ahead(campaigns=tuple(campaigns), reasons=tuple(reasons), sums=tuple(sums))


def _ahead_of_core(trend: Trend, policy: Policy) -> Ahead:
    if trend.count < policy.trends.core_count or trend.cpu is None or trend.cpu == 0:
        return Ahead()
    seen = Because(Row.AHEAD, f"{trend.count} corrected errors of {trend.name}")
    if policy.dry_run:
        return Ahead(reasons=(seen, Because(Row.AHEAD, "dry run: nothing is ordered")))
    return Ahead(steps=(OfflineCpu(trend.cpu),), reasons=(seen, Because(Row.ON_MACHINE, "the CPU is taken out of use")))
