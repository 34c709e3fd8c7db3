"""The model host standing in for a machine: real evidence, and a model that everything is carried out on.

Evidence does not say whose page an error hit, and there may be no hypervisor to ask. A stand-in guest owns every page
that is named, and ran wherever something was consumed outside of the kernel; both are assumptions, and whoever uses
this says them. Everything else is real: the evidence, its reading, the decision, and Dom0's seat, which treats the
case by itself (``service.alone``). Nothing breaks on the model itself.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from ringfence.decision.policy import Policy
from ringfence.diagnosis.finding import Finding, diagnose
from ringfence.diagnosis.severity import ErrorClass, Mode, Severity, is_judgeable
from ringfence.hypervisor.model.domains import DomainSpec
from ringfence.hypervisor.model.host import ModelHost
from ringfence.hypervisor.port import Arrival, Capability, Telemetry, Token
from ringfence.record.evidence import Record
from ringfence.service.model_world import ModelWorld, Play
from ringfence.service.seen import frame_of
from ringfence.service.simulation.scenario import Scenario
from ringfence.world.domain import DomainKind, McaHandler
from ringfence.world.frames import FrameFacts, FrameUse, Mapping, MappingKind
from ringfence.world.identities import CaseId, CpuId, DomainId, Frame, GuestFrame
from ringfence.world.situation import Context, Running, Situation
from ringfence.world.steps import ExchangeFrame, IsolateFrame, OfflineFrame, OnlineFrame, Order, Result, Status, Step
from ringfence.world.treatment import Dom0Says

GUEST: Final = "guest"
"""The stand-in's name: a policy's rules can name it."""
PAGES: Final = 1 << 12
"""Of the stand-in: so many pages of the evidence are told apart at a time, the last ones named."""
_FIRST_TOKEN: Final = 1 << 60
"""Above every number that the model gives."""

STAND_INS: Final[dict[str, DomainSpec]] = {
    "hvm": DomainSpec(name=GUEST, kind=DomainKind.HVM, memory_pages=PAGES, mca_enabled=True),
    "hvm-plain": DomainSpec(name=GUEST, kind=DomainKind.HVM, memory_pages=PAGES),
    "pv": DomainSpec(name=GUEST, kind=DomainKind.PV, memory_pages=PAGES, handler=McaHandler.TRAP),
    "pv-plain": DomainSpec(name=GUEST, kind=DomainKind.PV, memory_pages=PAGES),
}
"""Which guest stands in: HVM that enabled MCA, HVM that did not, PV with a handler, PV without."""


class StandInHost:
    """The model host with evidence from elsewhere: pages that it names are pages of the stand-in.

    ``whence``: where the evidence comes from, in the host's name.
    """

    def __init__(self, host: ModelHost, whence: str = "with evidence from a log") -> None:
        self._host, self._whence = host, whence
        self._waiting: list[Telemetry] = []
        self._next_token = _FIRST_TOKEN
        self._pages: OrderedDict[Frame, GuestFrame] = OrderedDict()

    def feed(self, finding: Finding) -> None:
        """Evidence arrives by the port."""
        is_urgent = finding.error_class is ErrorClass.UNCORRECTED
        self._waiting.append(Telemetry(Token(self._next_token), is_urgent, (finding.record,)))
        self._next_token += 1

    def _who(self, finding: Finding, situation: Situation) -> Running:
        cpu = CpuId((finding.record.cpu or 0) % len(self._host.machine.settings.topology.cpus))
        if finding.severity is not Severity.SRAR:
            return Running(cpu=cpu)
        if finding.verdict.mode is Mode.KERNEL:
            return Running(cpu=cpu, context=Context.HYPERVISOR)
        return Running(cpu=cpu, context=Context.GUEST, domain=_guest_of(situation))

    # --- the port ----------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """As ``port.Hypervisor.name``."""
        return f"{self._host.name}, {self._whence}"

    @property
    def capabilities(self) -> Capability:
        """The model's, but that nobody sits in its hypervisor's seat for evidence from elsewhere."""
        return self._host.capabilities & ~Capability.TREATS

    @property
    def boot(self) -> int:
        """As ``port.Hypervisor.boot``."""
        return self._host.boot

    def now_ms(self) -> int:
        """As ``port.Hypervisor.now_ms``."""
        return self._host.now_ms()

    def arrivals(self) -> tuple[Arrival, ...]:
        """What was fed, then what the model has."""
        return (*self._waiting[:1], *self._host.arrivals())

    def acknowledge(self, token: Token) -> None:
        """As ``port.Hypervisor.acknowledge``."""
        if token >= _FIRST_TOKEN:
            self._waiting = [each for each in self._waiting if each.token != token]
        else:
            self._host.acknowledge(token)

    def situation(self, record: Record | None) -> Situation:
        """The model's host; pages that the record names are the stand-in's."""
        situation = self._host.situation(None)
        if record is None or not is_judgeable(record):
            return situation
        finding = diagnose(record)
        frame = frame_of(finding)
        return replace(
            situation,
            frames=(self._facts(frame, situation),) if frame is not None else (),
            running=self._who(finding, situation),
            # What the machine of the evidence can do is in its class already; the model's own ability is another's.
            platform=replace(situation.platform, poisons=None, poisons_because="", shared_caches=()),
        )

    def _page(self, frame: Frame) -> GuestFrame:
        """The stand-in's page for one that the evidence names. When all are taken, it is the one named first."""
        if frame not in self._pages:
            is_full = len(self._pages) >= PAGES
            page = self._pages.popitem(last=False)[1] if is_full else GuestFrame(len(self._pages))
            self._pages[frame] = page
        return self._pages[frame]

    def _facts(self, frame: Frame, situation: Situation) -> FrameFacts:
        page, owner = self._page(frame), _guest_of(situation)
        if owner is None:
            return FrameFacts(frame=frame, use=FrameUse.FREE)
        mapping = Mapping(domain=owner, kind=MappingKind.CPU, guest_frame=page)
        return FrameFacts(frame=frame, use=FrameUse.DOMAIN, owner=owner, mappings=(mapping,))

    def carry_out(self, order: Order) -> Result:
        """As ``port.Hypervisor.carry_out``, with the evidence's frames turned into the model's."""
        step = self._here(order.step)
        if step is None:
            return Result(Status.DONE, "the page is nobody's any more")
        return self._host.carry_out(replace(order, step=step))

    def _here(self, step: Step) -> Step | None:
        """A step with the model's frame instead of the evidence's; None if the stand-in has it no more."""
        match step:
            case IsolateFrame() | OfflineFrame() | OnlineFrame() | ExchangeFrame():
                guest = _guest_of(self._host.situation(None))
                if guest is None:
                    return None
                try:
                    address = self._host.address(guest, self._page(step.frame))
                except KeyError:
                    return None
                return replace(step, frame=Frame(address >> 12))
            case _:
                return step

    def probe(self, order: Order) -> Result:
        """As ``port.Hypervisor.probe``."""
        return self._host.probe(order)

    def answer(self, case: CaseId, domain: DomainId, says: Dom0Says) -> Result:
        """As ``port.Hypervisor.answer``."""
        return self._host.answer(case, domain, says)

    def heed_lost(self, frames: Iterable[Frame]) -> None:
        """As ``port.Hypervisor.heed_lost``."""
        self._host.heed_lost(frames)

    def evidence_saved(self, case: CaseId) -> None:
        """As ``port.Hypervisor.evidence_saved``."""
        self._host.evidence_saved(case)


