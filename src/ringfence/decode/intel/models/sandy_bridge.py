"""Sandy Bridge-EP, Ivy Bridge-EP/EX, Haswell-EP/EX, Broadwell-EP/EX, Broadwell-DE, and Knights Landing.

Source: SDM vol. 3B chapter 18, 06_2DH, 06_3EH, 06_3FH, 06_56H, 06_4FH, 06_57H; which home agent and memory controller a
bank belongs to, from Linux drivers/edac/sb_edac.c (ibridge_get_ha, knl_channel_remap) and mcelog (haswell.c); units of
banks 6 and 17 to 19 from the MSR tables of SDM vol. 4. Mnemonics are the manual's.
"""

from __future__ import annotations

from ringfence.arch.mci_status import UC
from ringfence.decode.intel.bank import (
    NOTHING,
    Bank,
    Banks,
    Logged,
    Reader,
    Reads,
    Specific,
    choice,
    code_names,
    declare,
    flags,
    for_interconnect,
    misc_bits,
)
from ringfence.decode.intel.codes import CodeKind
from ringfence.decode.intel.models.core_banks import CORE
from ringfence.record.evidence import Location

_PCU = "Power control unit (PCU)"
_QPI = "Intel QPI"

_PCU_CODES = code_names(
    {
        0x0402: "PCU internal error",
        0x0403: "Internal error 0x0403 of the PCU",
        0x0406: "Intel TXT error",
        0x0407: "Other UBOX internal error",
    }
)

# --- PCU -------------------------------------------------------------------------------------------------------------

_SEQUENCER_SNB = choice(
    {
        1: "Non_IMem_Sel",
        2: "I_Parity_Error",
        3: "Bad_OpCode",
        4: "I_Stack_Underflow",
        5: "I_Stack_Overflow",
        6: "D_Stack_Underflow",
        7: "D_Stack_Overflow",
        8: "Non-DMem_Sel",
        9: "D_Parity_Error",
    },
    high=19,
    low=16,
)
_SEQUENCER_HSW = choice(dict.fromkeys((1, 2, 3), "PCU internal error"), high=19, low=16)

