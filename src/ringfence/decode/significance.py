"""On which register bits a reading depends: records that agree in them differ in words and numbers only.

A log of many records holds few kinds. Records of one kind have equal readings but for the numbers that
``BankReading.placed`` and ``Address`` (``mask``, ``lsb``) declare, and for ``BankReading.wording``, which ``Words``
gives. So a kind is decoded once. The laws are tested against the decoders: flipping any other bit changes nothing else.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from ringfence.arch import mci_misc, mci_status, smca_registers
from ringfence.arch.cpuid import Signature, Vendor, is_smca, processor
from ringfence.arch.mci_status import CORRECTED_COUNT, MCACOD, MISCV, MSCOD, UC
from ringfence.decode.amd import smca
from ringfence.decode.amd.smca_address import has_stacked_memory, lsb_in_status
from ringfence.decode.intel import reading as intel
from ringfence.decode.intel.bank import DRAM_LOCATION, Logged, Reader, Reads, reads
from ringfence.decode.intel.codes import classify
from ringfence.decode.intel.known_issues import THERMAL_BANK
from ringfence.decode.intel.models import model_of
from ringfence.decode.meaning import Wording
from ringfence.record.evidence import Registers

ALL_BITS: Final = (1 << 64) - 1
_MISC_FORM: Final = mci_misc.ADDRESS_LSB.mask | mci_misc.ADDRESS_MODE.mask
_STICKY_OVERFLOW: Final = 1 << CORRECTED_COUNT.high
_COUNT_BITS: Final = CORRECTED_COUNT.mask & ~_STICKY_OVERFLOW
_IO_CODE, _IO_CODE_MASK = 0x0E0B, 0xEFFF
_PLACED: Final = 1 << 9
"""Stands for "some location bit is set" in what ``significant_misc`` gives; MCi_MISC[9] is a location bit itself."""
_COUNTER_BITS: Final = (
    mci_misc.MISC_VALID.mask
    | mci_misc.COUNTER_PRESENT.mask
    | mci_misc.LOCKED.mask
    | mci_misc.COUNTER_ENABLE.mask
    | mci_misc.INT_TYPE.mask
    | mci_misc.COUNTER_OVERFLOW.mask
)
_VIRTUAL_MISC: Final = 0x8C
"""The MCi_MISC by which QEMU's records are known (``decode.amd.virtual``)."""


@dataclass(frozen=True, slots=True)
class IntelWords:
    """How the words of an Intel bank follow from its registers: by the readers of its model-specific part."""

    readers: tuple[Reader, ...]

    @property
    def looks(self) -> Reads:
        """What the readers look at."""
        return reads(self.readers)

    @property
    def status(self) -> int:
        """The bits of MCi_STATUS on which the words depend, the MCA error code aside. MSCOD, unnamed, is a word."""
        return self.looks.status | MSCOD.mask | UC.mask | (MISCV.mask if self.looks.misc else 0)

    @property
    def misc(self) -> int:
        """The same of MCi_MISC; if there are any, ``significant_misc`` adds whether any location bit is set."""
        return self.looks.misc

    synd = 0

    @property
    def refines(self) -> bool:
        """Whether any words refine the error; the others are details."""
        return self.looks.refines

    def code(self, code: int) -> Hashable:
        """What of MCi_STATUS[15:0] the words depend on."""
        return tuple(of(classify(code)) for of in self.looks.code)

    def of(self, bank: int, status: int, misc: int | None, _synd: int | None, _ipid: int | None) -> Wording:
        """The words; ``misc`` and the others are None where the evidence lacks them."""
        logged = Logged(bank, status, misc if MISCV.of(status) else None, classify(MCACOD.of(status)))
        return intel.words(self.readers, logged)


@dataclass(frozen=True, slots=True)
class SmcaWords:
    """How the words of a Scalable MCA bank follow from its registers. They are details, and refine no error."""

    signature: Signature
    bank: int

    status = smca.WORD_BITS | mci_status.XEC.mask
    misc = 0
    refines = False
    synd = smca_registers.ERROR_INFORMATION.mask | smca_registers.ERROR_PRIORITY.mask

    def code(self, _code: int) -> Hashable:
        """Nothing of MCA_STATUS[15:0]."""
        return ()

    def of(self, bank: int, status: int, _misc: int | None, synd: int | None, ipid: int | None) -> Wording:
        """The words; ``synd`` and ``ipid`` are None where the evidence lacks them."""
        return smca.words(bank, self.signature, status, synd, ipid)


Words = IntelWords | SmcaWords


@dataclass(frozen=True, slots=True, kw_only=True)
class Significance:
    """Masks of the bits that matter in MCi_STATUS, MCi_MISC, MCA_SYND and MCi_ADDR.

    ``words`` gives the words that the other bits choose; None: there are none. ``lsb_in_status``: MCA_STATUS tells the
    lowest valid bit of the address.
    """

    status: int = ALL_BITS
    misc: int = ALL_BITS
    synd: int = ALL_BITS
    addr: int = 0
    amd: bool = False
    lsb_in_status: bool = False
    words: Words | None = None


@lru_cache(maxsize=4096)
def significance(vendor: Vendor, cpuid: int, bank: int) -> Significance:
    """The bits that matter in one bank of a processor."""
    known = processor(vendor, cpuid)
    if vendor in {Vendor.AMD, Vendor.HYGON}:
        return _amd(known.signature, bank)
    if vendor is not Vendor.INTEL or bank >= THERMAL_BANK:
        return Significance()
    model = model_of(known)
    readers = intel.readers_of(model, model.banks.get(bank))
    looks = reads(readers)
    misc = _MISC_FORM | looks.placing_misc
    if looks.anything:
        return Significance(misc=misc | looks.misc)
    return Significance(status=ALL_BITS & ~_COUNT_BITS & ~MSCOD.mask, misc=misc, words=IntelWords(readers))


