"""Intel products: Cascade Lake and Ice Lake servers (SER_P, poison, LMCE), and Nehalem-EP (none of these).

Bank numbers and model-specific codes: SDM vol. 3B chapter 18 (06_55H, 06_6AH, 06_1AH) and vol. 4; architectural codes:
17.9. Which bank of several reports an error is the model's choice where no manual says it; what is logged has the form
of public logs where there are any (bd80000000100134h in bank 1, 9c00004001010091h in bank 7).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ringfence.arch import mci_misc
from ringfence.arch.cpuid import Signature, Vendor
from ringfence.arch.mcg import CMCI_P, COUNT, SER_P, TES_P
from ringfence.arch.mci_status import AR, MCACOD, MSCOD, PCC, UC, S
from ringfence.hypervisor.model.banks import Rules, Scheme
from ringfence.hypervisor.model.templates import (
    BankSpec,
    Kind,
    Meant,
    Platform,
    Scope,
    Sighting,
    Template,
    bits,
    physical,
)

_CODES = "SDM vol. 3B 17.9"
_LINE_LSB: Final = 6
_YELLOW_FROM: Final = 16
"""Corrected errors on a monitored cache from which its status is yellow: a number of the model's own."""

_READ, _SCRUB, _ANY_CHANNEL = 0x0090, 0x00C0, 0x008F
_DATA_LOAD, _INSTRUCTION_FETCH, _L3_WRITEBACK, _L3_GENERIC = 0x0134, 0x0150, 0x017A, 0x110A
_LINK, _INTERNAL_TIMER = 0x0E0F, 0x0400


def _code(mcacod: int, mscod: int = 0) -> int:
    return MCACOD.put(mcacod) | MSCOD.put(mscod)


def _line(_seen: Sighting) -> int:
    """MCi_MISC: a physical address, valid down to the line (SDM vol. 3B 17.3.2.4)."""
    return mci_misc.ADDRESS_MODE.put(mci_misc.AddressMode.PHYSICAL) | mci_misc.ADDRESS_LSB.put(_LINE_LSB)


def _icelake_misc(seen: Sighting) -> int:
    """MCi_MISC of an Ice Lake memory controller: the DRAM location (SDM vol. 3B chapter 18, 06_6AH)."""
    place = seen.place
    if place is None:
        return _line(seen)
    bank_group, bank = place.bank >> 2, place.bank & 3
    rank = place.slot << 2 | place.rank
    return (
        _line(seen)
        | (place.column * 8 >> 2) << 9
        | (place.row & 0x1F_FFFF) << 19
        | (bank_group & 3) << 40
        | bank << 42
        | seen.device << 46
        | rank << 56
        | 1 << 59  # ECC mode: SDDC
    )


def _nehalem_misc(seen: Sighting) -> int:
    """MC8_MISC: DIMM, channel and syndrome (SDM vol. 3B chapter 18, 06_1AH)."""
    slot, channel = (0, 0) if seen.place is None else (seen.place.slot, seen.place.channel)
    return slot << 16 | channel << 18 | seen.syndrome << 32


def _banks(mcg_cap: int, core_banks: range, cache_banks: frozenset[int]) -> dict[int, BankSpec]:
    rules = Rules(
        scheme=Scheme.INTEL,
        ser_p=bool(SER_P.of(mcg_cap)),
        tes_p=bool(TES_P.of(mcg_cap)),
        cmci_p=bool(CMCI_P.of(mcg_cap)),
    )
    return {
        bank: BankSpec(
            Scope.CORE if bank in core_banks else Scope.SOCKET,
            replace(rules, yellow_from=_YELLOW_FROM if bank in cache_banks else 0),
        )
        for bank in range(COUNT.of(mcg_cap))
    }


_RECOVERABLE: Final = bits(UC, S)
_FATAL: Final = bits(UC, PCC)

