"""Scalable MCA: which hardware a bank belongs to (MCA_IPID) and what its extended error codes mean. Data only.

A bank says what it is by HardwareID and McaType of its MCA_IPID; the bank's number says nothing. The error names are
AMD's terms, shortened. Where two of AMD's own sources name one code differently, the name carries both.

Sources: PPR 54945, 55803, 55898, 56255, 57019, 57238, 57254 (sections "MCA Banks" and "Hardware IDs and McaType");
Linux drivers/edac/mce_amd.c up to 6.6 (which held the names) and arch/x86/kernel/cpu/mce/amd.c of 2026 (HardwareIDs);
rasdaemon mce-amd-smca.c 0.8.5 (names up to family 1Ah, by AMD).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ringfence.arch.cpuid import Signature

_LINUX = "Linux arch/x86/kernel/cpu/mce/amd.c (smca_hwid_mcatypes)"
_NAMES = "rasdaemon mce-amd-smca.c 0.8.5"


@dataclass(frozen=True, slots=True)
class BankType:
    """One type of SMCA bank. ``symbol`` is AMD's short name; ``errors`` names ErrorCodeExt (MCA_STATUS[21:16]).

    A code that ``errors`` does not hold is reserved or not published. ``core``: the bank belongs to a CPU core.
    """

    symbol: str
    name: str
    hardware_id: int
    mca_type: int
    errors: Mapping[int, str]
    core: bool = False
    cite: str = f"{_LINUX}; {_NAMES}"


@dataclass(frozen=True, slots=True)
class Reassignment:
    """Some models give other meanings to a bank type's error codes; ``errors`` replaces the type's own table there."""

    symbol: str
    family: int
    first_model: int
    last_model: int
    errors: Mapping[int, str]
    cite: str

    def holds_for(self, signature: Signature) -> bool:
        """Whether this processor is one of them."""
        return signature.family == self.family and self.first_model <= signature.model <= self.last_model


def _numbered(*names: str | None) -> dict[int, str]:
    return {code: name for code, name in enumerate(names) if name is not None}


_LS = _numbered(
    "load queue parity error",
    "store queue parity error",
    "miss address buffer payload parity error",
    "L1 TLB parity error",
    "DC tag error type 5 (DcTagErr5)",
    "DC tag error type 6",
    "DC tag error type 1",
    "internal error type 1",
    "internal error type 2",
    "system read data error, thread 0",
    "system read data error, thread 1",
    "DC tag error type 2",
    "DC data error type 1 and poison consumption",
    "DC data error type 2",
    "DC data error type 3",
    "DC tag error type 4",
    "L2 TLB parity error",
    "PDC (page directory cache) parity error",
    "DC tag error type 3",
    # AMD's field is DcTagErr7; its description repeats "type 5" in the PPR and in every tool that copied it.
    "DC tag error type 7 (DcTagErr7; described as type 5)",
    "L2 fill data error",
    "SCB cache line state or address error",
    "SCB data error, commit pipe 0",
    "SCB data error, commit pipe 1",
    "SCB data error for non-cacheable DRAM or I/O",
    "system read data error in the write-combining buffer",
    "hardware assertion",
)

_LS_V2 = _numbered(
    "data cache ECC error, read by a probe or victimisation",
    "data cache ECC error or L2 poison, read by a load",
    "data cache ECC error, read-modify-write by a store",
    "tag ECC error or poison bit mismatch, read by a probe or victimisation",
    "tag ECC error or poison bit mismatch, read by a load",
    "tag ECC error or poison bit mismatch, read by a store",
    "EMEM ECC error, read by a load",
    "EMEM ECC error, read-modify-write by a store",
    "L1 TLB entry parity error",
    "L2 TLB entry parity error",
    "PWC (page walk cache) entry parity error",
    "STQ (store queue) entry parity error",
    "LDQ (load queue) entry parity error",
    "MAB (miss address buffer) entry parity error",
    "SCB entry state parity error",
    "SCB entry address parity error",
    "SCB entry data parity error",
    "WCB (write-combining buffer) entry parity error",
    "poisoned line in an SCB entry",
    "system read data error on data from L2, for a load",
    "system read data error on data from L2, for an SCB store",
    "system read data error on data from L2, for a WCB store",
    "hardware assertion",
    "parity error in STLF, SCB EMEM entry, store data mask or SRB store data",
)

_IF = _numbered(
    "op cache microtag probe port parity error",
    "IC microtag or full tag multi-hit error",
    "IC full tag parity error",
    "IC data array parity error",
    "decoupling queue (PRQ) physical address parity error",
    "L0 ITLB parity error",
    "L1 ITLB parity error",
    "L2 ITLB parity error",
    "BPQ snoop parity error, thread 0",
    "BPQ snoop parity error, thread 1",
    "L1 BTB multi-match error",
    "L2 BTB multi-match error",
    "L2 cache response poison error",
    "system read data error",
    "hardware assertion",
    "L1 TLB multi-hit",
    "L2 TLB multi-hit",
    "BSR parity error",
    "CT MCE",
)

_L2 = _numbered(
    "L2M tag multiple-way-hit error",
    "L2M tag or state array ECC error",
    "L2M data array ECC error",
    "hardware assertion",
    "SDP read response parity error",
    "error initiated by a programmable state machine",
)

_DE = _numbered(
    "micro-op cache tag array parity error",
    "micro-op cache data array parity error",
    "instruction buffer (IBB register file) parity error",
    "micro-op queue parity error",
    "instruction dispatch queue parity error",
    "fetch address FIFO parity error",
    "patch RAM data parity error",
    "patch RAM sequencer parity error",
    "micro-op buffer (fetch queue) parity error",
    "hardware assertion",
)

_EX = _numbered(
    "watchdog timeout",
    "physical register file parity error",
    "flag register file parity error",
    "immediate displacement register file parity error",
    "address generator payload parity error",
    "EX payload parity error",
    "checkpoint queue parity error",
    "retire dispatch queue parity error",
    "retire status queue parity error",
    "scheduler queue parity error",
    "branch buffer queue parity error",
    "hardware assertion",
    "spec map parity error",
    "retire map parity error",
)

_FP = _numbered(
    "physical register file (PRF) parity error",
    "freelist (FL) parity error",
    "schedule queue parity error",
    "NSQ parity error",
    "retire queue (RQ) parity error",
    "status register file (SRF) parity error",
    "hardware assertion",
    "physical K mask register file (KRF) parity error",
)

_L3 = _numbered(
    "shadow tag macro ECC error",
    "shadow tag macro multi-way-hit error",
    "L3M tag ECC error",
    "L3M tag multi-way-hit error",
    "L3M data ECC error",
    "SDP parity error or system read data error from XI",
    "L3 victim queue error (parity; Data Fabric error in newer manuals)",
    "hardware assertion",
    "XI WCB parity error, poison created",
    "error initiated by a DSM action",
)

_CS = _numbered(
    "illegal request",
    "address violation",
    "security violation",
    "illegal response",
    "unexpected response",
    "request or probe parity error",
    "read response parity error",
    "atomic request parity error",
    "probe filter ECC error",
)

_CS_FIRST_EIGHT = tuple(_CS[code] for code in range(8))

_CS_V2 = _numbered(
    *_CS_FIRST_EIGHT,
    "SDP read response without a match in the CS queue",
    "probe filter protocol error",
    "probe filter ECC error",
    "SDP read response with an unexpected RETRY",
    "counter overflow",
    "counter underflow",
    "illegal request on the no-data channel",
    "address violation on the no-data channel",
    "security violation on the no-data channel",
    "hardware assertion",
    "shadow tag array protocol error",
    "shadow tag ECC error",
    "shadow tag transaction error",
)

_CS_V2_ERRATUM_1384 = _numbered(
    *_CS_FIRST_EIGHT,
    "SDP read response without a match in the CS queue",
    "SDP read response with an unexpected RETRY",
    "counter overflow",
    "counter underflow",
    "probe filter protocol error",
    "probe filter ECC error",
    "illegal request on the no-data channel",
    "address violation on the no-data channel",
    "security violation on the no-data channel",
    "hardware assertion",
)

_PIE = _numbered(
    "hardware assertion",
    "register security violation",
    "link error (GMI or xGMI)",
    "poison data consumption",
    "deferred error in the Data Fabric",
    "watchdog timer",
    "SRAM ECC error in the CNLI block",
    "register access during DF C-state",
    "DSM error",
)

_UMC = _numbered(
    "DRAM ECC error",
    "data poison error",
    "SDP parity error",
    "advanced peripheral bus error",
    "address/command parity error",
    "write data CRC error",
    "DCQ SRAM ECC error",
    "AES SRAM ECC error",
    "ECS row error",
    "ECS error",
    "UMC throttling error",
    "read CRC error",
    None,
    None,
    None,
    None,
    "RFM SRAM ECC error",
)

_UMC_HBM = _numbered(
    "DRAM on-die ECC error",
    "data poison error",
    "SDP parity error",
    None,
    "address/command parity error",
    "HBM write data parity error",
    "consolidated SRAM ECC error",
    None,
    None,
    "Rdb SRAM ECC error",
    "thermal throttling",
    "HBM read data parity error",
    None,
    "UMC firmware error",
    "SRAM parity error",
    "HBM CRC error",
)

_UMC_V2 = _numbered(
    "DRAM ECC error",
    "data poison error",
    "SDP parity error",
    None,
    "address/command parity error",
    "write data parity error",
    "DCQ SRAM ECC error",
    None,
    "read data parity error",
    "Rdb SRAM ECC error",
    "RdRsp SRAM ECC error",
    "LM32 MP error",
)

_MA_LLC = _numbered(
    "counter overflow",
    "counter underflow",
    "write data parity error",
    "read response parity error",
    "cache tag ECC error, macro 0",
    "cache tag ECC error, macro 1",
    "cache data ECC error",
)

_PSP_V2 = _numbered(
    "high SRAM ECC or parity error",
    "low SRAM ECC or parity error",
    *(f"instruction cache bank {bank} ECC or parity error" for bank in range(2)),
    *(f"instruction tag RAM {bank} parity error" for bank in range(2)),
    *(f"data cache bank {bank} ECC or parity error" for bank in range(4)),
    *(f"data tag bank {bank} parity error" for bank in range(4)),
    "dirty data RAM parity error",
    *(f"TLB bank {bank} parity error" for bank in range(2)),
    "system hub read buffer ECC or parity error",
    "fuse IP SRAM ECC or parity error",
    "PCRU fuse SRAM ECC or parity error",
    "SIB SRAM parity error",
    "mpASP SECEMC error",
    "mpASP A5 hang",
    "SIB watchdog timer error",
)

_MP_CACHES = tuple(
    f"{array} bank {bank} ECC or parity error"
    for array in ("data cache", "data tag cache", "instruction cache", "instruction tag cache")
    for bank in ("A", "B")
)
"""The caches that every microprocessor of the SMU family (SMU, MP5, MPDMA) reports in the same order."""

_MP = ("high SRAM ECC or parity error", "low SRAM ECC or parity error", *_MP_CACHES)

_SMU_V2 = _numbered(*_MP, "system hub read buffer ECC or parity error", "PHY RAS (RAM) ECC error")

_SMU_V2_GFX = _SMU_V2 | {
    58: "correctable error from a GFX sub-IP",
    59: "fatal error from a GFX sub-IP",
    62: "poison error from a GFX sub-IP",
}

_MPDMA_HEAD = (
    *(f"main SRAM [{high}:{high - 31}] bank ECC or parity error" for high in (31, 63, 95, 127)),
    *_MP_CACHES * 3,
    "system hub read buffer ECC or parity error",
    "TVF DVSEC memory ECC or parity error",
    "TVF MMIO mailbox 0 ECC or parity error",
    "TVF MMIO mailbox 1 ECC or parity error",
    "TVF doorbell memory ECC or parity error",
    *(f"TVF SDP slave memory {number} ECC or parity error" for number in range(3)),
    *(f"TVF SDP master memory {number} ECC or parity error" for number in range(7)),
)

# From code 43 on, Linux (to 6.6) and rasdaemon (since 2023, both by AMD) disagree about the order, and neither says for
# which models. Both readings are kept.
_MPDMA = _numbered(
    *_MPDMA_HEAD,
    "PTE command FIFO ECC or parity error (rasdaemon: SDP watchdog timer expired)",
    "PTE hub data FIFO ECC or parity error (rasdaemon: PTE command FIFO)",
    "PTE internal data FIFO ECC or parity error (rasdaemon: PTE hub data FIFO)",
    "PTE command memory DMA ECC or parity error (rasdaemon: PTE internal data FIFO)",
    "PTE command memory internal ECC or parity error (rasdaemon: PTE command memory DMA)",
    "PTE DMA completion FIFO ECC or parity error (rasdaemon: PTE command memory internal)",
    "PTE tablewalk completion FIFO ECC or parity error (rasdaemon: TVF SDP master memory 7)",
    "PTE descriptor completion FIFO ECC or parity error",
    "PTE read-only completion FIFO ECC or parity error",
    "PTE direct-write completion FIFO ECC or parity error",
    "SDP watchdog timer expired",
)

_NBIO = _numbered(
    "ECC or parity error",
    "PCIe error",
    "external SDP ErrEvent error",
    "SDP egress poison error",
    "internal poison error",
    "internal system fatal error event",
)

_PCIE = _numbered(
    "CCIX PER message",
    "CCIX read response with non-data error status",
    "CCIX write response with non-data error status",
    "CCIX read response with data error status",
    "CCIX non-okay write response with data error",
)

_XGMI_PCS = _numbered(
    "data loss error",
    "training error",
    "flow control acknowledge error",
    "Rx FIFO underflow",
    "Rx FIFO overflow",
    "CRC error",
    "bit error rate exceeded",
    "Tx VCID data error",
    "replay buffer parity error",
    "data parity error",
    "replay FIFO overflow",
    "replay FIFO underflow",
    "elastic FIFO overflow",
    "deskew error",
    "flow control CRC error",
    "data startup limit error",
    "FC init timeout",
    "recovery timeout",
    "ready serial timeout",
    "ready serial attempt error",
    "recovery attempt error",
    "recovery relock attempt error",
    "replay attempt error",
    "sync header error",
    "Tx replay timeout",
    "Rx replay timeout",
    "LinkSub Tx timeout",
    "LinkSub Rx timeout",
    "Rx CMD packet error",
)

_GMI_PCS = _numbered(
    "data loss error",
    "training error",
    "replay parity error",
    "Rx FIFO underflow",
    "Rx FIFO overflow",
    "CRC error",
    "bit error rate exceeded",
    "Tx FIFO underflow",
    "replay buffer parity error",
    "Tx overflow",
    "replay FIFO overflow",
    "replay FIFO underflow",
    "elastic FIFO overflow",
    "deskew error",
    "offline error",
    "data startup limit error",
    "FC init timeout",
    "recovery timeout",
    "ready serial timeout",
    "ready serial attempt error",
    "recovery attempt error",
    "recovery relock attempt error",
    "deskew abort error",
    "Rx buffer error",
    "Rx LFDS FIFO overflow",
    "Rx LFDS FIFO underflow",
    "LinkSub Tx timeout",
    "LinkSub Rx timeout",
    "Rx CMD packet error",
    "LFDS training timeout",
    "LFDS FC init timeout",
    "data loss error",
)

_PHY = _numbered(
    "RAM ECC error", "ARC instruction buffer parity error", "ARC data buffer parity error", "PHY APB error"
)

_NBIF = _numbered("timeout error from GMI", "SRAM ECC error", "NTB error event", "SDP parity error")

_SATA = _numbered(*(f"parity error, port {port}" for port in range(8)))

_USB = _numbered(
    *(f"parity or ECC error, S0 RAM{number}" for number in range(3)),
    *(f"parity error, PHY RAM{number}" for number in range(2)),
    "AXI slave response error",
)

_USR_DP = _numbered(
    "Mst CMD error",
    "Mst Rx FIFO error",
    "Mst deskew error",
    "Mst detect timeout",
    "Mst flow control error",
    "Mst data valid FIFO error",
    "MAC link state error",
    "deskew error",
    "init timeout",
    "init attempt error",
    "recovery timeout",
    "recovery attempt error",
    "eye training timeout",
    "data startup limit error",
    "LS0 exit error",
    "PLL power state update timeout",
    "Rx FIFO error",
    "LCU error",
    "conv correctable ECC error",
    "conv uncorrectable ECC error",
    None,
    "Rx data loss error",
    "replay correctable ECC error",
    "replay uncorrectable ECC error",
    "CRC error",
    "bit error rate exceeded",
    "FC init timeout",
    "FC init attempt error",
    "replay timeout",
    "replay attempt error",
    "replay underflow",
    "replay overflow",
)

_USR_CP = _numbered(
    "packet type error",
    "Rx FIFO error",
    "deskew error",
    "Rx detect timeout",
    "data parity error",
    "data loss error",
    "LCU error",
    "HB1 handshake timeout",
    "HB2 handshake timeout",
    "clock sleep response timeout",
    "clock wake response timeout",
    "reset attack error",
    "remote link fatal error",
)

_NO_NAMES: dict[int, str] = {}
"""For types whose HardwareID Linux knows (2026) while no public source names their error codes yet."""

BANK_TYPES: tuple[BankType, ...] = (
    # CPU core and its L3 (HardwareID B0h); McaType 4 is reserved.
    BankType("LS", "Load-Store Unit", 0xB0, 0x0, _LS, core=True),
    BankType("LS_V2", "Load-Store Unit", 0xB0, 0x10, _LS_V2, core=True),
    BankType("IF", "Instruction Fetch Unit", 0xB0, 0x1, _IF, core=True),
    BankType("L2", "L2 Cache", 0xB0, 0x2, _L2, core=True),
    BankType("DE", "Decode Unit", 0xB0, 0x3, _DE, core=True),
    BankType("EX", "Execution Unit", 0xB0, 0x5, _EX, core=True),
    BankType("FP", "Floating-Point Unit", 0xB0, 0x6, _FP, core=True),
    BankType("L3", "L3 Cache", 0xB0, 0x7, _L3),
    # Data Fabric. "Coherent Slave" until 2022, "Coherent Station" since; the older name is in every log before.
    BankType("CS", "Coherent Station (Coherent Slave)", 0x2E, 0x0, _CS),
    BankType("CS_V2", "Coherent Station (Coherent Slave)", 0x2E, 0x2, _CS_V2),
    BankType("PIE", "Power, Interrupts, etc. (Data Fabric)", 0x2E, 0x1, _PIE),
    BankType("MA_LLC", "Memory Attached Last Level Cache", 0x2E, 0x4, _MA_LLC),
    # Memory
    BankType("UMC", "Unified Memory Controller", 0x96, 0x0, _UMC),
    BankType("UMC_V2", "Unified Memory Controller v2", 0x96, 0x1, _UMC_V2),
    BankType("EDDR5CMN", "eDDR5 CMN Unit", 0x1E0, 0x0, _NO_NAMES, cite=_LINUX),
    # Microprocessors
    BankType("SMU", "System Management Unit", 0x01, 0x0, _numbered("ECC or parity error in an SMU RAM")),
    BankType("SMU_V2", "System Management Unit", 0x01, 0x1, _SMU_V2),
    BankType("MP5", "Microprocessor 5 Unit", 0x01, 0x2, _numbered(*_MP, "fuse SRAM ECC or parity error")),
    BankType("MPDMA", "MPDMA Unit", 0x01, 0x3, _MPDMA),
    BankType("PB", "Parameter Block", 0x05, 0x0, _numbered("ECC error in the parameter block RAM")),
    BankType("PSP", "Platform Security Processor", 0xFF, 0x0, _numbered("ECC or parity error in a PSP RAM")),
    BankType("PSP_V2", "Platform Security Processor", 0xFF, 0x1, _PSP_V2),
    BankType("MPART", "AMD Root of Trust Microprocessor", 0xFF, 0x2, _NO_NAMES, cite=_LINUX),
    BankType("MPASP", "AMD Secure Processor", 0xFD, 0x0, _NO_NAMES, cite=_LINUX),
    BankType("MPASP_V2", "AMD Secure Processor", 0xFD, 0x1, _NO_NAMES, cite=_LINUX),
    BankType("MPM", "Microprocessor Manageability Core", 0xF9, 0x0, _NO_NAMES, cite=_LINUX),
    BankType("MPRAS", "Microprocessor for RAS", 0x12, 0x0, _NO_NAMES, cite=_LINUX),
    BankType("MPDACC", "Microprocessor for Data Acceleration", 0xBE, 0x0, _NO_NAMES, cite=_LINUX),
    BankType("DACC_FE", "Data Acceleration Front-end", 0x157, 0x0, _NO_NAMES, cite=_LINUX),
    BankType("DACC_BE", "Data Acceleration Back-end", 0x164, 0x0, _NO_NAMES, cite=_LINUX),
    # I/O and links
    BankType("NBIO", "Northbridge I/O Unit", 0x18, 0x0, _NBIO),
    BankType("PCIE", "PCI Express Unit", 0x46, 0x0, _PCIE),
    BankType("PCIE_V2", "PCI Express Unit", 0x46, 0x1, _numbered("SDP data parity error")),
    BankType("PCIE_PL", "PCI Express Link", 0x1E1, 0x0, _NO_NAMES, cite=_LINUX),
    BankType("NBIF", "NBIF Unit", 0x6C, 0x0, _NBIF),
    BankType("SHUB", "System Hub Unit", 0x80, 0x0, _NBIF),
    BankType("SATA", "SATA Unit", 0xA8, 0x0, _SATA),
    BankType("USB", "USB Unit", 0xAA, 0x0, _USB),
    BankType("SSBDCI", "Die to Die Interconnect", 0x5C, 0x0, _NO_NAMES, cite=_LINUX),
    BankType("USR_DP", "Ultra Short Reach Data Plane Controller", 0x170, 0x0, _USR_DP),
    BankType("USR_CP", "Ultra Short Reach Control Plane Controller", 0x180, 0x0, _USR_CP),
    BankType("XGMI_PCS", "External Global Memory Interconnect PCS", 0x50, 0x0, _XGMI_PCS),
    BankType("XGMI_PHY", "External Global Memory Interconnect PHY", 0x259, 0x0, _PHY),
    BankType("GMI_PCS", "Global Memory Interconnect PCS", 0x241, 0x0, _GMI_PCS),
    BankType("GMI_PHY", "Global Memory Interconnect PHY", 0x269, 0x0, _PHY),
    BankType("WAFL_PHY", "WAFL PHY", 0x267, 0x0, _PHY),
)
"""Every bank type that a public source names."""

_ERRATUM_1384 = "Revision Guide for AMD Family 19h Models 10h-1Fh, erratum 1384; rasdaemon mce-amd-smca.c"

REASSIGNMENTS: tuple[Reassignment, ...] = (
    Reassignment("CS_V2", 0x19, 0x10, 0x1F, _CS_V2_ERRATUM_1384, _ERRATUM_1384),
    Reassignment("CS_V2", 0x19, 0x60, 0x7B, _CS_V2_ERRATUM_1384, _ERRATUM_1384),
    Reassignment("CS_V2", 0x19, 0xA0, 0xAF, _CS_V2_ERRATUM_1384, _ERRATUM_1384),
    Reassignment("CS_V2", 0x1A, 0x40, 0x4F, _CS_V2_ERRATUM_1384, _ERRATUM_1384),
    Reassignment("UMC", 0x19, 0x90, 0x9F, _UMC_HBM, "rasdaemon mce-amd-smca.c (family 19h models 90h-9Fh, HBM)"),
    Reassignment("SMU_V2", 0x19, 0x90, 0x9F, _SMU_V2_GFX, "rasdaemon mce-amd-smca.c (MCA_CTL_SMU bits 58 to 62)"),
)
"""Models on which a bank type's codes mean something else."""

