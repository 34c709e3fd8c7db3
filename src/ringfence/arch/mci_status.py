"""MCi_STATUS (AMD: MCA_STATUS): one layout per vendor, generation and capability.

Bits 63:57 are the same everywhere and are declared once. What stands below them depends on the vendor and, on Intel, on
what MCG_CAP announces. The section numbers of the SDM are those of 2023 and later (chapter 17; it was 15 before).
"""

from __future__ import annotations

from functools import cache

from ringfence.arch.bitfield import Field, Register
from ringfence.arch.cpuid import Signature, Vendor
from ringfence.arch.mcg import CMCI_P, EMC_P, SER_P, TES_P

_SDM = "SDM vol. 3B 17.3.2.2"
_APM = "APM vol. 2 9.3.2"
_PPR = "PPR 55898 (family 19h), MCA_STATUS"

VAL = Field("VAL", 63, 63, "the register holds a logged error", _SDM)
OVER = Field("OVER", 62, 62, "a further error came while this one was held: one of them was lost", _SDM)
UC = Field("UC", 61, 61, "the hardware did not correct the error", _SDM)
EN = Field("EN", 60, 60, "reporting of this error was enabled in MCi_CTL", _SDM)
MISCV = Field("MISCV", 59, 59, "MCi_MISC belongs to this error", _SDM)
ADDRV = Field("ADDRV", 58, 58, "MCi_ADDR belongs to this error", _SDM)
PCC = Field("PCC", 57, 57, "the processor's context may be corrupt: it cannot be restarted reliably", _SDM)

ARCHITECTURAL: tuple[Field, ...] = (VAL, OVER, UC, EN, MISCV, ADDRV, PCC)
"""The bits that mean the same on every vendor's processor."""

# --- Intel -----------------------------------------------------------------------------------------------------------

S = Field("S", 56, 56, "the error was signalled by a machine-check exception (with MCG_CAP.SER_P)", _SDM)
AR = Field("AR", 55, 55, "software must act before it goes on (with MCG_CAP.SER_P)", _SDM)
THRESHOLD_STATUS = Field(
    "THRESHOLD_STATUS",
    54,
    53,
    "0 no tracking, 1 green, 2 yellow, 3 reserved; undefined if UC=1 (with MCG_CAP.TES_P)",
    "SDM vol. 3B 17.4",
)
CORRECTED_COUNT = Field(
    "CORRECTED_COUNT",
    52,
    38,
    "corrected errors that the bank has seen; bit 52 is a sticky overflow (with MCG_CAP.CMCI_P)",
    _SDM,
)
FIRMWARE_UPDATED = Field(
    "FIRMWARE_UPDATED", 37, 37, "system firmware may have edited this register (with MCG_CAP.EMC_P)", _SDM
)
OTHER_INFORMATION = Field("OTHER_INFORMATION", 36, 32, "model-specific", _SDM)
MSCOD = Field("MSCOD", 31, 16, "model-specific error code", _SDM)
MCACOD = Field("MCACOD", 15, 0, "MCA error code", "SDM vol. 3B 17.9")

INTEL = Register(
    "MCi_STATUS",
    (
        *ARCHITECTURAL,
        S,
        AR,
        THRESHOLD_STATUS,
        CORRECTED_COUNT,
        FIRMWARE_UPDATED,
        OTHER_INFORMATION,
        MSCOD,
        MCACOD,
    ),
    _SDM,
)
"""Intel with all of SER_P, TES_P, CMCI_P and EMC_P, as servers have it since Ivy Bridge-EX."""


def intel_layout(mcg_cap: int | None) -> Register:
    """Intel's MCi_STATUS on a processor with this MCG_CAP; ``INTEL``, the full layout, if it is not known.

    S and AR are taken to depend on SER_P alone. The SDM ties them to TES_P as well, yet every Intel processor with
    SER_P has TES_P, and QEMU announces SER_P without TES_P and uses them (QEMU target/i386/cpu.h, MCE_CAP_DEF).
    """
    if mcg_cap is None:
        return INTEL
    return _intel_layout(
        ser_p=bool(SER_P.of(mcg_cap)),
        tes_p=bool(TES_P.of(mcg_cap)),
        cmci_p=bool(CMCI_P.of(mcg_cap)),
        emc_p=bool(EMC_P.of(mcg_cap)),
    )


