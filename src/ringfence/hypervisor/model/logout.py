"""Reading the banks of a CPU, as a hypervisor's handler does: what is valid, what is cleared, and the telemetry of it.

Which banks are cleared: Xen xen/arch/x86/cpu/mcheck/mce_intel.c (intel_need_clearbank_scan) and mce_amd.c
(amd_need_clearbank_scan); what goes into the telemetry: mce.c (mca_init_bank, mca_init_global). An error that ends the
machine stays in its bank, so that it is found after the reset.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from ringfence.arch import mcg, mci_misc, mci_status, msrs
from ringfence.arch.mci_status import ADDRV, AR, EN, MISCV, OVER, PCC, UC, VAL, S
from ringfence.hypervisor.model.banks import COUNTER_FULL, Scheme
from ringfence.hypervisor.model.machine import Machine
from ringfence.hypervisor.telemetry import DOMID_IDLE
from ringfence.record.binary.xen_mc_info import (
    DATA_BYTES,
    DOMID_INVALID,
    VCPUID_INVALID,
    McFlag,
    McInfo,
    McInfoBank,
    McInfoExtended,
    McInfoGlobal,
    McInfoRecovery,
)
from ringfence.world.identities import PAGE_SHIFT, CpuId, Frame
from ringfence.world.situation import Running

THRESHOLD: Final = 1
"""After so many corrected errors a bank raises its interrupt."""


class Source(Enum):
    """Why the banks are read."""

    MACHINE_CHECK = auto()
    INTERRUPT = auto()
    POLL = auto()
    RESET = auto()
    """At boot: what stands in the banks is of an earlier boot."""


_FLAGS: Final = {
    Source.MACHINE_CHECK: McFlag.MCE,
    Source.INTERRUPT: McFlag.CMCI,
    Source.POLL: McFlag.POLLED,
    Source.RESET: McFlag.POLLED,
}


@dataclass(frozen=True, slots=True)
class Logged:
    """One valid bank: its entry, and what else of it goes into an extended entry (Scalable MCA)."""

    bank: McInfoBank
    extended: tuple[tuple[int, int], ...]


class BankReader:
    """Reads the banks of one machine. ``owner_of`` tells whose a frame is, for the bank entries.

    ``as_xen``: with Xen's own rules of what is cleared, and a time stamp in the entries of CMCI alone; else every entry
    has one.
    """

    def __init__(self, machine: Machine, owner_of: Callable[[Frame], int | None], *, as_xen: bool) -> None:
        self._machine = machine
        self._as_xen = as_xen
        self._owner_of = owner_of
        self._platform = machine.settings.platform
        self._is_smca = self._platform.scheme is Scheme.SMCA
        banks = range(mcg.COUNT.of(self._platform.mcg_cap))
        self._statuses = [self._first_msr(bank) + msrs.Smca.STATUS for bank in banks]

    def scan(self, cpu: CpuId, source: Source, *, extended: bool = True, signalled: bool = True) -> tuple[Logged, ...]:
        """All valid banks of a CPU; those that may be cleared are, so a shared bank is reported by one CPU alone.

        Without ``signalled``, what a #MC tells of is left to its handler: another thread of the core must not take it
        away from under the one that was hit (Linux arch/x86/kernel/cpu/mce/core.c, machine_check_poll).
        """
        found: list[Logged] = []
        rdmsr = self._machine.reading(cpu)
        for bank, msr in enumerate(self._statuses):
            status = rdmsr(msr)
            if status & VAL.mask and (signalled or not self._is_signalled(status)):
                found.append(self._log(cpu, bank, status, source, extended=extended))
                if self._may_clear(status, source):
                    self._clear(cpu, bank)
            if self._is_smca and (deferred := self._deferred(cpu, bank, status, source, extended=extended)):
                found.append(deferred)
        return tuple(found)

    def mcg_status(self, cpu: CpuId) -> int:
        """MCG_STATUS of a CPU."""
        return self._machine.rdmsr(cpu, msrs.MCG_STATUS)

    # --- the telemetry -------------------------------------------------------------------------------------------

    def info(self, cpu: CpuId, source: Source, running: Running, logged: tuple[Logged, ...]) -> McInfo:
        """The ``mc_info`` of a CPU's banks; entries that do not fit are left out, and it is marked as incomplete."""
        place = self._machine.settings.topology.place(cpu)
        common = McInfoGlobal(
            domid=DOMID_IDLE if running.domain is None else running.domain,
            vcpuid=VCPUID_INVALID if running.vcpu is None else running.vcpu,
            socketid=place.socket,
            coreid=place.core,
            core_threadid=place.thread,
            apicid=place.apicid,
            flags=_FLAGS[source] | _worst(logged),
            gstatus=self.mcg_status(cpu),
        )
        info = McInfo(entries=(common,))
        for each in logged:
            info = fitted(info, each.bank)
            if each.extended:
                info = fitted(info, McInfoExtended(msrs=each.extended))
        return info

    # --- within --------------------------------------------------------------------------------------------------

    def _log(self, cpu: CpuId, bank: int, status: int, source: Source, *, extended: bool) -> Logged:
        addr = self._read(cpu, bank, msrs.Smca.ADDR) if ADDRV.of(status) else 0
        misc = self._read(cpu, bank, msrs.Smca.MISC0) if MISCV.of(status) else 0
        asynchronous = source is Source.INTERRUPT
        has_ctl2 = asynchronous and bool(mcg.CMCI_P.of(self._platform.mcg_cap))
        entry = McInfoBank(
            bank=bank,
            domid=self._owner(status, addr, misc),
            status=status,
            addr=addr,
            misc=misc,
            ctrl2=self._machine.rdmsr(cpu, msrs.MC0_CTL2 + bank) if has_ctl2 else 0,
            tsc=self._machine.tsc() if asynchronous or not self._as_xen else 0,
        )
        return Logged(entry, self._extended(cpu, bank) if extended and self._is_smca else ())

    def _deferred(self, cpu: CpuId, bank: int, status: int, source: Source, *, extended: bool) -> Logged | None:
        """What MCA_DESTAT holds beside MCA_STATUS; a copy of what was just reported is only cleared."""
        base = msrs.SMCA_BANK0 + msrs.SMCA_STRIDE * bank
        destat = self._machine.rdmsr(cpu, base + msrs.Smca.DESTAT)
        if not VAL.of(destat):
            return None
        addr = self._machine.rdmsr(cpu, base + msrs.Smca.DEADDR)
        msr_pairs = self._extended(cpu, bank) if extended else ()
        self._machine.wrmsr(cpu, base + msrs.Smca.DESTAT, 0)
        if VAL.of(status) and mci_status.DEFERRED.of(status):
            return None
        asynchronous = source is Source.INTERRUPT
        entry = McInfoBank(
            bank=bank,
            domid=self._owner(destat, addr, 0),
            status=destat,
            addr=addr if ADDRV.of(destat) else 0,
            tsc=self._machine.tsc() if asynchronous or not self._as_xen else 0,
        )
        return Logged(entry, msr_pairs)

    def _extended(self, cpu: CpuId, bank: int) -> tuple[tuple[int, int], ...]:
        base = msrs.SMCA_BANK0 + msrs.SMCA_STRIDE * bank
        wanted = (msrs.Smca.CONFIG, msrs.Smca.IPID, msrs.Smca.SYND, msrs.Smca.DESTAT, msrs.Smca.DEADDR)
        return tuple((base + each, self._machine.rdmsr(cpu, base + each)) for each in wanted)

    def _owner(self, status: int, addr: int, misc: int) -> int:
        """Whose page the address names, as far as the registers alone say that it is a physical one."""
        physical = ADDRV.of(status) and MISCV.of(status)
        physical = physical and mci_misc.ADDRESS_MODE.of(misc) == mci_misc.AddressMode.PHYSICAL
        if not physical or self._platform.scheme is not Scheme.INTEL:
            return DOMID_INVALID
        owner = self._owner_of(Frame(addr >> PAGE_SHIFT))
        return DOMID_INVALID if owner is None else owner

    def _is_signalled(self, status: int) -> bool:
        """Whether a #MC tells of what a bank holds (SDM vol. 3B 17.6.3; APM vol. 2 9.3.2)."""
        return bool(UC.of(status) and EN.of(status) and (S.of(status) or not self._platform.ser_p))

    def _is_left_to_machine_check(self, status: int, source: Source) -> bool:
        """Whether a bank is not for this reader: a #MC has been raised for it, whose handler will look.

        As Linux does (mce/core.c, machine_check_poll); Xen's CMCI handler reports it, too, without clearing it.
        """
        if self._as_xen or source not in {Source.INTERRUPT, Source.POLL}:
            return False
        return bool(UC.of(status) and (PCC.of(status) or not self._platform.ser_p or S.of(status)))

    def _may_clear(self, status: int, source: Source) -> bool:
        match source:
            case Source.RESET:
                return True
            case Source.MACHINE_CHECK:
                return self._may_clear_after_machine_check(status)
            case Source.INTERRUPT if self._as_xen and self._platform.scheme is Scheme.INTEL:
                over, enabled = OVER.of(status), EN.of(status)
                signalled = PCC.of(status) or S.of(status) or AR.of(status)
                return not UC.of(status) or (self._platform.ser_p and not over and (not enabled or not signalled))
            case Source.INTERRUPT | Source.POLL:
                return True

    def _may_clear_after_machine_check(self, status: int) -> bool:
        if not UC.of(status):
            return self._platform.scheme is not Scheme.INTEL or not self._as_xen
        if PCC.of(status):
            return False
        if self._platform.scheme is not Scheme.INTEL:
            return True
        if not self._platform.ser_p:
            return False
        if not EN.of(status):
            return not OVER.of(status)
        return bool(S.of(status)) and not (AR.of(status) and OVER.of(status))

    def _clear(self, cpu: CpuId, bank: int) -> None:
        self._machine.wrmsr(cpu, self._first_msr(bank) + msrs.Smca.STATUS, 0)
        if self._platform.scheme is Scheme.INTEL:
            return
        misc = self._first_msr(bank) + msrs.Smca.MISC0
        held = self._machine.rdmsr(cpu, misc)
        if mci_misc.COUNTER_PRESENT.of(held) and mci_misc.COUNTER_OVERFLOW.of(held):
            # The counter stands at its end: it has to be preset again, or no further interrupt comes.
            kept = held & ~(mci_misc.COUNTER_OVERFLOW.mask | mci_misc.ERROR_COUNT.mask)
            self._machine.wrmsr(cpu, misc, kept | mci_misc.ERROR_COUNT.put(COUNTER_FULL - THRESHOLD))

    def _read(self, cpu: CpuId, bank: int, register: msrs.Smca) -> int:
        """STATUS, ADDR or MISC of a bank: the first registers have the same order in every scheme."""
        return self._machine.rdmsr(cpu, self._first_msr(bank) + register)

    def _first_msr(self, bank: int) -> int:
        if self._is_smca:
            return msrs.SMCA_BANK0 + msrs.SMCA_STRIDE * bank
        return msrs.MC0_CTL + msrs.MC_STRIDE * bank


def fitted(info: McInfo, entry: McInfoBank | McInfoExtended | McInfoRecovery) -> McInfo:
    """The info with one more entry, or marked as incomplete if there is no room for it."""
    entries = (*info.entries, entry)
    if McInfo(entries=entries).data_bytes > DATA_BYTES:
        return McInfo(entries=info.entries, incomplete=True)
    return McInfo(entries=entries, incomplete=info.incomplete)


def _worst(logged: tuple[Logged, ...]) -> McFlag:
    """PCC anywhere: UNCORRECTABLE; else UC anywhere: RECOVERABLE; else CORRECTABLE (mcheck_mca_logout)."""
    if any(PCC.of(each.bank.status) for each in logged):
        return McFlag.UNCORRECTABLE
    return McFlag.RECOVERABLE if any(UC.of(each.bank.status) for each in logged) else McFlag.CORRECTABLE