_BY_IDENTITY = {(bank.hardware_id, bank.mca_type): bank for bank in BANK_TYPES}
_BY_SYMBOL = {bank.symbol: bank for bank in BANK_TYPES}


def bank_type(hardware_id: int, mca_type: int) -> BankType | None:
    """The bank type with this HardwareID (MCA_IPID[43:32]) and McaType (MCA_IPID[63:48]), None if nobody names it."""
    return _BY_IDENTITY.get((hardware_id, mca_type))


def error_names(bank: BankType, extended_code: int, signature: Signature | None) -> tuple[str, ...]:
    """What ``extended_code`` means in this bank: one name, none (reserved or unpublished), or several.

    Several come back only where models differ and the processor is not known: the common meaning first.
    """
    if signature is not None:
        for change in REASSIGNMENTS:
            if change.symbol == bank.symbol and change.holds_for(signature):
                return _present(change.errors.get(extended_code))
        return _present(bank.errors.get(extended_code))
    candidates = [bank.errors.get(extended_code)]
    candidates += [change.errors.get(extended_code) for change in REASSIGNMENTS if change.symbol == bank.symbol]
    return tuple(dict.fromkeys(name for name in candidates if name is not None))


def _present(name: str | None) -> tuple[str, ...]:
    return () if name is None else (name,)