_FIRMWARE_SNB = {
    0x0D: "MC_IMC_FORCE_SR_S3_TIMEOUT",
    0x0E: "MC_CPD_UNCPD_ST_TIMEOUT",
    0x0F: "MC_PKGS_SAFE_WP_TIMEOUT",
    0x43: "MC_PECI_MAILBOX_QUIESCE_TIMEOUT",
    0x5C: "MC_MORE_THAN_ONE_LT_AGENT",
    0x60: "MC_INVALID_PKGS_REQ_PCH",
    0x61: "MC_INVALID_PKGS_REQ_QPI",
    0x62: "MC_INVALID_PKGS_RES_QPI",
    0x63: "MC_INVALID_PKGC_RES_PCH",
    0x64: "MC_INVALID_PKG_STATE_CONFIG",
    0x70: "MC_WATCHDG_TIMEOUT_PKGC_SECONDARY",
    0x71: "MC_WATCHDG_TIMEOUT_PKGC_MAIN",
    0x72: "MC_WATCHDG_TIMEOUT_PKGS_MAIN",
    0x7A: "MC_HA_FAILSTS_CHANGE_DETECTED",
    0x81: "MC_RECOVERABLE_DIE_THERMAL_TOO_HOT",
}
_FIRMWARE_IVB = {
    **_FIRMWARE_SNB,
    0x44: "MC_CRITICAL_VR_FAILED",
    0x45: "MC_ICC_MAX_NOTSUPPORTED",
    0x7B: "MC_PCIE_R2PCIE-RW_BLOCK_ACK_TIMEOUT",
}
_FIRMWARE_BDW_DE = {
    0x09: "MC_MESSAGE_CHANNEL_TIMEOUT",
    0x13: "MC_DMI_TRAINING_TIMEOUT",
    0x15: "MC_DMI_CPU_RESET_ACK_TIMEOUT",
    0x1E: "MC_VR_ICC_MAX_LT_FUSED_ICC_MAX",
    0x25: "MC_SVID_COMMAND_TIMEOUT",
    0x26: "MCA_PKGC_DIRECT_WAKE_RING_TIMEOUT",
    0x29: "MC_VR_VOUT_MAX_LT_FUSED_SVID",
    0x2B: "MC_PKGC_WATCHDOG_HANG_CBZ_DOWN",
    0x2C: "MC_PKGC_WATCHDOG_HANG_CBZ_UP",
    0x44: "MC_CRITICAL_VR_FAILED",
    0x46: "MC_VID_RAMP_DOWN_FAILED",
    0x49: "MC_SVID_WRITE_REG_VOUT_MAX_FAILED",
    0x4B: "MC_PP1_BOOT_VID_TIMEOUT (DRAM 0)",
    0x4F: "MC_SVID_COMMAND_ERROR",
    0x52: "MC_FIVR_CATAS_OVERVOL_FAULT",
    0x53: "MC_FIVR_CATAS_OVERCUR_FAULT",
    0x57: "MC_SVID_PKGC_REQUEST_FAILED",
    0x58: "MC_SVID_IMON_REQUEST_FAILED",
    0x59: "MC_SVID_ALERT_REQUEST_FAILED",
    0x62: "MC_INVALID_PKGS_RSP_QPI",
    0x64: "MC_INVALID_PKG_STATE_CONFIG",
    0x67: "MC_HA_IMC_RW_BLOCK_ACK_TIMEOUT",
    0x6A: "MC_MSGCH_PMREQ_CMP_TIMEOUT",
    0x72: "MC_WATCHDG_TIMEOUT_PKGS_MAIN",
    0x81: "MC_RECOVERABLE_DIE_THERMAL_TOO_HOT",
}
_FIRMWARE_HSW = {
    **{code: name for code, name in _FIRMWARE_BDW_DE.items() if code != 0x26},
    0x4B: "MC_BOOT_VID_TIMEOUT (DRAM 0)",
    0x0D: "MC_IMC_FORCE_SR_S3_TIMEOUT",
    0x0E: "MC_CPD_UNCPD_SD_TIMEOUT",
    0x39: "MC_PKGC_WATCHDOG_HANG_C3_UP_SF",
    0x45: "MC_ICC_MAX_NOTSUPPORTED",
    0x47: "MC_EXCL_MODE_NO_PMREQ_CMP",
    0x48: "MC_SVID_READ_REG_ICC_MAX_FAILED",
    0x4C: "MC_BOOT_VID_TIMEOUT (DRAM 1)",
    0x4D: "MC_BOOT_VID_TIMEOUT (DRAM 2)",
    0x4E: "MC_BOOT_VID_TIMEOUT (DRAM 3)",
    0x60: "MC_INVALID_PKGS_REQ_PCH",
    0x61: "MC_INVALID_PKGS_REQ_QPI",
    0x63: "MC_INVALID_PKGS_RSP_PCH",
    0x68: "MC_IMC_RW_SMBUS_TIMEOUT",
    0x69: "MC_HA_FAILSTS_CHANGE_DETECTED",
    0x70: "MC_WATCHDG_TIMEOUT_PKGC_SECONDARY",
    0x71: "MC_WATCHDG_TIMEOUT_PKGC_MAIN",
    0x7C: "MC_BIOS_RST_CPL_INVALID_SEQ",
    0x7D: "MC_MORE_THAN_ONE_TXT_AGENT",
}

# --- QPI -------------------------------------------------------------------------------------------------------------

_QPI_HSW = choice(
    {
        0x02: "physical layer: drift buffer alarm",
        0x03: "physical layer: latency buffer rollover",
        0x10: "link layer: control error from R3QPI",
        0x11: "receiver: link-level retry aborted on a CRC error",
        0x12: "unsupported or undefined packet",
        0x13: "link layer: control error",
        0x15: "RBT used an uninitialised value",
        0x20: "physical layer: in-band reset detected, initialisation aborted",
        0x21: "link failover: data self-healing",
        0x22: "physical layer: in-band reset, width unchanged",
        0x23: "link failover: clock failover",
        0x30: "receiver: CRC error, retried successfully after re-initialising the physical layer",
        0x31: "receiver: CRC error, retried successfully without re-initialising the physical layer",
    }
)

# --- memory ----------------------------------------------------------------------------------------------------------