_CORE_TEMPLATES: Final = {
    Kind.DATA_LOAD: Template(
        banks=(1,),
        status=bits(UC, S, AR) | _code(_DATA_LOAD, 0x0010),
        addr=physical,
        misc=_line,
        meant=Meant.SRAR,
        cite=f"{_CODES}.3.2",
    ),
    Kind.INSTRUCTION_FETCH: Template(
        banks=(0,),
        status=bits(UC, S, AR) | _code(_INSTRUCTION_FETCH, 0x0010),
        addr=physical,
        misc=_line,
        meant=Meant.SRAR,
        cite=f"{_CODES}.3.2",
    ),
    Kind.CACHE_CORRECTED: Template(
        banks=(9,), status=_code(_L3_GENERIC), addr=physical, misc=_line, meant=Meant.CORRECTED, cite=f"{_CODES}.2"
    ),
    Kind.CACHE_WRITEBACK: Template(
        banks=(9,),
        status=_RECOVERABLE | _code(_L3_WRITEBACK),
        addr=physical,
        misc=_line,
        meant=Meant.SRAO,
        cite=f"{_CODES}.3.1",
    ),
    Kind.CACHE_UNCORRECTED: Template(
        banks=(9,), status=_FATAL | _code(_L3_GENERIC), meant=Meant.FATAL, cite=f"{_CODES}.2"
    ),
    Kind.LINK_CORRECTED: Template(
        banks=(5,), status=_code(_LINK, 0x30), meant=Meant.CORRECTED, cite="SDM vol. 3B chapter 18, UPI"
    ),
    Kind.LINK_UNCORRECTED: Template(
        banks=(5,), status=_FATAL | _code(_LINK, 0x10), meant=Meant.FATAL, cite="SDM vol. 3B chapter 18, UPI"
    ),
    Kind.CONTEXT_CORRUPT: Template(
        banks=(3,), status=_FATAL | _code(_INTERNAL_TIMER, 0x0080), meant=Meant.FATAL, cite=f"{_CODES}.1"
    ),
}

# --- Cascade Lake

_CLX_CAP: Final = 0xF00_0C14
_CLX_READ_BANKS: Final = (7, 7, 7, 8, 8, 8)
_CLX_SCRUB_BANKS: Final = (13, 14, 17, 15, 16, 18)
_CLX_CITE: Final = "SDM vol. 3B chapter 18, 06_55H: M2M and iMC"

_CLX_PATROL: Final = Template(
    banks=_CLX_SCRUB_BANKS,
    status=_RECOVERABLE | _code(_SCRUB, 0x0010),
    channel_modulus=3,
    addr=physical,
    misc=_line,
    meant=Meant.SRAO,
    cite=_CLX_CITE,
)

CASCADE_LAKE = Platform(
    name="cascade-lake",
    signature=Signature(Vendor.INTEL, 6, 0x55, 7),
    vendor_string="GenuineIntel",
    brand="Intel Xeon (Cascade Lake)",
    scheme=Scheme.INTEL,
    mcg_cap=_CLX_CAP,
    banks=_banks(_CLX_CAP, range(4), frozenset({9})),
    channels=6,
    templates=_CORE_TEMPLATES
    | {
        Kind.READ_CORRECTED: Template(
            banks=_CLX_READ_BANKS,
            status=_code(_READ, 0x0101),
            channel_modulus=3,
            addr=physical,
            misc=_line,
            meant=Meant.CORRECTED,
            cite=_CLX_CITE,
        ),
        Kind.READ_UNCORRECTED: Template(
            banks=_CLX_READ_BANKS,
            status=bits(UC) | _code(_READ, 0x0101),
            channel_modulus=3,
            addr=physical,
            misc=_line,
            meant=Meant.UCNA,
            cite=_CLX_CITE,
        ),
        Kind.SCRUB_CORRECTED: Template(
            banks=_CLX_SCRUB_BANKS,
            status=_code(_SCRUB, 0x0008),
            channel_modulus=3,
            addr=physical,
            misc=_line,
            meant=Meant.CORRECTED,
            cite=_CLX_CITE,
        ),
        Kind.SCRUB_UNCORRECTED: _CLX_PATROL,
        Kind.UNLOCATED: Template(
            banks=(13,), status=bits(UC) | _code(_ANY_CHANNEL, 0x0100), meant=Meant.UCNA, cite=_CLX_CITE
        ),
    },
    patrol_by_cmci=replace(_CLX_PATROL, status=bits(UC) | _code(_SCRUB, 0x0010)),
    patrol_as_corrected=replace(
        _CLX_PATROL,
        status=_code(_SCRUB, 0x0010),
        cite="Linux arch/x86/kernel/cpu/mce/severity.c (by Intel, 2020): steppings from 4 on",
    ),
)
"""06_55H stepping 7: SER_P, LMCE; its registers do not tell rank, row or device."""

# --- Ice Lake

_ICX_CAP: Final = 0xF00_0C1C
_ICX_BANKS: Final = (13, 14, 17, 18, 21, 22, 25, 26)
_ICX_CITE: Final = "SDM vol. 3B chapter 18, 06_6AH: iMC"

_ICX_PATROL: Final = Template(
    banks=_ICX_BANKS,
    status=_RECOVERABLE | _code(_SCRUB, 0x0010),
    channel_modulus=2,
    addr=physical,
    misc=_icelake_misc,
    meant=Meant.SRAO,
    cite=_ICX_CITE,
)

