"""Self-healing of the host (I.2b): the hypervisor or Dom0 goes on without a page or a CPU, if it can.

Whether it can is the world's: the hypervisor can give up free slots and caches of its heap, never its image; Dom0 can
lose the upper half of its memory (page cache, processes: its kernel kills who had the page), never the lower (kernel).
"""

from __future__ import annotations

from ringfence.hypervisor.model.accesses import Accesses
from ringfence.hypervisor.model.core import Core
from ringfence.hypervisor.model.frames import Holder
from ringfence.hypervisor.model.life import Life
from ringfence.hypervisor.model.machine import CpuState
from ringfence.hypervisor.model.observer import MappingsChanged
from ringfence.world.identities import DOM0, CpuId, Frame, GuestFrame
from ringfence.world.steps import Result, Status


def is_expendable(page: GuestFrame, dom0_pages: int) -> bool:
    """Whether Dom0 can lose a page of its own."""
    return page >= dom0_pages // 2


class Healing:
    """What the host can go on without."""

    def __init__(self, core: Core, life: Life, accesses: Accesses) -> None:
        self._core = core
        self._life = life
        self._accesses = accesses

    def heal(self, frames: tuple[Frame, ...], cpu: CpuId | None, *, dom0: bool) -> Result:
        """Gives up the frames and the CPU, all or nothing. FAILED if one of them cannot be done without."""
        reasons = [why for frame in frames if (why := self._why_not(frame)) is not None]
        if cpu is not None and (why := self._why_not_cpu(cpu)) is not None:
            reasons.append(why)
        if not frames and cpu is None:
            reasons.append("neither a page nor a CPU is named")
        if reasons:
            return Result(Status.FAILED, "; ".join(reasons))
        for frame in frames:
            self._give_up(frame)
        if cpu is not None:
            self.offline_cpu(cpu)
        if dom0:
            self._accesses.treated(self._life.dom0)
        return Result(Status.DONE, "the host goes on without it")

    def offline_cpu(self, cpu: CpuId) -> Result:
        """Takes a CPU out of use: never CPU 0, never the last one."""
        if (why := self._why_not_cpu(cpu)) is not None:
            return Result(Status.REFUSED, why)
        if cpu not in self._life.scheduler.online:
            return Result(Status.DONE, "it is offline already")
        self._life.scheduler.take_offline(cpu)
        self._take_down(cpu)
        return Result(Status.DONE)

    def online_cpu(self, cpu: CpuId) -> Result:
        """Puts a CPU back into use."""
        if cpu not in self._core.machine.settings.topology.cpus:
            return Result(Status.REFUSED, f"there is no CPU {cpu}")
        if cpu in self._life.scheduler.online:
            return Result(Status.DONE, "it is online already")
        self._core.machine.online(cpu)
        self._life.scheduler.take_online(cpu)
        return Result(Status.DONE)

    def _take_down(self, cpu: CpuId) -> None:
        """A CPU that is in the machine-check handler goes offline as soon as it has left it."""
        if self._core.machine.cpu_state(cpu) is CpuState.IN_MACHINE_CHECK:
            self._core.after_ns(0, lambda: self._take_down(cpu))
        else:
            self._core.machine.offline(cpu)

    def _why_not_cpu(self, cpu: CpuId) -> str | None:
        if cpu == 0:
            return "CPU 0 cannot go offline"
        if cpu not in self._core.machine.settings.topology.cpus:
            return f"there is no CPU {cpu}"
        if self._life.scheduler.online == (cpu,):
            return "it is the last CPU"
        return None

    def _why_not(self, frame: Frame) -> str | None:
        if not self._life.frames.is_memory(frame):
            return f"there is no memory at frame {frame:#x}"
        owner = self._life.frames.owner(frame)
        if owner is None or owner.holder is Holder.SHARED:
            return None
        match owner.holder:
            case Holder.XEN_FIXED:
                return f"frame {frame:#x} is of the hypervisor's image"
            case Holder.XEN_HEAP if not self._life.xen.reclaimable(frame):
                return f"the hypervisor cannot give up frame {frame:#x} of its heap"
            case Holder.DOMAIN if owner.domain == DOM0 and owner.guest_frame is not None:
                if not is_expendable(owner.guest_frame, self._life.dom0.memory_pages):
                    return f"frame {frame:#x} is of Dom0's kernel"
        return None

    def _give_up(self, frame: Frame) -> None:
        owner = self._life.frames.owner(frame)
        self._life.frames.offline(frame, broken=True, crash_again=False)
        left = self._life.mappings.isolate(frame) or ()
        self._core.tell(MappingsChanged(self._core.now_ns, frame, left))
        if owner is not None and owner.holder is Holder.XEN_HEAP:
            self._life.frames.release(frame)
        elif owner is not None and owner.domain == DOM0 and owner.guest_frame is not None:
            self._life.balloon_out(self._life.dom0, owner.guest_frame)