_SCRUB_AND_SPARE = {
    19: "corrected patrol scrub error",
    20: "uncorrected patrol scrub error",
    21: "corrected spare error",
    22: "uncorrected spare error",
}
_IMC_SNB = {
    16: "address parity error",
    17: "home agent write buffer data parity error",
    18: "home agent write byte enable parity error",
    **_SCRUB_AND_SPARE,
}
_IMC_IVB = {**_IMC_SNB, 23: "corrected memory read error", 24: "write data buffer (WDB) parity error"}
_IMC_BDW = {
    16: "DDR3 address parity error",
    17: "uncorrected home agent write data error",
    18: "uncorrected home agent data byte enable error",
    **_SCRUB_AND_SPARE,
    24: "write data buffer (WDB) parity error",
    25: "DDR4 command/address parity error",
}
# 06_56H has bits of its own; mcelog reads Broadwell-DE by Ivy Bridge's table, which has no DDR4 bit.
_IMC_BDW_DE = {bit: name for bit, name in _IMC_BDW.items() if bit not in (21, 22)}
_IMC_HSW = {**_IMC_BDW, 23: "corrected memory read error"}
_IMC_KNL = {
    16: "command/address parity error",
    17: "internal parity error, not of the write data buffer",
    18: "internal parity error of the write data buffer",
    **_SCRUB_AND_SPARE,
    23: "corrected chip failure (DDR), or 4-bit burst error (MCDRAM)",
}


@declare(Reads(misc=0x3FF << 46 | 3 << 62, code=(lambda code: code.kind is CodeKind.MEMORY,)))
def failing_ranks(logged: Logged) -> Specific:
    """MCi_MISC[63:46]: the ranks of the first and second failing device, each with its valid bit (63, 62).

    Firmware or a daemon must have switched them on (MSR_ERROR_CONTROL[1]); they are for corrected errors. Ranks 0 to 3
    are the first DIMM of the channel, 4 and 5 the second; 6 and 7 the third, or the second where there are but two
    (mcelog, sandy-bridge.c).
    """
    if logged.misc is None or UC.of(logged.status) or logged.code.kind is not CodeKind.MEMORY:
        return NOTHING
    first = misc_bits(logged.misc, 50, 46) if misc_bits(logged.misc, 62, 62) else None
    second = misc_bits(logged.misc, 55, 51) if misc_bits(logged.misc, 63, 63) else None
    details = tuple(
        f"{which} failing device in rank {rank} of the channel"
        for which, rank in (("first", first), ("second", second))
        if rank is not None
    )
    rank = first if first is not None else second
    slot = None if rank is None or rank > 5 else int(rank > 3)
    return Specific(details=details, location=Location(rank=rank, slot=slot))


@declare(Reads(misc=3 << 41))
def _mirror_bdw(logged: Logged) -> Specific:
    """MC7_MISC and MC8_MISC [42:41]: how mirroring corrected the error (06_4FH, home agent)."""
    if logged.misc is None or UC.of(logged.status):
        return NOTHING
    if misc_bits(logged.misc, 41, 41):
        return Specific(details=("corrected by mirroring, with failover of the channel",))
    if misc_bits(logged.misc, 42, 42):
        return Specific(details=("corrected by mirroring, the primary channel was scrubbed",))
    return NOTHING


def _channels(first_bank: int, names: dict[int, str], *, ranks: bool) -> dict[int, Bank]:
    """Eight banks, one per channel: four of each memory controller."""
    readers = (flags(names), failing_ranks) if ranks else (flags(names),)
    return {
        first_bank + index: Bank(
            f"Integrated memory controller (iMC) {index // 4}, channel {index % 4}", readers, index // 4, index % 4
        )
        for index in range(8)
    }


_HOME_AGENTS: Banks = {7: Bank("Home agent (HA) 0", (), 0), 8: Bank("Home agent (HA) 1", (), 1)}
_CBO: Banks = dict.fromkeys((17, 18, 19), Bank("Caching agents (CBo) and LLC slices"))
_IIO: Banks = {6: Bank("Integrated I/O (IIO)")}

SANDY_BRIDGE: Banks = {
    **CORE,
    4: Bank(_PCU, (_SEQUENCER_SNB, choice(_FIRMWARE_SNB, high=31, low=24))),
}
"""Sandy Bridge client (06_2AH), as mcelog reads it."""