ICE_LAKE = Platform(
    name="ice-lake",
    signature=Signature(Vendor.INTEL, 6, 0x6A, 6),
    vendor_string="GenuineIntel",
    brand="Intel Xeon (Ice Lake)",
    scheme=Scheme.INTEL,
    mcg_cap=_ICX_CAP,
    banks=_banks(_ICX_CAP, range(4), frozenset({9})),
    channels=8,
    templates=_CORE_TEMPLATES
    | {
        Kind.READ_CORRECTED: replace(_ICX_PATROL, status=_code(_READ, 0x0080), meant=Meant.CORRECTED),
        Kind.READ_UNCORRECTED: replace(_ICX_PATROL, status=bits(UC) | _code(_READ, 0x00A0), meant=Meant.UCNA),
        Kind.SCRUB_CORRECTED: replace(_ICX_PATROL, status=_code(_SCRUB, 0x0008), meant=Meant.CORRECTED),
        Kind.SCRUB_UNCORRECTED: _ICX_PATROL,
        Kind.UNLOCATED: Template(
            banks=(13,), status=bits(UC) | _code(_ANY_CHANNEL, 0x0100), meant=Meant.UCNA, cite=_ICX_CITE
        ),
    },
    patrol_by_cmci=replace(_ICX_PATROL, status=bits(UC) | _code(_SCRUB, 0x0010)),
)
"""06_6AH: as Cascade Lake, and its memory controllers tell rank, bank, row, column and device."""

# --- Nehalem-EP

_NHM_CAP: Final = 0x1C09
_NHM_CITE: Final = "SDM vol. 3B chapter 18, 06_1AH: QPI (banks 0, 1) and iMC (bank 8)"

_NHM_READ: Final = Template(
    banks=(8,),
    status=_code(_READ, 0x0001),
    channel_modulus=3,
    addr=physical,
    misc=_nehalem_misc,
    meant=Meant.CORRECTED,
    cite=_NHM_CITE,
)

NEHALEM = Platform(
    name="nehalem",
    signature=Signature(Vendor.INTEL, 6, 0x1A, 5),
    vendor_string="GenuineIntel",
    brand="Intel Xeon (Nehalem-EP)",
    scheme=Scheme.INTEL,
    mcg_cap=_NHM_CAP,
    banks=_banks(_NHM_CAP, range(2, 6), frozenset({6})),
    channels=3,
    templates={
        Kind.READ_CORRECTED: _NHM_READ,
        Kind.READ_UNCORRECTED: replace(_NHM_READ, status=_FATAL | _code(_READ, 0x0001), meant=Meant.FATAL),
        Kind.SCRUB_CORRECTED: replace(_NHM_READ, status=_code(_SCRUB, 0x0002)),
        Kind.SCRUB_UNCORRECTED: replace(_NHM_READ, status=_FATAL | _code(_SCRUB, 0x0002), meant=Meant.FATAL),
        Kind.UNLOCATED: Template(
            banks=(8,), status=_FATAL | _code(_ANY_CHANNEL, 0x0001), meant=Meant.FATAL, cite=_NHM_CITE
        ),
        Kind.CACHE_CORRECTED: Template(
            banks=(6,), status=_code(_L3_GENERIC), addr=physical, meant=Meant.CORRECTED, cite=f"{_CODES}.2"
        ),
        Kind.CACHE_WRITEBACK: Template(
            banks=(6,), status=_FATAL | _code(_L3_WRITEBACK), addr=physical, meant=Meant.FATAL, cite=f"{_CODES}.2"
        ),
        Kind.CACHE_UNCORRECTED: Template(
            banks=(6,), status=_FATAL | _code(_L3_GENERIC), meant=Meant.FATAL, cite=f"{_CODES}.2"
        ),
        Kind.LINK_CORRECTED: Template(banks=(0,), status=_code(_LINK, 0x0004), meant=Meant.CORRECTED, cite=_NHM_CITE),
        Kind.LINK_UNCORRECTED: Template(
            banks=(0,), status=_FATAL | _code(_LINK, 0x0002), meant=Meant.FATAL, cite=_NHM_CITE
        ),
        Kind.CONTEXT_CORRUPT: Template(
            banks=(5,), status=_FATAL | _code(_INTERNAL_TIMER, 0x0080), meant=Meant.FATAL, cite=f"{_CODES}.1"
        ),
    },
)
"""06_1AH: no SER_P and no poison, so every uncorrected error is fatal; it has CMCI and tells DIMM and syndrome."""
