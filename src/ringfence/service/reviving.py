"""Guests are brought back (II.2): those that the hypervisor crashed before Dom0 was asked, as the policy lets Dom0
operate, and those that were saved to have them let go of a page ahead of an error (II.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ringfence.decision.answer import BRINGS_BACK, revival
from ringfence.decision.flow import State
from ringfence.decision.policy import Operation, Policy
from ringfence.decision.rows import Because, Row
from ringfence.diagnosis.severity import Severity
from ringfence.journal import events as ev
from ringfence.service import written
from ringfence.service.campaigning import Campaigning, part_begun, part_ended
from ringfence.service.ledger import Ledger
from ringfence.views.chain import CRASHED, follows_from
from ringfence.world.domain import Domain, DomainState
from ringfence.world.identities import CaseId, DomainId


class Reviving:
    """Looks at cases that are about to be closed."""

    def __init__(self, ledger: Ledger, campaigning: Campaigning, policy: Policy) -> None:
        self._ledger, self._campaigning, self._policy = ledger, campaigning, policy

    def reload(self, policy: Policy) -> None:
        """What is closed from now on goes by this policy."""
        self._policy = policy

    def closing(self, closed: Iterable[ev.Closed]) -> None:
        """Begin a case of Dom0's own for each guest that ended in one of these by the hypervisor's hand alone.

        Before they are closed: a kill in between finds them open, and the guest crashed or brought back.
        """
        for each in closed:
            for entry in each.outcome:
                if entry.domain is None or self._is_begun(entry.domain, but=each.case):
                    continue
                if entry.state == State.KILLED:
                    self._killed(each.case, entry.domain)
                elif entry.state == State.OPERATED:
                    self._saved(each.case, entry.domain)

    def _killed(self, number: CaseId, whom: DomainId) -> None:
        situation = self._campaigning.situation(None)
        domain = situation.domain(whom)
        # Whom Ringfence itself has ended is not there any more, and had its decision.
        if domain is None or domain.state is not DomainState.CRASHED:
            return
        severity = self._ledger.state.cases[number].severity
        reply = revival(domain, situation, self._policy, severity=Severity(severity) if severity else Severity.SRAR)
        if not reply.operations:
            return
        now_ms, case = self._ledger.now_ms, self._ledger.own_case()
        reasons = (Because(Row.ON_DOMAIN, f"case {number} ended so", follows_from(number)), *reply.reasons)
        self._ledger.write(
            part_begun(now_ms, case, whom, event=CRASHED, row=Row.ON_DOMAIN),
            written.decided(now_ms, case, whom, Row.ON_DOMAIN, reasons, costed=written.sums(reply.operations)),
        )
        operations = tuple(each.operation for each in reply.operations)
        if self._policy.dry_run:
            why = f"{operations[0]}: dry run: nothing was carried out"
            self._ledger.write(part_ended(now_ms, case, whom, State.OPERATED, Row.ON_DOMAIN, why))
            return
        self._campaigning.begin(case, whom, operations, asked=False, row=Row.ON_DOMAIN)

    def _saved(self, number: CaseId, whom: DomainId) -> None:
        """One that was saved for the sake of a page: the page is free of it, so it goes on, on others."""
        chosen = self._ledger.state.cases[number].decided.get(whom)
        domain = self._campaigning.situation(None).domain(whom)
        # What a person saved, or what was saved as a rank fails, waits for a person.
        if chosen is None or chosen.row != Row.AHEAD or domain is None or domain.state is not DomainState.SAVED:
            return
        now_ms, case = self._ledger.now_ms, self._ledger.own_case()
        why = Because(
            Row.ON_DOMAIN,
            f"{domain.name} was saved to let go of a page (case {number}): it goes on, on others",
            follows_from(number),
        )
        self._ledger.write(
            part_begun(now_ms, case, whom, event=SAVED, row=Row.ON_DOMAIN),
            written.decided(now_ms, case, whom, Row.ON_DOMAIN, (why,)),
        )
        self._campaigning.begin(case, whom, (Operation.RESTORE,), asked=False, row=Row.ON_DOMAIN)

    def _is_begun(self, whom: DomainId, but: CaseId) -> bool:
        return any(self._campaigning.has(case, whom) for case in self._ledger.state.cases if case != but)


SAVED: Final = "saved"
"""What began a case that restores a domain: it was saved ahead of an error."""


def operations_of(row: str, domain: Domain, policy: Policy) -> tuple[Operation, ...]:
    """The operations of a revival that an earlier life began; none for a case of another kind."""
    if row != Row.ON_DOMAIN:
        return ()
    if domain.state is DomainState.SAVED:
        return (Operation.RESTORE,)
    return tuple(each for each in policy.rule_for(domain).operations if each in BRINGS_BACK)
