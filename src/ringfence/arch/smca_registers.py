"""The registers that Scalable MCA adds to each bank (AMD family 17h and later, Hygon)."""

from __future__ import annotations

from ringfence.arch import mci_status
from ringfence.arch.bitfield import Field, Register

_PPR = "PPR 55898 (family 19h)"
_SYND = f"{_PPR}, MCA_SYND"
_IPID = f"{_PPR}, MCA_IPID"
_CONFIG = f"{_PPR}, MCA_CONFIG"
_DESTAT = f"{_PPR}, MCA_DESTAT"
_ADDR = f"{_PPR}, MCA_ADDR"

SYNDROME = Field("Syndrome", 63, 32, "syndrome, of Length bits", _SYND)
ERROR_PRIORITY = Field(
    "ErrorPriority",
    26,
    24,
    "0 none, 1 transparent, 2 corrected, 3 deferred, 4 uncorrected, 5 fatal",
    _SYND,
)
SYNDROME_LENGTH = Field("Length", 23, 18, "valid bits of Syndrome, from its lowest; 0: none", _SYND)
ERROR_INFORMATION = Field("ErrorInformation", 17, 0, "further information, by bank type and error", _SYND)

SYND = Register("MCA_SYND", (SYNDROME, ERROR_PRIORITY, SYNDROME_LENGTH, ERROR_INFORMATION), _SYND)
"""MSR C000_2006h + 10h * bank; valid with MCA_STATUS.SyndV."""

MCA_TYPE = Field("McaType", 63, 48, "type of the bank within its hardware", _IPID)
INSTANCE_ID_HI = Field("InstanceIdHi", 47, 44, "high bits of the instance (socket or node on some parts)", _IPID)
HARDWARE_ID = Field("HardwareID", 43, 32, "the hardware block", _IPID)
INSTANCE_ID = Field("InstanceIdLo", 31, 0, "which instance of the block", _IPID)

IPID = Register("MCA_IPID", (MCA_TYPE, INSTANCE_ID_HI, HARDWARE_ID, INSTANCE_ID), _IPID)
"""MSR C000_2005h + 10h * bank."""

INT_EN = Field("IntEn", 40, 40, "software is ready for the threshold interrupt", "Linux arch/x86/kernel/cpu/mce/amd.c")
DEFERRED_INT_TYPE = Field("DeferredIntType", 38, 37, "interrupt of a deferred error: 0 none, 1 APIC, 2 SMI", _CONFIG)
LOG_DEFERRED_IN_MCA_STAT = Field(
    "LogDeferredInMcaStat", 34, 34, "deferred errors are logged in MCA_STATUS as well as in MCA_DESTAT", _CONFIG
)
TRANSPARENT_LOGGING_ENABLE = Field(
    "TransparentErrorLoggingEnable", 33, 33, "transparent errors are logged", "PPR 54945 (family 17h), MCA_CONFIG"
)
MCAX_ENABLE = Field("McaXEnable", 32, 32, "software uses the extended registers", _CONFIG)
PADDRV_SUPPORTED = Field(
    "PhysAddrValidSupported",
    11,
    11,
    "MCA_STATUS[54] tells whether MCA_ADDR is a system physical address",
    "Linux arch/x86/include/asm/mce.h, MCI_CONFIG_PADDRV",
)
INT_PRESENT = Field(
    "IntPresent", 10, 10, "the bank can raise the threshold interrupt", "Linux arch/x86/kernel/cpu/mce/amd.c"
)
FRU_TEXT_IN_MCA = Field("McaFruTextInMca", 9, 9, "MCA_SYND1 and MCA_SYND2 hold the FRU's name as text", _CONFIG)
LSB_IN_STATUS = Field("McaLsbInStatusSupported", 8, 8, "AddrLsb is in MCA_STATUS[29:24], not MCA_ADDR[61:56]", _CONFIG)
DEFERRED_INT_TYPE_SUPPORTED = Field("DeferredIntTypeSupported", 5, 5, "DeferredIntType can be set", _CONFIG)
DEFERRED_LOGGING_SUPPORTED = Field("DeferredErrorLoggingSupported", 2, 2, "the bank reports deferred errors", _CONFIG)
TRANSPARENT_LOGGING_SUPPORTED = Field(
    "TransparentErrorLoggingSupported",
    1,
    1,
    "the bank can log transparent errors",
    "PPR 54945 (family 17h), MCA_CONFIG",
)
MCAX = Field("McaX", 0, 0, "the bank has the MCA extensions (and MCA_STATUS.TCC)", _CONFIG)

CONFIG = Register(
    "MCA_CONFIG",
    (
        INT_EN,
        DEFERRED_INT_TYPE,
        LOG_DEFERRED_IN_MCA_STAT,
        TRANSPARENT_LOGGING_ENABLE,
        MCAX_ENABLE,
        PADDRV_SUPPORTED,
        INT_PRESENT,
        FRU_TEXT_IN_MCA,
        LSB_IN_STATUS,
        DEFERRED_INT_TYPE_SUPPORTED,
        DEFERRED_LOGGING_SUPPORTED,
        TRANSPARENT_LOGGING_SUPPORTED,
        MCAX,
    ),
    _CONFIG,
)
"""MSR C000_2004h + 10h * bank."""

DESTAT = Register(
    "MCA_DESTAT",
    (
        mci_status.VAL,
        mci_status.OVER,
        mci_status.ADDRV,
        mci_status.PADDRV,
        mci_status.SYNDV,
        mci_status.DEFERRED,
        mci_status.ADDR_LSB,
        mci_status.XEC,
        mci_status.ERROR_CODE,
    ),
    _DESTAT,
)
"""MSR C000_2008h + 10h * bank: status of a deferred error, which MCA_STATUS may not hold any more."""

ADDR_LSB_IN_ADDR = Field("LSB", 61, 56, "least significant valid bit of ErrorAddr", _ADDR)
ERROR_ADDR = Field("ErrorAddr", 55, 0, "address; its kind depends on the bank and the error", _ADDR)

ADDR = Register("MCA_ADDR", (ADDR_LSB_IN_ADDR, ERROR_ADDR), _ADDR)
"""MSR C000_2002h + 10h * bank, where MCA_CONFIG.McaLsbInStatusSupported is 0."""

ERROR_ADDR_WIDE = Field("ErrorAddr", 56, 0, "address; its kind depends on the bank and the error", _ADDR)

ADDR_LSB_IN_STATUS = Register("MCA_ADDR", (ERROR_ADDR_WIDE,), _ADDR)
"""MCA_ADDR where MCA_CONFIG.McaLsbInStatusSupported is 1 (Zen 4 and later): bit 56 belongs to the address."""
