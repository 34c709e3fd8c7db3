"""Telling guests of lost pages: a vMCE into their banks, or a notice to their PV MCA handler; and what they do then.

Everything is checked before anything is done (II.4), and a guest only ever hears of pages of its own (L7).
"""

from __future__ import annotations

from collections.abc import Callable

from ringfence.hypervisor.model import vmce
from ringfence.hypervisor.model.accesses import Accesses
from ringfence.hypervisor.model.core import Core
from ringfence.hypervisor.model.domains import FIRST_VCPU, ModelDomain
from ringfence.hypervisor.model.guests import Notice, Reaction, Reply
from ringfence.hypervisor.model.life import Life
from ringfence.hypervisor.model.observer import Channel, GuestTold
from ringfence.hypervisor.model.vmce import BYSTANDER, EMPTY, VirtualBank
from ringfence.world.domain import DomainKind, DomainState, McaHandler
from ringfence.world.identities import DomainId, GuestFrame, VcpuId
from ringfence.world.steps import Result, Status

OnEnd = Callable[[Result], None]
FloodGate = Callable[[DomainId], None]
"""A hypercall that a guest makes without any right to."""


class Delivery:
    """The way from the hypervisor into a guest's handler, and back."""

    def __init__(self, core: Core, life: Life, accesses: Accesses, flood: FloodGate) -> None:
        self._core = core
        self._life = life
        self._accesses = accesses
        self._flood = flood

    def target(self, number: DomainId, pages: tuple[GuestFrame, ...]) -> ModelDomain | Result:
        """The domain if it can be told of these pages at all, else why not."""
        domain = self._life.get(number)
        if domain is None:
            return Result(Status.REFUSED, f"there is no domain {number}")
        if domain.is_dom0:
            return Result(Status.REFUSED, "Dom0 is told by VIRQ_MCA")
        if not domain.lives:
            return Result(Status.REFUSED, f"domain {number} is {domain.state}")
        if not pages:
            return Result(Status.REFUSED, "no page is named")
        strange = [page for page in pages if not self._has(number, page)]
        return Result(Status.REFUSED, f"domain {number} has no page {strange[0]:#x}") if strange else domain

    # --- vMCE ----------------------------------------------------------------------------------------------------

    def inject(self, number: DomainId, page: GuestFrame) -> Result:
        """Injects a vMCE for one lost page: to the vCPU that consumed it, else to vCPU 0; the others see it, too."""
        domain = self.target(number, (page,))
        if isinstance(domain, Result):
            return domain
        if domain.kind is DomainKind.PV:
            return Result(Status.REFUSED, "a PV guest has no banks of its own: it is told by its handler")
        if not domain.mca_enabled:
            return Result(Status.REFUSED, "the guest did not enable MCA: #MC would end it")
        if domain.in_machine_check:
            return Result(Status.REFUSED, "MCIP of the guest is still set: it is in an earlier machine check")
        consumer = self._accesses.consumed(domain, page)
        lost = vmce.page_lost(page, consumed=consumer is not None)
        self.fill(domain, lost, FIRST_VCPU if consumer is None else consumer)
        self._react(domain, Notice(pages=(page,), must_act=True, consumed=consumer is not None), None)
        return Result(Status.DONE, "the vMCE is in the guest's bank")

    def fill(self, domain: ModelDomain, lost: VirtualBank, target: VcpuId, *, broadcast: bool = True) -> None:
        """Puts a vMCE into a vCPU's bank, and an empty one into the others' if it is broadcast."""
        for vcpu in domain.vcpus:
            if vcpu.id != target and not broadcast:
                continue
            domain.hold(vcpu, lost if vcpu.id == target else BYSTANDER)
            content = vcpu.bank.pack()
            self._core.tell(GuestTold(self._core.now_ns, domain.id, vcpu.id, Channel.VMCE, content, must_act=True))
        self._accesses.treated(domain)

    def injected(self, domain: ModelDomain, page: GuestFrame) -> None:
        """A vMCE that was put in without asking has its effect: a guest that did not enable MCA is ended by it."""
        if domain.mca_enabled or domain.kind is DomainKind.PV:
            self._react(domain, Notice(pages=(page,), must_act=True, consumed=False), None)
        else:
            self._life.run_then(domain, 0, lambda: self._crash(domain, "#MC without a handler for it"))

    # --- a PV MCA handler ----------------------------------------------------------------------------------------

    def notify(
        self, number: DomainId, pages: tuple[GuestFrame, ...], *, must_act: bool, endangered: bool, on_end: OnEnd
    ) -> Result:
        """Tells a guest's handler. RUNNING if it must act: ``on_end`` hears what it answers, if ever it does."""
        domain = self.target(number, pages)
        if isinstance(domain, Result):
            return domain
        if domain.handler is McaHandler.NONE:
            return Result(Status.REFUSED, "the guest has no PV MCA handler")
        consumers = [each for page in pages if (each := self._accesses.consumed(domain, page)) is not None]
        channel = Channel.TRAP if domain.handler is McaHandler.TRAP else Channel.AGENT
        content = vmce.notice_content(pages, consumed=bool(consumers), must_act=must_act, endangered=endangered)
        target = consumers[0] if consumers else FIRST_VCPU
        self._core.tell(GuestTold(self._core.now_ns, number, target, channel, content, must_act))
        if not endangered:
            domain.told.update(pages)
        if channel is Channel.TRAP:
            self._accesses.treated(domain)
        self._react(domain, Notice(pages=pages, must_act=must_act, consumed=bool(consumers)), on_end)
        if not must_act:
            return Result(Status.DONE, "the guest was informed")
        return Result(Status.RUNNING, "the guest's handler has the list of its lost pages")

    # --- what the guest does -------------------------------------------------------------------------------------

    def _react(self, domain: ModelDomain, notice: Notice, on_end: OnEnd | None) -> None:
        reaction = domain.behaviour(notice, self._core.random)
        run_then = self._life.run_then
        if reaction.calls:
            run_then(domain, 0, lambda: self._make_calls(domain, reaction.calls))
        if reaction.leaves_ms is not None:
            run_then(domain, reaction.leaves_ms, lambda: self.leave(domain))
        if reaction.crashes:
            run_then(domain, reaction.after_ms, lambda: self._crash(domain, "its machine-check handler panicked"))
        elif reaction.reply is not None:
            run_then(domain, reaction.after_ms, lambda: self._reply(domain, notice, reaction, on_end))
        if reaction.touches_ms is not None:
            run_then(domain, reaction.touches_ms, lambda: self._accesses.read(domain, notice.pages[0]))

    def _reply(self, domain: ModelDomain, notice: Notice, reaction: Reaction, on_end: OnEnd | None) -> None:
        healed = reaction.reply is Reply.HEALED
        if healed and notice.must_act and on_end is not None and reaction.touches_ms is None:
            for page in notice.pages:
                self._give_back(domain, page)
        if on_end is not None and notice.must_act:
            status, because = (
                (Status.DONE, "the guest healed itself") if healed else (Status.FAILED, "the guest cannot heal itself")
            )
            on_end(Result(status, because))

    def _give_back(self, domain: ModelDomain, page: GuestFrame) -> None:
        """A handler that heals gives the page back to the hypervisor, which takes it out of use."""
        frame = self._life.frames.frame_of(domain.id, page)
        if frame is not None and self._life.frames.is_pending(frame):
            self._life.balloon_out(domain, page)

    def leave(self, domain: ModelDomain) -> None:
        """The guest clears MCIP."""
        for vcpu in domain.vcpus:
            domain.hold(vcpu, EMPTY)

    def _crash(self, domain: ModelDomain, because: str) -> None:
        self._life.end(domain, DomainState.CRASHED, because)

    def _make_calls(self, domain: ModelDomain, count: int) -> None:
        for _ in range(count):
            self._flood(domain.id)

    def _has(self, domain: DomainId, page: GuestFrame) -> bool:
        own = self._life.frames.frame_of(domain, page)
        return own is not None or self._life.mappings.shared(domain, page) is not None
