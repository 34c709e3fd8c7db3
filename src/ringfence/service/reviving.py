"""Guests that the hypervisor crashed before Dom0 was asked are brought back, as the policy lets Dom0 operate (II.2)."""

from __future__ import annotations

from collections.abc import Iterable

from ringfence.decision.answer import BRINGS_BACK, revival
from ringfence.decision.flow import State
from ringfence.decision.policy import Operation, Policy
from ringfence.decision.rows import Because, Row
from ringfence.diagnosis.severity import Severity
from ringfence.journal import events as ev
from ringfence.service import written
from ringfence.service.campaigning import Campaigning, part_begun, part_ended
from ringfence.service.ledger import Ledger
from ringfence.views.chain import CRASHED
from ringfence.world.domain import DomainState
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
                if entry.domain is not None and entry.state == State.KILLED:
                    self._killed(each.case, entry.domain)

    def _killed(self, number: CaseId, whom: DomainId) -> None:
        situation = self._campaigning.situation(None)
        domain = situation.domain(whom)
        # Whom Ringfence itself has ended is not there any more, and had its decision.
        if domain is None or domain.state is not DomainState.CRASHED or self._is_begun(whom):
            return
        severity = self._ledger.state.cases[number].severity
        reply = revival(domain, situation, self._policy, severity=Severity(severity) if severity else Severity.SRAR)
        if not reply.operations:
            return
        now_ms, case = self._ledger.now_ms, self._ledger.own_case()
        reasons = (Because(Row.ON_DOMAIN, f"case {number} ended so"), *reply.reasons)
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

    def _is_begun(self, whom: DomainId) -> bool:
        return any(self._campaigning.has(case, whom) for case in self._ledger.state.cases)


def operations_of(row: str, allowed: Iterable[Operation]) -> tuple[Operation, ...]:
    """The operations of a revival that an earlier life began; none for a case of another kind."""
    return tuple(each for each in allowed if each in BRINGS_BACK) if row == Row.ON_DOMAIN else ()
