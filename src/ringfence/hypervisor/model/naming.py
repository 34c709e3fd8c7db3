"""Which machine frame a bank's error is in, and what became of that frame: recovery entries of the telemetry.

Xen names the frame in a recovery entry only, as it overwrites MCi_ADDR. The concept's hypervisor leaves MCi_ADDR alone,
and also names the frame where the bank cannot: an AMD memory controller logs an address within its own channel, which
the hypervisor turns into a system address as Linux's AMD address translation library does.
"""

from __future__ import annotations

from typing import Final

from ringfence.arch import mci_status
from ringfence.hypervisor.model.banks import Scheme
from ringfence.hypervisor.model.frames import Pg
from ringfence.hypervisor.model.life import Life
from ringfence.hypervisor.model.logout import fitted
from ringfence.hypervisor.model.machine import Machine
from ringfence.hypervisor.model.templates import Kind
from ringfence.hypervisor.telemetry import frames_named
from ringfence.record.binary.xen_mc_info import McInfo, McInfoBank, McInfoGlobal, McInfoRecovery
from ringfence.record.evidence import Record
from ringfence.world.identities import PAGE_SHIFT, Frame, SocketId

_ADDRESS: Final = (1 << 56) - 1
"""MCA_ADDR[61:56] is AddrLsb where it does not stand in MCA_STATUS (PPR 55898, MCA_ADDR)."""

NOT_TRIED: Final = Pg.INVALID
"""Status of a recovery entry that only names the frame."""


class Naming:
    """Names the frames of one machine's errors."""

    def __init__(self, machine: Machine, life: Life) -> None:
        self._map = machine.memory_map
        self._life = life
        platform = machine.settings.platform
        template = platform.templates.get(Kind.READ_CORRECTED)
        is_normalised = platform.scheme is Scheme.SMCA and template is not None
        self._controllers = template.banks if is_normalised and template is not None else ()

    def with_frame(self, info: McInfo) -> McInfo:
        """The info with the frame that a memory controller's normalised address stands for."""
        common = next((entry for entry in info.entries if isinstance(entry, McInfoGlobal)), None)
        bank = next((entry for entry in info.entries if isinstance(entry, McInfoBank)), None)
        if common is None or bank is None or bank.bank not in self._controllers:
            return info
        if not mci_status.ADDRV.of(bank.status) or mci_status.PADDRV.of(bank.status):
            return info
        channel = self._controllers.index(bank.bank)
        try:
            addr = self._map.of_normalised(SocketId(common.socketid), channel, bank.addr & _ADDRESS)
        except ValueError:
            return info
        named = McInfoRecovery.page_offline(bank=bank.bank, mfn=addr >> PAGE_SHIFT, status=NOT_TRIED)
        return fitted(info, named)

    def with_outcome(self, info: McInfo, record: Record) -> McInfo:
        """The info with what became of the frame, if it is out of use, or will be."""
        frame = next(iter(frames_named(record)), None)
        bank = record.bank
        if frame is None or bank is None:
            return info
        frames = self._life.frames
        if not (frames.is_offline(frame) or frames.is_pending(frame)):
            return info
        done = frames.offline(frame, broken=frames.is_broken(frame), crash_again=False)
        kept = tuple(entry for entry in info.entries if not isinstance(entry, McInfoRecovery))
        outcome = McInfoRecovery.page_offline(bank=bank, mfn=frame, status=done.status)
        return fitted(McInfo(entries=kept, incomplete=info.incomplete), outcome)


def owner_number(life: Life, frame: Frame) -> int | None:
    """The domain that has a frame, for bank entries."""
    owner = life.frames.owner(frame)
    return None if owner is None else owner.domain
