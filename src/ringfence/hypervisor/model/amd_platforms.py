"""AMD products: Milan (Scalable MCA, SUCCOR, overflow recovery), a successor whose addresses are physical, and 10h.

Bank types: ``arch.smca_banks``. Which number a bank has is the model's choice beyond banks 0 to 6: MCA_IPID tells. Of
the memory channels of a real socket the model has two. Codes follow public logs where there are any (LS
bc00080001010135h, IF bc800800060c0859h, EX bea0000000000108h, UMC 9c2040000000011bh).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ringfence.arch import smca_registers
from ringfence.arch.bitfield import Field
from ringfence.arch.cpuid import Signature, Vendor
from ringfence.arch.mci_status import (
    ADDR_LSB,
    CECC,
    DEFERRED,
    ERROR_CODE,
    LEGACY_SYNDROME_HIGH,
    LEGACY_SYNDROME_LOW,
    LEGACY_XEC,
    MISCV,
    PADDRV,
    PCC,
    POISON,
    SCRUB,
    TCC,
    UC,
    UECC,
    XEC,
)
from ringfence.arch.smca_banks import BANK_TYPES
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

_LINE_LSB: Final = 6
_TYPES: Final = {kind.symbol: kind for kind in BANK_TYPES}
_READ_PRIORITY: Final = 2
_DEFERRED_PRIORITY: Final = 3
_SYNDROME_BITS: Final = 32

_CONFIG: Final = (
    smca_registers.MCAX.mask
    | smca_registers.DEFERRED_LOGGING_SUPPORTED.mask
    | smca_registers.DEFERRED_INT_TYPE_SUPPORTED.mask
    | smca_registers.LOG_DEFERRED_IN_MCA_STAT.mask
    | smca_registers.INT_PRESENT.mask
)
"""MCA_CONFIG as firmware leaves it: deferred errors are logged in MCA_STATUS, too."""


def _ipid(symbol: str, instance: int) -> int:
    kind = _TYPES[symbol]
    return (
        smca_registers.HARDWARE_ID.put(kind.hardware_id)
        | smca_registers.MCA_TYPE.put(kind.mca_type)
        | smca_registers.INSTANCE_ID.put(instance)
    )


def _smca(symbol: str, scope: Scope, instance: int, config: int = _CONFIG) -> BankSpec:
    return BankSpec(scope, Rules(scheme=Scheme.SMCA, ipid=_ipid(symbol, instance), config=config))


def _with_lsb(addr: int) -> int:
    return addr | smca_registers.ADDR_LSB_IN_ADDR.put(_LINE_LSB)


def _line(seen: Sighting) -> int:
    return _with_lsb(seen.addr or 0)


def _normalised(seen: Sighting) -> int:
    return _with_lsb(seen.normalised)


def _umc_synd(priority: int, seen: Sighting) -> int:
    """MCA_SYND of a DRAM ECC error: chip select, symbol, syndrome (PPR 55803, MCA_SYND_UMC)."""
    chip_select = 0 if seen.place is None else seen.place.chip_select
    return (
        smca_registers.SYNDROME.put(seen.syndrome)
        | smca_registers.ERROR_PRIORITY.put(priority)
        | smca_registers.SYNDROME_LENGTH.put(_SYNDROME_BITS)
        | smca_registers.ERROR_INFORMATION.put(chip_select | (seen.device & 0x3F) << 8)
    )


def _corrected_synd(seen: Sighting) -> int:
    return _umc_synd(_READ_PRIORITY, seen)


def _deferred_synd(seen: Sighting) -> int:
    return _umc_synd(_DEFERRED_PRIORITY, seen)


def _error(*flags: Field, xec: int = 0, code: int) -> int:
    return bits(*flags) | XEC.put(xec) | ERROR_CODE.put(code)


# --- Milan

_MILAN_BANKS: Final = {
    0: _smca("LS_V2", Scope.THREAD, 0),
    1: _smca("IF", Scope.THREAD, 0),
    2: _smca("L2", Scope.THREAD, 0),
    3: _smca("DE", Scope.THREAD, 0),
    5: _smca("EX", Scope.THREAD, 0),
    6: _smca("FP", Scope.THREAD, 0),
    7: _smca("L3", Scope.SOCKET, 0x35_0000),
    17: _smca("UMC", Scope.NODE_BASE, 0x05_0F00),
    18: _smca("UMC", Scope.NODE_BASE, 0x15_0F00),
    23: _smca("XGMI_PCS", Scope.NODE_BASE, 0x11_C000),
    27: _smca("PIE", Scope.NODE_BASE, 0x2E),
}
_PPR: Final = "PPR 55898 (family 19h)"
_UMC: Final = f"{_PPR}, MCA_STATUS_UMC"
_DRAM_CODE, _L3_READ, _L3_EVICT, _LINK_CODE = 0x011B, 0x011B, 0x017B, 0x0E0F

_UMC_CORRECTED: Final = Template(
    banks=(17, 18),
    status=_error(MISCV, CECC, code=_DRAM_CODE),
    addr=_normalised,
    synd=_corrected_synd,
    meant=Meant.CORRECTED,
    cite=_UMC,
)
_UMC_DEFERRED: Final = replace(
    _UMC_CORRECTED, status=_error(MISCV, UECC, DEFERRED, code=_DRAM_CODE), synd=_deferred_synd, meant=Meant.DEFERRED
)

MILAN = Platform(
    name="milan",
    signature=Signature(Vendor.AMD, 0x19, 0x01, 1),
    vendor_string="AuthenticAMD",
    brand="AMD EPYC (Milan)",
    scheme=Scheme.SMCA,
    mcg_cap=0x11C,
    banks=_MILAN_BANKS,
    channels=2,
    succor=True,
    overflow_recovery=True,
    eipv_on_fetch=False,
    templates={
        Kind.READ_CORRECTED: _UMC_CORRECTED,
        Kind.SCRUB_CORRECTED: replace(_UMC_CORRECTED, status=_error(MISCV, CECC, SCRUB, code=_DRAM_CODE)),
        Kind.READ_UNCORRECTED: _UMC_DEFERRED,
        Kind.SCRUB_UNCORRECTED: replace(_UMC_DEFERRED, status=_error(MISCV, UECC, DEFERRED, SCRUB, code=_DRAM_CODE)),
        Kind.DATA_LOAD: Template(
            banks=(0,),
            status=_error(MISCV, UC, POISON, xec=1, code=0x0135),
            addr=_line,
            meant=Meant.SRAR,
            cite=f"{_PPR}, MCA_STATUS_LS",
        ),
        Kind.INSTRUCTION_FETCH: Template(
            banks=(1,),
            status=_error(MISCV, UC, POISON, TCC, xec=12, code=0x0859),
            addr=_line,
            meant=Meant.SRAR,
            cite=f"{_PPR}, MCA_STATUS_IF",
        ),
        Kind.UNLOCATED: Template(
            banks=(27,),
            status=_error(MISCV, DEFERRED, xec=4, code=_LINK_CODE),
            meant=Meant.DEFERRED,
            cite=f"{_PPR}, MCA_STATUS_PIE",
        ),
        Kind.CACHE_CORRECTED: Template(
            banks=(7,),
            status=_error(MISCV, CECC, xec=4, code=_L3_READ),
            addr=_line,
            meant=Meant.CORRECTED,
            cite=f"{_PPR}, MCA_STATUS_L3",
        ),
        Kind.CACHE_WRITEBACK: Template(
            banks=(7,),
            status=_error(MISCV, UECC, DEFERRED, xec=4, code=_L3_EVICT),
            addr=_line,
            meant=Meant.DEFERRED,
            cite=f"{_PPR}, MCA_STATUS_L3",
        ),
        Kind.CACHE_UNCORRECTED: Template(
            banks=(7,),
            status=_error(MISCV, UC, PCC, TCC, xec=2, code=_L3_READ),
            meant=Meant.FATAL,
            cite=f"{_PPR}, MCA_STATUS_L3",
        ),
        Kind.LINK_CORRECTED: Template(
            banks=(23,), status=_error(MISCV, xec=5, code=_LINK_CODE), meant=Meant.CORRECTED, cite=_PPR
        ),
        Kind.LINK_UNCORRECTED: Template(
            banks=(27,),
            status=_error(MISCV, UC, PCC, TCC, xec=2, code=_LINK_CODE),
            meant=Meant.FATAL,
            cite=f"{_PPR}, MCA_STATUS_PIE",
        ),
        Kind.CONTEXT_CORRUPT: Template(
            banks=(5,),
            status=_error(MISCV, UC, PCC, TCC, xec=0, code=0x0108),
            meant=Meant.FATAL,
            cite=f"{_PPR}, MCA_STATUS_EX",
        ),
    },
)
"""Family 19h model 01h. A UMC logs normalised addresses, which name no page of the machine by themselves."""

# --- a successor with physical addresses

_PADDRV_CONFIG: Final = _CONFIG | smca_registers.PADDRV_SUPPORTED.mask | smca_registers.LSB_IN_STATUS.mask


def _physical_flag(seen: Sighting) -> int:
    """AddrLsb and PhysAddrV: MCA_ADDR is a system physical address."""
    return 0 if seen.addr is None else ADDR_LSB.put(_LINE_LSB) | PADDRV.mask


def _made_physical(template: Template) -> Template:
    return template if template.addr is None else replace(template, addr=physical, further=_physical_flag)


TURIN = replace(
    MILAN,
    name="turin",
    signature=Signature(Vendor.AMD, 0x1A, 0x02, 1),
    brand="AMD EPYC (Turin)",
    banks={
        number: replace(spec, rules=replace(spec.rules, config=_PADDRV_CONFIG)) for number, spec in _MILAN_BANKS.items()
    }
    | {0: _smca("LS", Scope.THREAD, 0, _PADDRV_CONFIG)},
    templates={kind: _made_physical(template) for kind, template in MILAN.templates.items()}
    | {
        Kind.DATA_LOAD: replace(
            _made_physical(MILAN.templates[Kind.DATA_LOAD]),
            status=_error(MISCV, UC, POISON, xec=12, code=0x0135),
        )
    },
)
"""Family 1Ah model 02h, with MCA_STATUS.PhysAddrV in every bank.

