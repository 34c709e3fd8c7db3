"""A guest's virtual machine-check banks, and what it is told through them, byte for byte.

As Xen's (xen/arch/x86/cpu/mcheck/vmce.c): each vCPU has MCG_STATUS and two banks; the error goes into bank 1, the other
vCPUs of a broadcast see an empty one; a vCPU whose MCIP is still set takes no further one. Different from Xen's,
nothing of the host comes with it: no model-specific code, no topology, an address of a whole page (concept B.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

from ringfence.arch import mcg, mci_misc
from ringfence.arch.mci_status import ADDRV, AR, EN, MISCV, UC, VAL, S
from ringfence.record.binary.xen_mc_info import McFlag, McInfo, McInfoBank, McInfoGlobal
from ringfence.world.identities import PAGE_SHIFT, GuestFrame

BANK: Final = 1
"""Bank 0 is left alone: processors before Nehalem treat it in their own way (vcpu_fill_mc_msrs)."""

BANKS_OF_MC_INFO: Final = 15
"""Bank entries that fit into a ``mc_info`` beside the global one: (760 - 32) / 48."""

_REGISTERS = Struct("<QQQQ")

SRAR_DATA_LOAD: Final = 0x0134
SRAO_SCRUB: Final = 0x00C0
"""MCA error codes that a guest knows: data load, and memory scrubbing (SDM vol. 3B 17.9.3.2, 17.9.3.1)."""

MEMORY_READ: Final = 0x009F
"""The compound error code of a memory read, channel not said (SDM vol. 3B 17.9.2, 1MMM CCCC)."""

_CAUSE = VAL.mask | UC.mask | EN.mask | MISCV.mask | ADDRV.mask | S.mask


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualBank:
    """What a vCPU reads: MCG_STATUS, and STATUS, ADDR and MISC of bank 1."""

    mcg_status: int = 0
    status: int = 0
    addr: int = 0
    misc: int = 0

    @property
    def in_machine_check(self) -> bool:
        """Whether the guest has not left its machine check yet."""
        return bool(mcg.MCIP.of(self.mcg_status))

    def pack(self) -> bytes:
        """The four registers, little endian."""
        return _REGISTERS.pack(self.mcg_status, self.status, self.addr, self.misc)


EMPTY: Final = VirtualBank()

BYSTANDER: Final = VirtualBank(mcg_status=mcg.MCIP.mask | mcg.RIPV.mask)
"""What the vCPUs that are not concerned see of a broadcast."""


def page_lost(page: GuestFrame, *, consumed: bool) -> VirtualBank:
    """The vMCE that tells of one lost page: SRAR to who consumed it, else SRAO."""
    status = _CAUSE | (AR.mask | SRAR_DATA_LOAD if consumed else SRAO_SCRUB)
    misc = mci_misc.ADDRESS_MODE.put(mci_misc.AddressMode.PHYSICAL) | mci_misc.ADDRESS_LSB.put(PAGE_SHIFT)
    # EIPV with RIPV: the guest's instruction pointer is where the load is, and can go on once the page is replaced.
    mcg_status = mcg.MCIP.mask | mcg.RIPV.mask | (mcg.EIPV.mask if consumed else 0)
    return VirtualBank(mcg_status=mcg_status, status=status, addr=page << PAGE_SHIFT, misc=misc)


def notice_content(pages: tuple[GuestFrame, ...], *, consumed: bool, must_act: bool, endangered: bool) -> bytes:
    """What a PV MCA handler is given: one ``mc_info`` or more, a bank entry for each page: lost, or ``endangered``.

    Page numbers are the guest's own; no domain, vCPU, socket, core or APIC id of the host is in it (L7). A notification
    about which nothing need be done is flagged as CORRECTABLE.
    """
    flags = McFlag.MCE | (McFlag.RECOVERABLE if must_act else McFlag.CORRECTABLE)
    blobs = []
    for at in range(0, len(pages), BANKS_OF_MC_INFO):
        banks = tuple(
            _entry(page, consumed=consumed, endangered=endangered) for page in pages[at : at + BANKS_OF_MC_INFO]
        )
        blobs.append(McInfo(entries=(McInfoGlobal(flags=flags), *banks)).pack())
    return b"".join(blobs)


def _entry(page: GuestFrame, *, consumed: bool, endangered: bool) -> McInfoBank:
    told = page_lost(page, consumed=consumed)
    # A page that is still good is told of by a corrected error.
    status = (VAL.mask | EN.mask | MISCV.mask | ADDRV.mask | MEMORY_READ) if endangered else told.status
    return McInfoBank(bank=BANK, status=status, addr=told.addr, misc=told.misc)