def _guest_of(situation: Situation) -> DomainId | None:
    """The stand-in that lives; None between its end and its next start."""
    return next((each.id for each in situation.domains if each.name == GUEST and each.lives), None)


def stands_in(kind: str) -> Play:
    """What is played where the model stands in: a guest of a kind (``STAND_INS``), and nothing that breaks."""
    scenario = Scenario(
        name="stand-in",
        says="one guest that owns every page which the evidence of this machine names",
        guests=(STAND_INS[kind],),
        memory={},
        units={},
        mishaps={},
    )
    return Play(scenario, lambda _: ())


class StandInWorld:
    """The model host in the place of this machine (``writer.World``)."""

    def __init__(self, model: ModelWorld) -> None:
        self._model = model
        self.host: Final = StandInHost(model.host, "standing in for this machine: nothing is carried out on it")

    @property
    def reset_ms(self) -> int | None:
        """As ``writer.World.reset_ms``."""
        return self._model.reset_ms

    def wait_s(self, wake_ms: int | None) -> float:
        """As ``writer.World.wait_s``."""
        return self._model.wait_s(wake_ms)

    def go_on(self) -> bool:
        """As ``writer.World.go_on``."""
        return self._model.go_on()

    def reload(self, policy: Policy) -> None:
        """As ``writer.World.reload``."""
        self._model.reload(policy)

    def close(self) -> None:
        """As ``writer.World.close``."""
        self._model.close()
