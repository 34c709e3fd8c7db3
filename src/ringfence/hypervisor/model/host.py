"""The model host: the machine, the hypervisor on it, and its domains, behind the port.

Fault model: the hardware's is that of ``machine`` and ``faults``. Of the software, guests misbehave as ``guests`` says;
Dom0's handler can be absent, silent or hurt; a sink of last words can be broken; an operation can be made to fail; the
telemetry has Xen's bounds and drops what does not fit. The hypervisor's own code, hypercalls and the link to the other
host do not fail by themselves. Time passes only in ``advance`` and ``advance_to_next``. The same seed and the same
calls give the same run, bit for bit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

from ringfence.hypervisor.model.carrying import Context
from ringfence.hypervisor.model.clock import Clock
from ringfence.hypervisor.model.observer import Caller, Carried, Observer, nobody
from ringfence.hypervisor.model.stage import HostSettings, Stage
from ringfence.hypervisor.port import Arrival, Capability, Telemetry, Token
from ringfence.hypervisor.telemetry import Dom0Reader, Fetched
from ringfence.record.evidence import Record
from ringfence.world.domain import DomainKind
from ringfence.world.identities import CaseId, DomainId, Frame, StepId
from ringfence.world.situation import Situation
from ringfence.world.steps import (
    AskDom0,
    ExchangeFrame,
    LastWords,
    NotifyDom0,
    Order,
    Repeat,
    Result,
    SaveEvidence,
    Status,
)
from ringfence.world.treatment import Answered, Dom0Says, StepEnded, TreatingSeat

__all__ = ["HostSettings", "ModelHost"]

ARRIVALS: Final = 64
"""Arrivals at a time (port.Hypervisor.arrivals)."""
RESULTS_KEPT: Final = 16_384
"""Orders of Dom0 whose results can be probed: days of what it ever orders."""

XEN_LACKS: Final = Capability.TREATS | Capability.INJECT_VMCE | Capability.ISOLATE_FRAME | Capability.MAPPINGS
"""What no release of Xen offers Dom0: there is no call for it."""

_SEATS_OWN: Final = (AskDom0, NotifyDom0, SaveEvidence)
"""Steps that only the hypervisor's seat can order: they are about Dom0 itself."""


@dataclass(frozen=True, slots=True)
class _Shown:
    """A piece of telemetry that Dom0 was shown, under the token that it got."""

    token: Token
    fetched: Fetched