@cache
def _intel_layout(*, ser_p: bool, tes_p: bool, cmci_p: bool, emc_p: bool) -> Register:
    """Builds the layout: what no capability makes architectural is "other information", in whole runs of bits."""
    fields = [*ARCHITECTURAL]
    run_high: int | None = None
    for present, parts in ((ser_p, (S, AR)), (tes_p, (THRESHOLD_STATUS,)), (cmci_p, (CORRECTED_COUNT,))):
        # Without SER_P but with TES_P the two bits are reserved, not model-specific: no field names them.
        if present or (parts == (S, AR) and tes_p):
            if run_high is not None:
                fields.append(_other(run_high, parts[0].high + 1))
                run_high = None
            if present:
                fields.extend(parts)
        elif run_high is None:
            run_high = parts[0].high
    if emc_p:
        if run_high is not None:
            fields.append(_other(run_high, FIRMWARE_UPDATED.high + 1))
        fields += [FIRMWARE_UPDATED, OTHER_INFORMATION]
    else:
        fields.append(_other(FIRMWARE_UPDATED.high if run_high is None else run_high, OTHER_INFORMATION.low))
    return Register("MCi_STATUS", (*fields, MSCOD, MCACOD), _SDM)


def _other(high: int, low: int) -> Field:
    name = "OTHER_INFORMATION" if low == OTHER_INFORMATION.low else f"OTHER_INFORMATION_{high}_{low}"
    return Field(name, high, low, "model-specific", _SDM)


ZHAOXIN = Register(
    "MCi_STATUS",
    INTEL.fields,
    "Zhaoxin follows Intel's layout: Linux arch/x86/kernel/cpu/mce/core.c, mce_zhaoxin_feature_init",
)
"""Zhaoxin and Centaur. No manual of Zhaoxin's is public; Linux, patched by Zhaoxin, treats the register as Intel's."""

# --- AMD and Hygon, Scalable MCA (family 17h and later) --------------------------------------------------------------

ERR_CORE_ID_VAL = Field("ErrCoreIdVal", 56, 56, "ErrCoreId is valid", _PPR)
TCC = Field("TCC", 55, 55, "the context of the interrupted task may be corrupt", _PPR)
PADDRV = Field(
    "PhysAddrV",
    54,
    54,
    "MCA_ADDR is a system physical address (where MCA_CONFIG[11] is set; reserved before)",
    "Linux arch/x86/include/asm/mce.h, MCI_STATUS_PADDRV (AMD, November 2025)",
)
SYNDV = Field("SyndV", 53, 53, "MCA_SYND belongs to this error", _PPR)
CECC = Field("CECC", 46, 46, "the error was a correctable ECC error", _PPR)
UECC = Field("UECC", 45, 45, "the error was an uncorrectable ECC error", _PPR)
DEFERRED = Field("Deferred", 44, 44, "uncorrected data was found and marked as poison, but not consumed", _PPR)
POISON = Field("Poison", 43, 43, "the error is the consumption of poisoned data", _PPR)
SCRUB = Field("Scrub", 40, 40, "a scrub operation found the error", _PPR)
ERR_CORE_ID = Field("ErrCoreId", 37, 32, "the core to which the error belongs, in banks shared by cores", _PPR)
ADDR_LSB = Field(
    "AddrLsb",
    29,
    24,
    "least significant valid bit of MCA_ADDR (where MCA_CONFIG.McaLsbInStatusSupported; else MCA_ADDR[61:56])",
    _PPR,
)
XEC = Field("ErrorCodeExt", 21, 16, "extended error code: its meaning depends on the bank's type", _PPR)
ERROR_CODE = Field("ErrorCode", 15, 0, "MCA error code", _APM)