Which products have that bit no public document says that we know (Linux learnt of it in November 2025); here the model
assumes it, so that a memory controller's deferred error names its page.
"""

# --- family 10h

_BKDG: Final = "BKDG 31116 (family 10h), MC4_STATUS"


def _legacy(*flags: Field, xec: int, code: int) -> int:
    return bits(*flags) | LEGACY_XEC.put(xec) | ERROR_CODE.put(code)


def _chipkill(seen: Sighting) -> int:
    """The 16-bit syndrome, in two pieces of MC4_STATUS."""
    return LEGACY_SYNDROME_LOW.put(seen.syndrome & 0xFF) | LEGACY_SYNDROME_HIGH.put(seen.syndrome >> 8 & 0xFF)


_NB_READ: Final = Template(
    banks=(4,),
    status=_legacy(CECC, xec=0x8, code=0x0A13),
    addr=physical,
    further=_chipkill,
    meant=Meant.CORRECTED,
    cite=_BKDG,
)

FAMILY_10H = Platform(
    name="family-10h",
    signature=Signature(Vendor.AMD, 0x10, 0x04, 2),
    vendor_string="AuthenticAMD",
    brand="AMD Opteron (family 10h)",
    scheme=Scheme.AMD,
    mcg_cap=0x106,
    banks={
        **dict.fromkeys((0, 1, 2, 3, 5), BankSpec(Scope.CORE, Rules(scheme=Scheme.AMD, counts=False))),
        4: BankSpec(Scope.SOCKET, Rules(scheme=Scheme.AMD)),
    },
    channels=2,
    templates={
        Kind.READ_CORRECTED: _NB_READ,
        Kind.SCRUB_CORRECTED: replace(_NB_READ, status=_legacy(CECC, SCRUB, xec=0x8, code=0x0A13)),
        Kind.READ_UNCORRECTED: replace(
            _NB_READ, status=_legacy(UC, PCC, UECC, xec=0x8, code=0x0A13), meant=Meant.FATAL
        ),
        Kind.SCRUB_UNCORRECTED: replace(
            _NB_READ, status=_legacy(UC, PCC, UECC, SCRUB, xec=0x8, code=0x0A13), meant=Meant.FATAL
        ),
        Kind.UNLOCATED: Template(
            banks=(4,), status=_legacy(UC, PCC, UECC, xec=0x8, code=0x0A13), meant=Meant.FATAL, cite=_BKDG
        ),
        Kind.CACHE_CORRECTED: Template(
            banks=(4,), status=_legacy(CECC, xec=0x1C, code=0x011B), addr=physical, meant=Meant.CORRECTED, cite=_BKDG
        ),
        Kind.CACHE_WRITEBACK: Template(
            banks=(2,), status=_legacy(UC, PCC, UECC, xec=0, code=0x0176), addr=physical, meant=Meant.FATAL, cite=_BKDG
        ),
        Kind.CACHE_UNCORRECTED: Template(
            banks=(4,), status=_legacy(UC, PCC, xec=0x1D, code=0x011B), meant=Meant.FATAL, cite=_BKDG
        ),
        Kind.LINK_CORRECTED: Template(
            banks=(4,), status=_legacy(xec=0xE, code=_LINK_CODE), meant=Meant.CORRECTED, cite=_BKDG
        ),
        Kind.LINK_UNCORRECTED: Template(
            banks=(4,), status=_legacy(UC, PCC, xec=0x1, code=_LINK_CODE), meant=Meant.FATAL, cite=_BKDG
        ),
        Kind.CONTEXT_CORRUPT: Template(
            banks=(4,), status=_legacy(UC, PCC, xec=0x7, code=0x0F0F), meant=Meant.FATAL, cite=_BKDG
        ),
    },
)
"""Shanghai: no SUCCOR, no poison: an uncorrected error is fatal. A northbridge watchdog stands for a lost context."""