def _amd(signature: Signature, bank: int) -> Significance:
    if not is_smca(signature):
        return Significance(synd=ALL_BITS & ~smca_registers.SYNDROME.mask, amd=True)
    stacked = has_stacked_memory(signature)
    return Significance(
        # With stacked memory the address is a place, of which no number is declared.
        status=ALL_BITS & ~mci_status.ERR_CORE_ID.mask & ~(0 if stacked else mci_status.ADDR_LSB.mask),
        misc=_COUNTER_BITS,
        synd=0,
        addr=ALL_BITS if stacked else 0,
        amd=True,
        lsb_in_status=bool(lsb_in_status(Registers(), signature)[0]),
        words=SmcaWords(signature, bank),
    )


_ANY_ADDRESS: Final = 1 << 32
"""A plain address: in none of the holes below 4 GiB, and no alias (``address_class``)."""
_ABOVE: Final = ALL_BITS ^ ((1 << 52) - 1)


def standing_address(vendor: Vendor, cpuid: int, bank: int, status: int, addr: int) -> int:
    """An address that stands for all in whose place it is read alike, but for ``Address.value``."""
    matters = significance(vendor, cpuid, bank)
    if matters.addr or not addr:
        return addr
    stands = addr & _ABOVE | _ANY_ADDRESS
    one, other = (address_class(valid_address(each, status, matters.lsb_in_status)) for each in (addr, stands))
    return stands if one == other else addr


def standing_misc(vendor: Vendor, cpuid: int, bank: int, status: int, misc: int) -> int:
    """An MCi_MISC that stands for all in whose place it is read alike, but for what ``BankReading.placed`` declares."""
    matters = significance(vendor, cpuid, bank)
    if matters.amd or (status & MCACOD.mask & _IO_CODE_MASK) == _IO_CODE:
        return misc
    numbers = DRAM_LOCATION & ~matters.misc & ~(matters.words.misc if matters.words is not None else 0)
    # Whether there is a place at all still matters: one bit stands for any.
    return misc & ~numbers | numbers & -numbers if misc & numbers else misc


# The functions below take numbers or numpy arrays of them (unsigned, 64 bits).


def status_class(status: Any) -> Any:
    """What else of MCi_STATUS changes a finding, whatever its bits mean on the processor.

    Of Intel's corrected-error count, whether it is zero or all ones; of MSCOD, whether it is one of the values by which
    known issues and rules of severity are told (``decode.intel.known_issues``, ``diagnosis.severity_intel``), or zero.
    """
    count = (status & _COUNT_BITS) >> CORRECTED_COUNT.low
    mscod = (status & MSCOD.mask) >> MSCOD.low
    counts = (count == 0) * 1 + (count == _COUNT_BITS >> CORRECTED_COUNT.low) * 2
    return counts + (mscod == 0) * 4 + (mscod == 0x000F) * 8 + (mscod == 0x0010) * 16


@lru_cache(maxsize=1 << 16)
def place_class(words: IntelWords, mscod: int) -> int:
    """What of MSCOD decides where an error is placed: a number that is equal where that is."""
    return sum(int(of(mscod)) << at for at, of in enumerate(words.looks.place))


def significant_misc(status: Any, misc: Any, mask: Any, amd: Any) -> Any:
    """MCi_MISC without the bits that do not matter beside this status.

    Of those that only make up numbers it still matters whether any location bit is set: if none is, there is no place.
    """
    io_error = (status & MCACOD.mask & _IO_CODE_MASK) == _IO_CODE
    matters = mask + (io_error & (amd ^ True)) * (ALL_BITS - mask)
    numbers = (ALL_BITS - matters) & DRAM_LOCATION
    intel = misc & matters | (((misc & numbers) != 0) & (amd ^ True)) * (numbers & _PLACED)
    counts = amd & ((misc & _COUNTED) == _COUNTED)
    return intel ^ counts * (intel & mci_misc.ERROR_COUNT.mask)


_COUNTED: Final = mci_misc.MISC_VALID.mask | mci_misc.COUNTER_PRESENT.mask


def smca_class(misc: Any, synd: Any, addr: Any) -> Any:
    """What else of an AMD bank's registers tells a record that QEMU made up (``decode.amd.virtual``), and a syndrome's
    presence: its length, MCA_SYND[23:18], is not zero.
    """
    length = synd & smca_registers.SYNDROME_LENGTH.mask
    return (misc == 0) * 1 + (misc == _VIRTUAL_MISC) * 2 + (synd == 0) * 4 + (length == 0) * 8 + (addr == 0) * 16


def address_class(addr: Any) -> Any:
    """What of MCi_ADDR changes words: the bits above 51, and whether it lies in the holes below 4 GiB or an alias.

    The holes are FC000000h (AMD) and FEC00000h (Intel) to FFFFFFFFh; 00FD_F7xx_xxxxh is family 15h's CC6 alias.
    """
    low = addr & ((1 << 52) - 1)
    below_4g = low < 1 << 32
    hole = (below_4g & (low >= 0xFC000000)) * 1 + (below_4g & (low >= 0xFEC00000)) * 1
    alias = ((addr >> 24 & 0xFFFFFF) == 0x00FDF7) * 4
    return (addr >> 52 << 4) + hole + alias


def valid_address(addr: Any, status: Any, in_status: Any) -> Any:
    """MCi_ADDR without the bits that MCA_STATUS calls invalid, if it is there that the lowest valid one is told."""
    lsb = in_status * ((status & mci_status.ADDR_LSB.mask) >> mci_status.ADDR_LSB.low)
    return addr >> lsb << lsb