@dataclass(frozen=True, slots=True)
class BankPlace:
    """A bank number at which some models have a bank type: to be used as an assumption, when MCA_IPID is missing."""

    family: int
    first_model: int
    last_model: int
    banks: Mapping[int, str]
    cite: str

    def holds_for(self, signature: Signature) -> bool:
        """Whether this processor is one of them."""
        return signature.family == self.family and self.first_model <= signature.model <= self.last_model


CORE_BANKS: Mapping[int, str] = {1: "IF", 2: "L2", 3: "DE", 5: "EX", 6: "FP"}
"""Bank numbers that every Zen core gives to the same units (bank 0, LS, has two types; bank 4 is reserved)."""

RESERVED_BANK = 4
"""Bank 4 was the northbridge's before SMCA; on every Zen processor it reads as zero (PPR 54945, "MCA Banks")."""

_LOGS = "kernel logs of these models that carry MCA_IPID or the unit's name"

BANK_PLACES: tuple[BankPlace, ...] = (
    BankPlace(
        0x17,
        0x00,
        0x0F,
        {
            0: "LS",
            **dict.fromkeys(range(7, 15), "L3"),
            15: "UMC",
            16: "UMC",
            19: "PB",
            20: "CS",
            21: "CS",
            22: "PIE",
        },
        "PPR 54945 (family 17h models 00h-0Fh), MCA Banks",
    ),
    BankPlace(0x17, 0x10, 0x1F, {0: "LS", 20: "CS"}, _LOGS),
    BankPlace(0x17, 0x30, 0x3F, {0: "LS", 27: "PIE"}, _LOGS),
    BankPlace(0x17, 0x70, 0x7F, {0: "LS", 17: "UMC", 27: "PIE"}, _LOGS),
    BankPlace(0x17, 0x00, 0xFF, {0: "LS"}, _LOGS),
    BankPlace(0x18, 0x00, 0x0F, {0: "LS"}, "Hygon Dhyana is built on the core of family 17h models 00h-0Fh"),
    BankPlace(0x19, 0x60, 0x6F, {0: "LS_V2", 21: "UMC"}, _LOGS),
    BankPlace(0x19, 0x00, 0xFF, {0: "LS_V2"}, _LOGS),
    BankPlace(0x1A, 0x00, 0xFF, {0: "LS"}, _LOGS),
)
"""Where models keep their banks, first match wins. Only what a manual or a log attests: SMCA promises no number."""


def assumed_bank_type(bank: int, signature: Signature | None) -> tuple[BankType, str] | None:
    """The type that bank number ``bank`` has on such processors, with the source. A guess: MCA_IPID decides.

    None where nothing attests the number for the model, or, without a signature, for all Zen cores.
    """
    if signature is not None:
        for place in BANK_PLACES:
            if place.holds_for(signature) and bank in place.banks:
                return _BY_SYMBOL[place.banks[bank]], place.cite
    if bank in CORE_BANKS:
        return _BY_SYMBOL[CORE_BANKS[bank]], "every Zen core numbers its banks so (PPR, MCA Banks)"
    return None
