"""Acts ahead of an uncorrected error (II.1): on trends of corrected ones, after a reboot on what is known to be bad."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ringfence.decision.answer import Ahead, ahead
from ringfence.decision.flow import State
from ringfence.decision.policy import Policy
from ringfence.decision.rows import Row
from ringfence.diagnosis.badlist import BadList, steps_at_start
from ringfence.journal import events as ev
from ringfence.journal.faults import Key
from ringfence.record.evidence import Record
from ringfence.service import seen, written
from ringfence.service.campaigning import Campaigning, part_begun, part_ended
from ringfence.service.ledger import Ledger
from ringfence.world.identities import CaseId
from ringfence.world.situation import Suspect
from ringfence.world.steps import ExchangeFrame, NotifyGuest, OfflineCpu, OfflineFrame, Result, Status, Step


class ActingAhead:
    """The cases of Dom0's own in one life of this process. ``pages_left_to``: as ``Situation.pages_left_to``."""

    def __init__(self, ledger: Ledger, campaigning: Campaigning, policy: Policy, pages_left_to: str = "") -> None:
        self._ledger, self._campaigning, self._pages_left_to = ledger, campaigning, pages_left_to
        self.reload(policy)

    def reload(self, policy: Policy) -> None:
        """What is seen from now on goes by this policy."""
        self._policy, self._rules = policy, seen.rules_of(policy.trends)

    def counted(self, event: ev.Received, only: Collection[Suspect] = seen.EVERY_KIND) -> None:
        """A corrected error was written down: act on the parts (of the kinds ``only``) that passed their threshold by
        it.
        """
        for found in seen.trends_of(event, self._ledger.state, self._rules, only):
            self._act(found, event.record, event.dimm)

    def counted_together(self, key: Key, record: Record, where: seen.Where) -> bool:
        """Errors that came together were written down: act on one of the parts that they count for, if it passed its
        threshold; whether it did. ``record`` is one of them.
        """
        found = seen.trend_of(key, where, self._ledger.state, self._rules)
        if found is not None:
            self._act(found, record, where.dimm)
        return found is not None

    def _act(self, found: seen.Found, record: Record, dimm: str | None) -> None:
        found = replace(found, trend=seen.expecting(found.trend, self._policy.trends))
        situation = replace(
            self._campaigning.situation(record), trends=(found.trend,), pages_left_to=self._pages_left_to
        )
        plan = ahead(found.trend, situation, self._policy)
        if plan.reasons:
            self._begin(found, plan, dimm)
        else:
            self._ledger.write(seen.trend_seen(found, self._ledger.now_ms, None))

    def _begin(self, found: seen.Found, plan: Ahead, dimm: str | None) -> None:
        now_ms, case = self._ledger.now_ms, self._ledger.own_case()
        self._ledger.write(
            seen.trend_seen(found, now_ms, case),
            written.decided(now_ms, case, None, Row.AHEAD, plan.reasons, costed=plan.sums),
            # Announced before any of them can end, so that the case is not closed too early.
            *(part_begun(now_ms, case, campaign.domain) for campaign in plan.campaigns),
            *((part_begun(now_ms, case, None),) if plan.steps else ()),
        )
        waits = False
        for step in plan.steps:
            row = Row.INFORM if isinstance(step, NotifyGuest) else Row.ON_MACHINE
            _, result = self._ledger.execute(case, step, row, dimm)
            waits |= isinstance(step, OfflineFrame) and result.status is Status.PENDING
            self._instead(case, step, result, plan.unexchanged)
        renewals = plan.renewals if waits else ()
        for campaign in renewals:
            # Who was told of in so many words comes back once it was saved (service.reviving).
            costed = written.sums(campaign.operations)
            self._ledger.write(
                written.decided(now_ms, case, campaign.domain, Row.AHEAD, plan.reasons, costed=costed),
                part_begun(now_ms, case, campaign.domain),
            )
        self.end(case, plan.reasons[-1].because)
        for campaign in (*plan.campaigns, *renewals):
            operations = tuple(each.operation for each in campaign.operations)
            self._campaigning.begin(case, campaign.domain, operations, asked=False)

    def order_ended(self, case: CaseId, step: Step, result: Result) -> None:
        """An order of a case of Dom0's own that was running has ended."""
        self._instead(case, step, result)
        self.end(case, result.because or "carried out")

    def _instead(self, case: CaseId, step: Step, result: Result, unexchanged: tuple[NotifyGuest, ...] = ()) -> None:
        """What cannot be done falls to the next: a page that cannot be exchanged is offlined when it is let go, and
        whoever has it can do so by itself.
        """
        if isinstance(step, ExchangeFrame) and result.status in {Status.REFUSED, Status.FAILED}:
            for told in unexchanged:
                self._ledger.execute(case, told, Row.INFORM)
            self._ledger.execute(case, OfflineFrame(step.frame), Row.ON_MACHINE)

    def end(self, number: CaseId, because: str) -> None:
        """End the machine's part of a case of Dom0's own, once none of its orders runs any more."""
        state = self._ledger.state
        case = state.cases.get(number)
        if case is None or any(known.case == number for known in state.orders.values()):
            return
        part = case.parts.get(None)
        if part is None and case.parts:
            return
        if part is not None and part.ended:
            return
        done = part is not None and any(result.succeeded for result in case.ended_orders.values())
        end = State.OPERATED if done else State.NOT_OPERATED
        row = part.row if part is not None else Row.AHEAD
        if any(result.status is Status.PENDING for result in case.ended_orders.values()):
            because += "; what is still in use leaves it as soon as its owner lets go"
        self._ledger.write(part_ended(self._ledger.now_ms, number, None, end, row, because))

    def take_out_again(self) -> None:
        """Take out of use what was judged bad before a reboot; an owned page stays until it is let go (L3)."""
        state = self._ledger.state
        faults = state.faults
        steps = steps_at_start(
            BadList(
                tuple((frame, faults.pages[frame]) for frame in sorted(faults.back_pages)),
                tuple(sorted(faults.back_cpus)),
            )
        )
        if not steps or self._policy.dry_run:
            return
        now_ms, case = self._ledger.now_ms, self._ledger.own_case()
        dimms = {frame: dimm for dimm, frames in state.offlined.items() for frame in frames}
        self._ledger.write(
            ev.KnownBad(
                at_ms=now_ms,
                case=case,
                pages=sum(step.pages for step in steps if isinstance(step, OfflineFrame)),
                cpus=tuple(step.cpu for step in steps if isinstance(step, OfflineCpu)),
            ),
            part_begun(now_ms, case, None),
        )
        for step in steps:
            dimm = dimms.get(step.frame) if isinstance(step, OfflineFrame) else None
            self._ledger.execute(case, step, Row.ON_MACHINE, dimm)
        self.end(case, "it was judged bad before the reboot")