SANDY_BRIDGE_EP: Banks = {
    **SANDY_BRIDGE,
    6: Bank(_QPI),
    7: Bank(_QPI),
    **dict.fromkeys(range(8, 12), Bank("Integrated memory controller (iMC)", (flags(_IMC_SNB), failing_ranks), 0)),
}
"""Sandy Bridge-EP (06_2DH)."""

IVY_BRIDGE_EP: Banks = {
    **CORE,
    4: Bank(_PCU, (_SEQUENCER_SNB, choice(_FIRMWARE_IVB, high=31, low=24))),
    5: Bank(_QPI),
    **_IIO,
    **_HOME_AGENTS,
    **_channels(9, _IMC_IVB, ranks=True),
}
"""Ivy Bridge-EP and EX (06_3EH)."""

HASWELL_EP: Banks = {
    **CORE,
    4: Bank(_PCU, (_PCU_CODES, _SEQUENCER_HSW, choice(_FIRMWARE_HSW, high=31, low=24))),
    **dict.fromkeys((5, 20, 21), Bank(_QPI, (for_interconnect(_QPI_HSW),))),
    **_IIO,
    **_HOME_AGENTS,
    **_channels(9, _IMC_HSW, ranks=True),
    **_CBO,
}
"""Haswell-EP and EX (06_3FH)."""

BROADWELL_EP: Banks = {
    **HASWELL_EP,
    7: Bank("Home agent (HA) 0", (_mirror_bdw,), 0),
    8: Bank("Home agent (HA) 1", (_mirror_bdw,), 1),
    **_channels(9, _IMC_BDW, ranks=False),
}
"""Broadwell-EP and EX (06_4FH)."""

BROADWELL_DE: Banks = {
    **CORE,
    4: Bank(
        _PCU,
        (
            _PCU_CODES,
            _SEQUENCER_HSW,
            flags({22: "UBOX error"}, high=23, low=20),
            choice(_FIRMWARE_BDW_DE, high=31, low=24),
        ),
    ),
    **_IIO,
    7: Bank("Home agent (HA) 0", (), 0),
    9: Bank("Integrated memory controller (iMC) 0, channel 0", (flags(_IMC_BDW_DE),), 0, 0),
    10: Bank("Integrated memory controller (iMC) 0, channel 1", (flags(_IMC_BDW_DE),), 0, 1),
    **_CBO,
}
"""Broadwell-DE (06_56H)."""


def _knl_channels(first: int) -> Reader:
    """Bank 15 is memory controller 0, whose channels are the package's 3 to 5, bank 16 controller 1 with 0 to 2."""

    def read(logged: Logged) -> Specific:
        channel = logged.code.channel
        if not logged.code.is_memory or channel is None:
            return NOTHING
        package_channel = channel + first
        return Specific(
            details=(f"channel {package_channel} of the package's six",), location=Location(channel=package_channel)
        )

    return declare(Reads(code=(lambda code: code.channel if code.is_memory else None,)))(read)


_KNL_READERS = (flags(_IMC_KNL), failing_ranks)

KNIGHTS_LANDING: Banks = {
    5: Bank(
        _PCU,
        (
            code_names(
                {
                    0x0402: "PCU internal error",
                    0x0403: "VCU internal error",
                    0x0407: "Other UBOX internal error",
                }
            ),
        ),
    ),
    **{bank: Bank(f"MCDRAM controller (EDC) {bank - 7}", _KNL_READERS) for bank in range(7, 15)},
    15: Bank("DDR memory controller 0", (_knl_channels(3), *_KNL_READERS), 0),
    16: Bank("DDR memory controller 1", (_knl_channels(0), *_KNL_READERS), 1),
}
"""Knights Landing and Knights Mill (06_57H, 06_85H), as rasdaemon and sb_edac read them."""


DENVERTON: Banks = dict.fromkeys(
    (6, 7),
    Bank(
        "Memory controller",
        (
            flags(
                {
                    16: "command/address parity error",
                    17: "corrected demand or patrol scrub error",
                    18: "uncorrected patrol scrub error",
                    19: "uncorrected demand read error",
                    20: "ECC error on a read of the write data buffer",
                }
            ),
        ),
    ),
)
"""Denverton (06_5FH)."""
