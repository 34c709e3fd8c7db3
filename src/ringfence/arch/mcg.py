"""The global machine-check registers: MCG_CAP, MCG_STATUS, MCG_CTL, MCG_EXT_CTL.

AMD implements COUNT and CTL_P of MCG_CAP, RIPV, EIPV and MCIP of MCG_STATUS, and MCG_CTL (APM vol. 2 9.3.1); the rest
is Intel's and Zhaoxin's.
"""

from __future__ import annotations

from ringfence.arch.bitfield import Field, Register

_CAP = "SDM vol. 3B 17.3.1.1"
_STATUS = "SDM vol. 3B 17.3.1.2"
_SEAM = "Linux arch/x86/include/asm/mce.h (MCG_SEAM_NR), for Intel TDX"

COUNT = Field("COUNT", 7, 0, "number of reporting banks", _CAP)
CTL_P = Field("CTL_P", 8, 8, "MCG_CTL is present", _CAP)
EXT_P = Field("EXT_P", 9, 9, "the extended state registers MCG_(E)AX... are present", _CAP)
CMCI_P = Field("CMCI_P", 10, 10, "corrected-error interrupt and count (MCi_STATUS[52:38]) are present", _CAP)
TES_P = Field("TES_P", 11, 11, "threshold-based error status (MCi_STATUS[54:53]) is present", _CAP)
SEAM_NR_P = Field("SEAM_NR_P", 12, 12, "MCG_STATUS.SEAM_NR is present", _SEAM)
EXT_CNT = Field("EXT_CNT", 23, 16, "number of extended state registers", _CAP)
SER_P = Field("SER_P", 24, 24, "software error recovery (MCi_STATUS.S and AR) is supported", _CAP)
EMC_P = Field("EMC_P", 25, 25, "enhanced machine check: firmware-first signalling", _CAP)
ELOG_P = Field("ELOG_P", 26, 26, "extended error logging by firmware", _CAP)
LMCE_P = Field("LMCE_P", 27, 27, "local machine-check exception is supported", _CAP)

MCG_CAP = Register(
    "MCG_CAP",
    (LMCE_P, ELOG_P, EMC_P, SER_P, EXT_CNT, SEAM_NR_P, TES_P, CMCI_P, EXT_P, CTL_P, COUNT),
    _CAP,
)
"""MSR 179h."""

RIPV = Field("RIPV", 0, 0, "execution can be restarted at the saved instruction pointer", _STATUS)
EIPV = Field("EIPV", 1, 1, "the saved instruction pointer is directly associated with the error", _STATUS)
MCIP = Field("MCIP", 2, 2, "a machine-check exception is in progress", _STATUS)
LMCE_S = Field("LMCE_S", 3, 3, "the exception was delivered to this logical processor only", _STATUS)
SEAM_NR = Field("SEAM_NR", 12, 12, "the exception was taken in SEAM non-root mode (a TDX guest)", _SEAM)

MCG_STATUS = Register("MCG_STATUS", (SEAM_NR, LMCE_S, MCIP, EIPV, RIPV), _STATUS)
"""MSR 17Ah."""

MCG_CTL = Register(
    "MCG_CTL",
    (Field("ENABLE", 63, 0, "one enable bit per source (Intel: all ones or all zeros)", "SDM vol. 3B 17.3.1.3"),),
    "SDM vol. 3B 17.3.1.3",
)
"""MSR 17Bh, present with MCG_CAP.CTL_P."""

LMCE_EN = Field("LMCE_EN", 0, 0, "local machine-check exception is enabled", "SDM vol. 3B 17.3.1.4")

MCG_EXT_CTL = Register("MCG_EXT_CTL", (LMCE_EN,), "SDM vol. 3B 17.3.1.4")
"""MSR 4D0h, present with MCG_CAP.LMCE_P."""