AMD_SMCA = Register(
    "MCA_STATUS",
    (
        *ARCHITECTURAL,
        ERR_CORE_ID_VAL,
        TCC,
        PADDRV,
        SYNDV,
        CECC,
        UECC,
        DEFERRED,
        POISON,
        SCRUB,
        ERR_CORE_ID,
        ADDR_LSB,
        XEC,
        ERROR_CODE,
    ),
    _PPR,
)
"""AMD family 17h and later, and Hygon."""

# --- AMD before Scalable MCA -----------------------------------------------------------------------------------------

_K8 = "BKDG 26094 / 32559 (K8)"
_F10H = "BKDG 31116 (family 10h)"
_F15H = "BKDG 42301 (family 15h)"
_F16H = "BKDG 48751 (family 16h)"

LEGACY_SYNDROME_LOW = Field("Syndrome[7:0]", 54, 47, "ECC syndrome, low byte", _K8)
LEGACY_SYNDROME_HIGH = Field("Syndrome[15:8]", 31, 24, "ECC syndrome, high byte (chipkill)", _K8)
LEGACY_SUB_LINK = Field("SubLink", 41, 41, "the upper sublink of a split HyperTransport link", _F10H)
LEGACY_SUB_CACHE = Field("McaStatSubCache", 43, 42, "the L3 subcache that reported", _F15H)
K8_XEC = Field("ErrorCodeExt", 19, 16, "extended error code", _K8)
K8_LINK = Field("LDTLink", 38, 36, "the HyperTransport link that reported", _K8)
K8_ERR_CPU = Field("ErrCpu", 33, 32, "the core that reported (dual core)", _K8)
LEGACY_XEC = Field("ErrorCodeExt", 20, 16, "extended error code", _F10H)
LEGACY_LINK = Field("LDTLink", 39, 36, "the HyperTransport link that reported", _F10H)
LEGACY_ERR_CORE_ID = Field("ErrCoreId", 35, 32, "the core that reported", _F10H)

AMD_LEGACY = Register(
    "MCi_STATUS",
    (
        *ARCHITECTURAL,
        Field("OTHER_INFORMATION", 56, 32, "implementation-specific", _APM),
        Field("MODEL_SPECIFIC_ERROR_CODE", 31, 16, "model-specific error code", _APM),
        ERROR_CODE,
    ),
    _APM,
)
"""What the APM promises for every AMD processor. Used for K7, whose own layout is in no public manual that we hold."""

AMD_K8_CORE = Register("MCi_STATUS", (*ARCHITECTURAL, LEGACY_SYNDROME_LOW, CECC, UECC, SCRUB, K8_XEC, ERROR_CODE), _K8)
"""K8, banks 0 to 3 (data cache, instruction cache, bus unit, load-store)."""

AMD_K8_NB = Register(
    "MC4_STATUS",
    (
        *ARCHITECTURAL,
        LEGACY_SYNDROME_LOW,
        CECC,
        UECC,
        SCRUB,
        K8_LINK,
        K8_ERR_CPU,
        LEGACY_SYNDROME_HIGH,
        K8_XEC,
        ERROR_CODE,
    ),
    _K8,
)
"""K8, bank 4 (northbridge)."""

AMD_10H_CORE = Register(
    "MCi_STATUS", (*ARCHITECTURAL, LEGACY_SYNDROME_LOW, CECC, UECC, SCRUB, LEGACY_XEC, ERROR_CODE), _F10H
)
"""Families 10h, 11h, 12h and 14h, the banks of a core."""

AMD_10H_NB = Register(
    "MC4_STATUS",
    (
        *ARCHITECTURAL,
        ERR_CORE_ID_VAL,
        LEGACY_SYNDROME_LOW,
        CECC,
        UECC,
        LEGACY_SUB_LINK,
        SCRUB,
        LEGACY_LINK,
        LEGACY_ERR_CORE_ID,
        LEGACY_SYNDROME_HIGH,
        LEGACY_XEC,
        ERROR_CODE,
    ),
    _F10H,
)
"""Families 10h, 11h, 12h and 14h, bank 4 (northbridge)."""

