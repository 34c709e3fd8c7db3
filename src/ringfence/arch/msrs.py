"""Numbers of the machine-check MSRs; the layouts stand in the modules of their registers.

A bank's registers are given as numbers for bank 0 and the distance to the next bank.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

MCG_CAP: Final = 0x179
MCG_STATUS: Final = 0x17A
MCG_CTL: Final = 0x17B
MCG_EXT_CTL: Final = 0x4D0
"""SDM vol. 4 table 2-2; AMD has the first three (APM vol. 2 9.3.1)."""

MC0_CTL: Final = 0x400
MC0_CTL2: Final = 0x280
"""MCi_CTL is followed by MCi_STATUS, MCi_ADDR, MCi_MISC; MCi_CTL2 stands apart (SDM vol. 4 table 2-2)."""

MC_STRIDE: Final = 4
MC_BANKS: Final = 32
"""Banks that the numbers from 400h and from 280h on have room for."""

HWCR: Final = 0xC001_0015
HWCR_MC_STATUS_WR_EN: Final = 1 << 18
"""AMD: with McStatusWrEn, software may write any value to a bank's registers (APM vol. 2 9.3.2.1; PPR 55898, HWCR)."""

SMCA_BANK0: Final = 0xC000_2000
SMCA_STRIDE: Final = 0x10
SMCA_BANKS: Final = 64
"""Scalable MCA: bank i has MSRs C000_2000h + 10h * i on; banks 0 to 31 answer at 400h + 4 * i, too (PPR 55898)."""


class Smca(IntEnum):
    """Offsets of a bank's registers from its first (PPR 55898, MCA MSRs; Linux arch/x86/include/asm/msr-index.h)."""

    CTL = 0x0
    STATUS = 0x1
    ADDR = 0x2
    MISC0 = 0x3
    CONFIG = 0x4
    IPID = 0x5
    SYND = 0x6
    DESTAT = 0x8
    DEADDR = 0x9


class Legacy(IntEnum):
    """Offsets of a bank's registers from its first, from 400h on (SDM vol. 4 table 2-2)."""

    CTL = 0
    STATUS = 1
    ADDR = 2
    MISC = 3