class ModelHost(Stage):
    """A host. Implements ``port.Hypervisor``; the rest of its interface is the world's side (``stage.Stage``)."""

    def __init__(
        self,
        settings: HostSettings,
        *,
        seed: int,
        seat: TreatingSeat | None = None,
        clock: Clock | None = None,
        observer: Observer = nobody,
    ) -> None:
        """Switches a host on: Xen and Dom0 run, there is no guest yet, Dom0 has no MCA handler.

        ``seat`` treats machine checks in the hypervisor's seat; raises ValueError if the personality wants one and
        there is none (one that is not wanted is not used), and KeyError for an unknown personality. Hosts that migrate
        to each other share a ``clock``.
        """
        self._shown: dict[tuple[bool, int], _Shown] = {}
        self._results: OrderedDict[StepId, Result] = OrderedDict()
        super().__init__(settings, seed=seed, seat=seat, clock=clock or Clock(), observer=observer)
        self._begin_boot()

    def _begin_boot(self) -> None:
        self._shown.clear()
        self._results.clear()
        self._reader = Dom0Reader(self.hypercall_mca)

    def reboot(self, *, cold: bool = False, seat: TreatingSeat | None = None) -> None:
        """As ``Stage.reboot``."""
        super().reboot(cold=cold, seat=seat)
        self._begin_boot()

    # --- what it is ------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """As ``port.Hypervisor.name``: "model concept", "model xen-4.20"."""
        return f"model {self.settings.personality}"

    @property
    def capabilities(self) -> Capability:
        """As ``port.Hypervisor.capabilities``. TREATS is there with the personality "concept" alone."""
        everything = ~Capability(0)
        return everything if self._core.behaviour.treats else everything & ~XEN_LACKS

    def now_ms(self) -> int:
        """As ``port.Hypervisor.now_ms``."""
        return self._core.now_ms

    # --- what arrives ----------------------------------------------------------------------------------------------

    def arrivals(self) -> tuple[Arrival, ...]:
        """As ``port.Hypervisor.arrivals``.

        Telemetry is fetched by hypercall 48, which shows the oldest entry of each class until that is acknowledged: ask
        again after acknowledging, until nothing comes. Order: EvidenceWanted, urgent Telemetry, Question, Progress,
        Ended, LeftOver, Lost, nonurgent Telemetry. A halted machine shows nothing.
        """
        if self._core.stopped:
            return ()
        before = (*self._xen.door.before_telemetry(), *self._telemetry(urgent=True))
        nonurgent = self._telemetry(urgent=False)
        room = ARRIVALS - len(before) - len(nonurgent)
        return (*before, *self._xen.door.after_telemetry(room), *nonurgent)

    def _telemetry(self, *, urgent: bool) -> tuple[Telemetry, ...]:
        if not self._xen.telemetry.waiting(urgent=urgent):
            return ()  # no VIRQ_MCA has been raised for it
        fetched = self._reader.fetch(urgent=urgent)
        if fetched is None:
            return ()
        key = urgent, fetched.fetch_id
        shown = self._shown.get(key)
        if shown is None:
            shown = self._shown[key] = _Shown(self._xen.door.token(), fetched)
        return (Telemetry(shown.token, urgent, self._xen.records(fetched.raw), self._xen.case_of(urgent=urgent)),)

    def acknowledge(self, token: Token) -> None:
        """As ``port.Hypervisor.acknowledge``. An ``Ended`` is gone once it was shown."""
        for key, shown in self._shown.items():
            if shown.token == token:
                self._reader.acknowledge(shown.fetched)
                del self._shown[key]
                return
        if self._xen.door.acknowledge(token) and not self._xen.door.holds("ERST"):
            self._words.forget_read()

    # --- the situation ---------------------------------------------------------------------------------------------

    def situation(self, record: Record | None) -> Situation:
        """As ``port.Hypervisor.situation``. ``open_cases``, ``trends`` and ``verdicts`` are for the caller to fill."""
        return self._xen.situations.of(record)

    # --- Dom0's orders ---------------------------------------------------------------------------------------------

    def carry_out(self, order: Order) -> Result:
        """As ``port.Hypervisor.carry_out``, with Dom0 as the caller."""
        why = self._why_not(order)
        if why is not None:
            result = Result(Status.REFUSED, why)
        elif isinstance(order.step, LastWords):
            result = self._last_words(order)
        else:
            result = self._xen.carrier.carry_out(order.step, Context(), partial(self._ended, order))
        self._keep(order, result)
        return result

    def _last_words(self, order: Order) -> Result:
        """Dom0's last words are about what it was shown, and has not acknowledged."""
        dom0 = self._xen.dom0
        before = dom0.in_hand
        dom0.in_hand = [each for shown in self._shown.values() for each in self._xen.records(shown.fetched.raw)]
        try:
            return self._xen.carrier.carry_out(order.step, Context(), partial(self._ended, order))
        finally:
            dom0.in_hand = before

    def _why_not(self, order: Order) -> str | None:
        """What Dom0 cannot order on this host at all."""
        step = order.step
        if isinstance(step, _SEATS_OWN):
            return "only the hypervisor's own seat orders that"
        if self._core.behaviour.treats:
            return None
        if type(step) in self._core.behaviour.lacks:
            return f"{self.name} has no call for it"
        if isinstance(step, ExchangeFrame):
            domain = self._life.get(step.domain)
            if domain is not None and domain.kind is not DomainKind.PV:
                return "Xen exchanges pages of PV guests only"
        return None

    def _ended(self, order: Order, result: Result) -> None:
        self._keep(order, result)
        self._xen.door.ended(StepEnded(order.id, result))

    def _keep(self, order: Order, result: Result) -> None:
        self._core.tell(Carried(self._core.now_ns, Caller.DOM0, order, result))
        self._results[order.id] = result
        while len(self._results) > RESULTS_KEPT:
            self._results.popitem(last=False)

    def probe(self, order: Order) -> Result:
        """As ``port.Hypervisor.probe``: the last result of the order, UNKNOWN for one that never arrived or is NEITHER.

        Orders of the hypervisor's seat and Dom0's are numbered apart; this is about Dom0's, of this boot.
        """
        if order.step.repeat is Repeat.NEITHER:
            return Result(Status.UNKNOWN, "whether it happened cannot be seen")
        return self._results.get(order.id, Result(Status.UNKNOWN, "no such order has arrived"))

    def answer(self, case: CaseId, domain: DomainId, says: Dom0Says) -> Result:
        """As ``port.Hypervisor.answer``."""
        driver = self._xen.driver
        if driver is None or self._core.stopped:
            return Result(Status.REFUSED, "nobody asks: this hypervisor acts alone, or has halted")
        asked = self._xen.door.asked.get((case, domain))
        if asked is None:
            return Result(Status.REFUSED, f"nobody asks about domain {domain} in case {case}")
        finishes = says in {Dom0Says.OPERATED, Dom0Says.NOT_OPERATED}
        if finishes is not asked.operating:
            return Result(Status.REFUSED, f"{says} answers nothing that is asked now")
        if not finishes and self._core.now_ms >= asked.question.deadline_ms:
            return Result(Status.REFUSED, "the deadline has passed")
        if (why := driver.answer(Answered(case, domain, says))) is not None:
            return Result(Status.REFUSED, why)
        asked.operating = says in {Dom0Says.OPERATE, Dom0Says.BOTH}
        asked.seen = True
        if not asked.operating and self._xen.door.asked.get((case, domain)) is asked:
            del self._xen.door.asked[case, domain]
        return Result(Status.DONE)

    def heed_lost(self, frames: Iterable[Frame]) -> None:
        """As ``port.Hypervisor.heed_lost``: the model knows its pages by itself."""

    def evidence_saved(self, case: CaseId) -> None:
        """As ``port.Hypervisor.evidence_saved``."""
        if not self._core.stopped:
            self._xen.dom0.evidence_saved(case)