AMD_15H_CORE = Register(
    "MCi_STATUS",
    (*ARCHITECTURAL, LEGACY_SYNDROME_LOW, CECC, UECC, DEFERRED, POISON, SCRUB, LEGACY_XEC, ERROR_CODE),
    _F15H,
)
"""Family 15h, the banks of a core."""

AMD_15H_NB = Register(
    "MC4_STATUS",
    (
        *ARCHITECTURAL,
        ERR_CORE_ID_VAL,
        LEGACY_SYNDROME_LOW,
        CECC,
        UECC,
        DEFERRED,
        LEGACY_SUB_CACHE,
        LEGACY_SUB_LINK,
        SCRUB,
        LEGACY_LINK,
        LEGACY_ERR_CORE_ID,
        LEGACY_SYNDROME_HIGH,
        LEGACY_XEC,
        ERROR_CODE,
    ),
    _F15H,
)
"""Family 15h, bank 4: bit 43 is not Poison there but part of McaStatSubCache (Linux drivers/edac/mce_amd.c)."""

AMD_16H_CORE = Register(
    "MCi_STATUS",
    (*ARCHITECTURAL, LEGACY_SYNDROME_LOW, CECC, UECC, DEFERRED, POISON, SCRUB, LEGACY_XEC, ERROR_CODE),
    _F16H,
)
"""Family 16h, the banks of a core."""

AMD_16H_NB = Register(
    "MC4_STATUS",
    (
        *ARCHITECTURAL,
        ERR_CORE_ID_VAL,
        LEGACY_SYNDROME_LOW,
        CECC,
        UECC,
        DEFERRED,
        POISON,
        SCRUB,
        LEGACY_ERR_CORE_ID,
        LEGACY_SYNDROME_HIGH,
        LEGACY_XEC,
        ERROR_CODE,
    ),
    _F16H,
)
"""Family 16h, bank 4 (northbridge)."""

AMD_BY_FAMILY: dict[int, tuple[Register, Register]] = {
    0x0F: (AMD_K8_CORE, AMD_K8_NB),
    0x10: (AMD_10H_CORE, AMD_10H_NB),
    0x11: (AMD_10H_CORE, AMD_10H_NB),
    0x12: (AMD_10H_CORE, AMD_10H_NB),
    0x14: (AMD_10H_CORE, AMD_10H_NB),
    0x15: (AMD_15H_CORE, AMD_15H_NB),
    0x16: (AMD_16H_CORE, AMD_16H_NB),
}
"""Display family to the layouts of a core's banks and of the northbridge (bank 4)."""

LEGACY_NORTHBRIDGE_BANK = 4
"""The northbridge's bank on AMD processors before family 17h."""


def layout(
    vendor: Vendor | None,
    signature: Signature | None,
    smca: bool,
    *,
    bank: int | None = None,
    mcg_cap: int | None = None,
) -> Register:
    """The layout of MCi_STATUS for a processor, as far as it is known.

    ``smca`` wins over the signature (an MCA_IPID in the record proves it). Without a vendor, or for an AMD processor
    without a signature, the result names only the bits that hold for all of them. ``bank`` tells the northbridge from
    the core's banks before SMCA (None: the core's layout), ``mcg_cap`` selects Intel's capability-dependent fields.
    """
    match vendor:
        case None:
            return AMD_SMCA if smca else UNKNOWN_VENDOR
        case Vendor.INTEL | Vendor.ZHAOXIN | Vendor.CENTAUR:
            if vendor is Vendor.INTEL or mcg_cap is not None:
                return intel_layout(mcg_cap)
            return ZHAOXIN
        case Vendor.AMD | Vendor.HYGON:
            if smca or vendor is Vendor.HYGON:
                return AMD_SMCA
            core, northbridge = AMD_BY_FAMILY.get(signature.family if signature else 0, (AMD_LEGACY, AMD_LEGACY))
            return northbridge if bank == LEGACY_NORTHBRIDGE_BANK else core


UNKNOWN_VENDOR = Register("MCi_STATUS", (*ARCHITECTURAL, MCACOD), _SDM)
"""The bits that hold whoever made the processor."""
