"""The machine-check MSRs as one logical CPU sees them: its global registers, and the banks it can reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from ringfence.arch import mcg, msrs
from ringfence.hypervisor.model.banks import WORD, Bank, GeneralProtection, RefusedError, Scheme, Slot

_LEGACY: Final[Mapping[int, Slot]] = {
    msrs.Legacy.CTL: Slot.CTL,
    msrs.Legacy.STATUS: Slot.STATUS,
    msrs.Legacy.ADDR: Slot.ADDR,
    msrs.Legacy.MISC: Slot.MISC,
}
_SMCA: Final[Mapping[int, Slot]] = {
    msrs.Smca.CTL: Slot.CTL,
    msrs.Smca.STATUS: Slot.STATUS,
    msrs.Smca.ADDR: Slot.ADDR,
    msrs.Smca.MISC0: Slot.MISC,
    msrs.Smca.CONFIG: Slot.CONFIG,
    msrs.Smca.IPID: Slot.IPID,
    msrs.Smca.SYND: Slot.SYND,
    msrs.Smca.DESTAT: Slot.DESTAT,
    msrs.Smca.DEADDR: Slot.DEADDR,
}


@dataclass(frozen=True, slots=True)
class BankRegister:
    """Which register of which bank an MSR number names."""

    bank: int
    slot: Slot


@lru_cache(maxsize=4096)
def bank_register(msr: int, scheme: Scheme, *, cmci_p: bool = False) -> BankRegister | None:
    """What an MSR number names on processors of a scheme, None if it is no bank's register."""
    if msrs.MC0_CTL <= msr < msrs.MC0_CTL + msrs.MC_STRIDE * msrs.MC_BANKS:
        bank, offset = divmod(msr - msrs.MC0_CTL, msrs.MC_STRIDE)
        return BankRegister(bank, _LEGACY[offset])
    if scheme is Scheme.INTEL and cmci_p and msrs.MC0_CTL2 <= msr < msrs.MC0_CTL2 + msrs.MC_BANKS:
        return BankRegister(msr - msrs.MC0_CTL2, Slot.CTL2)
    if scheme is Scheme.SMCA and 0 <= msr - msrs.SMCA_BANK0 < msrs.SMCA_STRIDE * msrs.SMCA_BANKS:
        bank, offset = divmod(msr - msrs.SMCA_BANK0, msrs.SMCA_STRIDE)
        return BankRegister(bank, _SMCA[offset]) if offset in _SMCA else None
    return None


_Place = tuple[Bank | None, Slot]
"""A bank, None for one that is not there or another CPU's, and which of its registers."""


class RegisterFile:
    """What RDMSR and WRMSR do on one logical CPU.

    ``banks`` are those that it reaches, by number, many of them shared with other CPUs. A number below MCG_CAP.COUNT
    that is missing there reads as zero and ignores writes: it is another CPU's (AMD's node banks answer to the first
    CPU of a node alone: PPR 55898, "MCA Banks"), or reserved.
    """

    def __init__(self, *, scheme: Scheme, mcg_cap: int, banks: Mapping[int, Bank]) -> None:
        self.scheme = scheme
        self.mcg_cap = mcg_cap
        self.banks = banks
        self.mcg_status = 0
        self.mcg_ctl = 0
        self.mcg_ext_ctl = 0
        self.hwcr = 0
        self._places: dict[int, _Place] = {}
        """Of the numbers that were asked for."""

    @property
    def lmce_enabled(self) -> bool:
        """Whether local machine checks are on (SDM vol. 3B 17.3.1.5; IA32_FEATURE_CONTROL is taken as set up)."""
        return bool(mcg.LMCE_P.of(self.mcg_cap) and mcg.LMCE_EN.of(self.mcg_ext_ctl))

    def rdmsr(self, msr: int) -> int:
        """The value of an MSR. Raises GeneralProtection if it is not there."""
        if (place := self._places.get(msr)) is not None:
            bank, slot = place
            return 0 if bank is None else bank.read(slot)
        match msr:
            case msrs.MCG_CAP:
                return self.mcg_cap
            case msrs.MCG_STATUS:
                return self.mcg_status
            case msrs.MCG_CTL if mcg.CTL_P.of(self.mcg_cap):
                return self.mcg_ctl
            case msrs.MCG_EXT_CTL if mcg.LMCE_P.of(self.mcg_cap):
                return self.mcg_ext_ctl
            case msrs.HWCR if self.scheme is not Scheme.INTEL:
                return self.hwcr
        bank, slot = self._place(msr)
        return 0 if bank is None else bank.read(slot)

    def wrmsr(self, msr: int, value: int) -> None:
        """Writes an MSR. Raises GeneralProtection for one that is not there, is read-only or refuses the value."""
        if value & ~WORD:
            raise ValueError(f"an MSR has 64 bits, not {value:#x}")
        match msr:
            case msrs.MCG_STATUS:
                self._no_more_than(mcg.MCG_STATUS.declared_mask, msr, value)
                self.mcg_status = value
            case msrs.MCG_CTL if mcg.CTL_P.of(self.mcg_cap):
                self.mcg_ctl = value
            case msrs.MCG_EXT_CTL if mcg.LMCE_P.of(self.mcg_cap):
                self._no_more_than(mcg.MCG_EXT_CTL.declared_mask, msr, value)
                self.mcg_ext_ctl = value
            case msrs.HWCR if self.scheme is not Scheme.INTEL:
                self.hwcr = value
            case msrs.MCG_CAP:
                raise GeneralProtection("MCG_CAP is read-only", msr=msr)
            case _:
                self._write_bank(msr, value)

    def _write_bank(self, msr: int, value: int) -> None:
        bank, slot = self._place(msr)
        if bank is None:
            return
        try:
            bank.write(slot, value, any_value=bool(self.hwcr & msrs.HWCR_MC_STATUS_WR_EN))
        except RefusedError as refused:
            raise GeneralProtection(f"MSR {msr:#x} does not take {value:#x}: {refused}", msr=msr) from None

    def _place(self, msr: int) -> _Place:
        known = self._places.get(msr)
        if known is not None:
            return known
        named = bank_register(msr, self.scheme, cmci_p=bool(mcg.CMCI_P.of(self.mcg_cap)))
        if named is None or named.bank >= mcg.COUNT.of(self.mcg_cap):
            raise GeneralProtection(f"there is no MSR {msr:#x}", msr=msr)
        place = self._places[msr] = self.banks.get(named.bank), named.slot
        return place

    @staticmethod
    def _no_more_than(mask: int, msr: int, value: int) -> None:
        if value & ~mask:
            raise GeneralProtection(f"MSR {msr:#x} has reserved bits that {value:#x} sets", msr=msr)

    def reset(self) -> None:
        """A reset, warm or cold, as far as this CPU's own registers go: software has to set up everything anew."""
        self.mcg_status = self.mcg_ctl = self.mcg_ext_ctl = self.hwcr = 0
