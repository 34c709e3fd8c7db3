"""Carrying a step out, whoever ordered it: every check first, then the effect; a refused step changes nothing (L8)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, assert_never

from ringfence.hypervisor.model.accesses import Accesses
from ringfence.hypervisor.model.core import Core
from ringfence.hypervisor.model.delivery import Delivery
from ringfence.hypervisor.model.frames import Errno, PageOp, Pg
from ringfence.hypervisor.model.healing import Healing
from ringfence.hypervisor.model.life import Life
from ringfence.hypervisor.model.observer import MappingsChanged
from ringfence.hypervisor.model.operations import Operations
from ringfence.world.domain import DomainState
from ringfence.world.identities import SUPERPAGE_FRAMES, CaseId, Frame
from ringfence.world.steps import (
    AskDom0,
    DegradeHost,
    DestroyDomain,
    DrainHost,
    ExchangeFrame,
    HaltHost,
    HealHost,
    InjectVmce,
    IsolateFrame,
    LastWords,
    MigrateDomain,
    NotifyDom0,
    NotifyGuest,
    OfflineCpu,
    OfflineFrame,
    OnlineCpu,
    OnlineFrame,
    PauseDomain,
    RestartDomain,
    RestoreDomain,
    Result,
    SaveDomain,
    SaveEvidence,
    ShutDownDomain,
    Status,
    Step,
    UnpauseDomain,
)

MOST_FRAMES: Final = 512 * SUPERPAGE_FRAMES
"""Frames of one step: a 1 GiB page. More is no page of anybody's."""

OnEnd = Callable[[Result], None]


@dataclass(frozen=True, slots=True)
class Context:
    """What a step is carried out for: its case, if there is one."""

    case: CaseId | None = None


class Above(Protocol):
    """What the hypervisor's own parts above the domains do: Dom0's notices, last words, the halt."""

    def notify_dom0(self, *, urgent: bool) -> Result:
        """VIRQ_MCA, and the record in its queue."""
        ...

    def ask_dom0(self, step: AskDom0, context: Context) -> Result:
        """A question to Dom0."""
        ...

    def save_evidence(self, step: SaveEvidence, context: Context, on_end: OnEnd) -> Result:
        """Time for Dom0 to write."""
        ...

    def last_words(self, context: Context) -> Result:
        """The evidence to every sink."""
        ...

    def halt(self, because: str) -> Result:
        """Stops the machine."""
        ...


