"""On which register bits a reading's words depend: records that agree in them differ in numbers only.

A log of many records holds few kinds. Records of one kind have equal readings but for the
numbers that ``BankReading.placed`` and ``Address.mask`` declare, so a kind is decoded once. The laws are tested against
the decoders: flipping any other bit changes nothing but those numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ringfence.arch import mci_misc
from ringfence.arch.cpuid import Vendor, processor
from ringfence.arch.mci_status import CORRECTED_COUNT, MCACOD
from ringfence.arch.smca_registers import SYNDROME
from ringfence.decode.intel.bank import DRAM_LOCATION, misc_bits_read_by
from ringfence.decode.intel.models import model_of

ALL_BITS = (1 << 64) - 1
_MISC_FORM = mci_misc.ADDRESS_LSB.mask | mci_misc.ADDRESS_MODE.mask
_STICKY_OVERFLOW = 1 << CORRECTED_COUNT.high
_COUNT_BITS = CORRECTED_COUNT.mask & ~_STICKY_OVERFLOW
_IO_CODE, _IO_CODE_MASK = 0x0E0B, 0xEFFF
_PLACED = 1 << 9
"""Stands for "some location bit is set" in what ``significant_misc`` gives; MCi_MISC[9] is a location bit itself."""
_COUNTER = mci_misc.MISC_VALID.mask | mci_misc.COUNTER_PRESENT.mask


@dataclass(frozen=True, slots=True)
class Significance:
    """Masks of the bits that matter in MCi_STATUS, MCi_MISC and MCA_SYND."""

    status: int
    misc: int
    synd: int
    amd: bool


@lru_cache(maxsize=4096)
def significance(vendor: Vendor, cpuid: int, bank: int) -> Significance:
    """The bits that matter in one bank of a processor."""
    if vendor in {Vendor.AMD, Vendor.HYGON}:
        return Significance(ALL_BITS, ALL_BITS, ALL_BITS & ~SYNDROME.mask, amd=True)
    if vendor is not Vendor.INTEL:
        return Significance(ALL_BITS, ALL_BITS, ALL_BITS, amd=False)
    model = model_of(processor(vendor, cpuid))
    row = model.banks.get(bank)
    readers = (*(row.readers if row is not None else ()), *model.anywhere)
    return Significance(ALL_BITS & ~_COUNT_BITS, _MISC_FORM | misc_bits_read_by(readers), ALL_BITS, amd=False)


# The functions below take numbers or numpy arrays of them (unsigned, 64 bits).


def status_class(status: Any) -> Any:
    """What of Intel's corrected-error count changes words: whether it is zero, or all ones."""
    count = (status & _COUNT_BITS) >> CORRECTED_COUNT.low
    return (count == 0) * 1 + (count == _COUNT_BITS >> CORRECTED_COUNT.low) * 2


def significant_misc(status: Any, misc: Any, mask: Any, amd: Any) -> Any:
    """MCi_MISC without the bits that do not matter beside this status.

    Of those that only make up numbers it still matters whether any location bit is set: if none is, there is no place.
    """
    io_error = (status & MCACOD.mask & _IO_CODE_MASK) == _IO_CODE
    matters = mask + (io_error & (amd ^ True)) * (ALL_BITS - mask)
    numbers = (ALL_BITS - matters) & DRAM_LOCATION
    intel = misc & matters | ((misc & numbers) != 0) * (numbers & _PLACED)
    counts = amd & ((misc & _COUNTER) == _COUNTER)
    return intel ^ counts * (misc & mci_misc.ERROR_COUNT.mask)


def address_class(addr: Any) -> Any:
    """What of MCi_ADDR changes words: the bits above 51, and whether it lies in the holes below 4 GiB or an alias.

    The holes are FC000000h (AMD) and FEC00000h (Intel) to FFFFFFFFh; 00FD_F7xx_xxxxh is family 15h's CC6 alias.
    """
    low = addr & ((1 << 52) - 1)
    below_4g = low < 1 << 32
    hole = (below_4g & (low >= 0xFC000000)) * 1 + (below_4g & (low >= 0xFEC00000)) * 1
    alias = ((addr >> 24 & 0xFFFFFF) == 0x00FDF7) * 4
    return (addr >> 52 << 4) + hole + alias