class Carrier:
    """Carries steps out."""

    def __init__(  # noqa: PLR0913, PLR0917 (the parts of a hypervisor)
        self, core: Core, life: Life, accesses: Accesses, delivery: Delivery, operations: Operations, above: Above
    ) -> None:
        self._core = core
        self._life = life
        self._delivery = delivery
        self._operations = operations
        self._above = above
        self._healing = Healing(core, life, accesses)
        self._failures: dict[type[Step], deque[str]] = {}

    def fail_next(self, step: type[Step], because: str, times: int) -> None:
        """The next steps of a kind fail at once, and do nothing."""
        self._failures.setdefault(step, deque()).extend([because] * times)

    def carry_out(self, step: Step, context: Context, on_end: OnEnd) -> Result:
        """Does or begins a step; ``on_end`` hears the end of one that is RUNNING."""
        if self._core.stopped:
            return Result(Status.REFUSED, "the machine has halted")
        planned = self._failures.get(type(step))
        if not planned:
            return self._do(step, context, on_end)
        because = planned.popleft()
        return Result(Status.FAILED, because)

    def _do(self, step: Step, context: Context, on_end: OnEnd) -> Result:
        match step:
            case PauseDomain() | UnpauseDomain() | DestroyDomain():
                return self._at_once(step)
            case SaveDomain() | RestoreDomain() | MigrateDomain() | ShutDownDomain() | RestartDomain() | DrainHost():
                return self._operate(step, on_end)
            case IsolateFrame() | OfflineFrame() | OnlineFrame():
                return self._on_frame(step, broken=context.case is not None)
            case ExchangeFrame(domain, frame):
                return self._operations.exchange(domain, frame, on_end)
            case NotifyGuest(domain, pages, must_act, endangered):
                return self._delivery.notify(domain, pages, must_act=must_act, endangered=endangered, on_end=on_end)
            case InjectVmce(domain, page):
                return self._delivery.inject(domain, page)
            case OfflineCpu() | OnlineCpu() | HealHost() | DegradeHost():
                return self._on_host(step)
            case NotifyDom0() | AskDom0() | SaveEvidence() | LastWords() | HaltHost():
                return self._upwards(step, context, on_end)
            case never:
                assert_never(never)

    def _operate(
        self,
        step: SaveDomain | RestoreDomain | MigrateDomain | ShutDownDomain | RestartDomain | DrainHost,
        on_end: OnEnd,
    ) -> Result:
        match step:
            case SaveDomain(domain):
                return self._operations.save(domain, on_end)
            case RestoreDomain(domain):
                return self._operations.restore(domain, on_end)
            case MigrateDomain(domain, destination):
                return self._operations.migrate(domain, destination, on_end)
            case ShutDownDomain(domain):
                return self._operations.shut_down(domain, on_end)
            case RestartDomain(domain):
                return self._operations.restart(domain, on_end)
            case DrainHost():
                return self._operations.drain(on_end)

    def _on_frame(self, step: IsolateFrame | OfflineFrame | OnlineFrame, *, broken: bool) -> Result:
        """``broken``: it is for a case, and cases are of uncorrected errors: the page is never used again."""
        match step:
            case IsolateFrame(frame, pages):
                return self._isolate(frame, pages)
            case OfflineFrame(frame, pages):
                return self._offline(frame, pages, broken=broken)
            case OnlineFrame(frame):
                return self._online(frame)

    def _on_host(self, step: OfflineCpu | OnlineCpu | HealHost | DegradeHost) -> Result:
        match step:
            case OfflineCpu(cpu):
                return self._healing.offline_cpu(cpu)
            case OnlineCpu(cpu):
                return self._healing.online_cpu(cpu)
            case HealHost(frames, lost_cpu, dom0):
                return self._healing.heal(frames, lost_cpu, dom0=dom0)
            case DegradeHost():
                self._life.closed = True
                return Result(Status.DONE, "no new guest starts")

    def _upwards(
        self, step: NotifyDom0 | AskDom0 | SaveEvidence | LastWords | HaltHost, context: Context, on_end: OnEnd
    ) -> Result:
        match step:
            case NotifyDom0(urgent):
                return self._above.notify_dom0(urgent=urgent)
            case AskDom0():
                return self._above.ask_dom0(step, context)
            case SaveEvidence():
                return self._above.save_evidence(step, context, on_end)
            case LastWords():
                return self._above.last_words(context)
            case HaltHost():
                return self._above.halt("it was ordered")

    # --- domains -------------------------------------------------------------------------------------------------

    def _at_once(self, step: PauseDomain | UnpauseDomain | DestroyDomain) -> Result:
        domain = self._life.get(step.domain)
        if domain is None or domain.is_dom0:
            return Result(Status.REFUSED, f"there is no guest {step.domain}")
        if not domain.lives:
            if isinstance(step, DestroyDomain) and domain.state is not DomainState.MIGRATED:
                return Result(Status.DONE, f"it is {domain.state} already")
            return Result(Status.REFUSED, f"domain {step.domain} is {domain.state}")
        match step:
            case PauseDomain():
                self._life.pause(domain, "it was ordered")
            case UnpauseDomain() if domain.busy:
                return Result(Status.REFUSED, "an operation on it is running")
            case UnpauseDomain():
                self._life.resume(domain, "it was ordered")
            case DestroyDomain():
                self._life.end(domain, DomainState.DESTROYED, "it was ordered")
        return Result(Status.DONE)

    # --- frames --------------------------------------------------------------------------------------------------

    def _isolate(self, first: Frame, pages: int) -> Result:
        if not 0 < pages <= MOST_FRAMES:
            return Result(Status.REFUSED, f"{pages} pages are no page of anybody's")
        if not self._life.frames.is_memory(first):
            return Result(Status.REFUSED, f"there is no memory at frame {first:#x}")
        declared: list[str] = []
        for frame in (Frame(first + each) for each in range(pages)):
            left = self._life.mappings.isolate(frame)
            if left is None:
                continue
            self._life.frames.mark_broken(frame)
            declared += [f"frame {frame:#x}: the {each.kind.value} of domain {each.domain} stays" for each in left]
            self._core.tell(MappingsChanged(self._core.now_ns, frame, left))
        if declared:
            return Result(Status.FAILED, f"{len(declared)} mappings cannot be taken away", tuple(declared))
        return Result(Status.DONE)

    def _offline(self, first: Frame, pages: int, *, broken: bool) -> Result:
        if not 0 < pages <= MOST_FRAMES:
            return Result(Status.REFUSED, f"{pages} pages are no page of anybody's")
        pending, refused, because = False, 0, ""
        pending_bit = int(Pg.PENDING)  # as a number: a superpage is taken out of use frame by frame
        for frame in (Frame(first + each) for each in range(pages)):
            again = self._core.behaviour.crashes_again
            done = self._life.frames.offline(frame, broken=broken, crash_again=again)
            if done.errno:
                refused += 1
                because = _why_not(frame, done)
            pending = pending or bool(done.status & pending_bit)
            if done.crash is not None and (owner := self._life.living(done.crash)) is not None:
                self._life.end(owner, DomainState.CRASHED, "its broken page was offlined again")
        if refused == pages:
            return Result(Status.REFUSED, because)
        if refused:
            return Result(Status.FAILED, because)
        if pending:
            return Result(Status.PENDING, "its owner has to let go of it first")
        return Result(Status.DONE)

    def _online(self, frame: Frame) -> Result:
        done = self._life.frames.online(frame)
        return Result(Status.REFUSED, _why_not(frame, done)) if done.errno else Result(Status.DONE)


def _why_not(frame: Frame, done: PageOp) -> str:
    """Why a frame was neither taken out of use nor put back, in the words of a person."""
    if done.status & Pg.BROKEN:
        return f"frame {frame:#x}: it is broken"
    if done.errno == -Errno.EINVAL:
        return f"there is no memory at frame {frame:#x}"
    if done.errno == -Errno.EPERM:
        return f"frame {frame:#x} is the hypervisor's own"
    return f"frame {frame:#x}: {Errno(-done.errno).name}"
