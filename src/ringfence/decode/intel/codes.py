"""MCACOD, the MCA error code in MCi_STATUS[15:0]: what kind of error it is, and its sub-fields.

Source: SDM vol. 3B 17.9 "Interpreting the MCA Error Codes" (chapter 15.9 in editions before 2023), which Zhaoxin's
processors follow too. Bit 12 (F, correction report filtering) says that further corrected errors of the same place
may go unreported; it changes nothing else, so every code is classified without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import lru_cache

FILTERING = 1 << 12


class CodeKind(StrEnum):
    """The classes of SDM vol. 3B 17.9.1 (simple) and 17.9.2 (compound); each MCACOD belongs to exactly one."""

    NO_ERROR = "no error"
    UNCLASSIFIED = "unclassified"
    MICROCODE_ROM_PARITY = "microcode ROM parity"
    EXTERNAL = "external"
    FRC = "functional redundancy check"
    INTERNAL_PARITY = "internal parity"
    SMM_CODE_ACCESS = "SMM handler code access violation"
    INTERNAL_TIMER = "internal timer"
    INTERNAL_UNCLASSIFIED = "internal unclassified"
    IO = "I/O"
    GENERIC_CACHE = "generic cache hierarchy"
    TLB = "TLB"
    MEMORY = "memory controller"
    CACHE = "cache hierarchy"
    EXTENDED_MEMORY = "extended memory"
    BUS = "bus and interconnect"
    UNKNOWN = "unknown"


class Transaction(IntEnum):
    """TT, the transaction type of cache and TLB errors (SDM vol. 3B 17.9.2.2)."""

    INSTRUCTION = 0
    DATA = 1
    GENERIC = 2
    RESERVED = 3


class Level(IntEnum):
    """LL, the level in the memory hierarchy (SDM vol. 3B 17.9.2.3). GENERIC is "no particular level", not a level 3."""

    L0 = 0
    L1 = 1
    L2 = 2
    GENERIC = 3


class MemoryTransaction(IntEnum):
    """MMM, the transaction of a memory controller error (SDM vol. 3B 17.9.2.6); 5 to 7 are reserved."""

    GENERIC = 0
    READ = 1
    WRITE = 2
    ADDRESS_COMMAND = 3
    SCRUBBING = 4
    RESERVED_5 = 5
    RESERVED_6 = 6
    RESERVED_7 = 7


class Participation(IntEnum):
    """PP, the part that the reporting processor had in a bus error (SDM vol. 3B 17.9.2.5)."""

    SOURCE = 0
    RESPONDER = 1
    OBSERVER = 2
    GENERIC = 3


class Target(IntEnum):
    """II, what a bus error's request was for (SDM vol. 3B 17.9.2.5)."""

    MEMORY = 0
    RESERVED = 1
    IO = 2
    OTHER = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """One MCACOD taken apart. Fields that its kind does not have are None.

    ``value`` is the code as logged, with the filtering bit. ``channel`` is CCCC, None also when the code says "channel
    not specified" (1111B). ``request`` is RRRR (0 generic, 1 read, 2 write, 3 data read, 4 data write, 5 instruction
    fetch, 6 prefetch, 7 eviction, 8 snoop; above that reserved).
    """

    value: int
    kind: CodeKind
    level: Level | None = None
    transaction: Transaction | None = None
    request: int | None = None
    memory: MemoryTransaction | None = None
    channel: int | None = None
    participation: Participation | None = None
    timed_out: bool | None = None
    target: Target | None = None

    @property
    def filtered(self) -> bool:
        """The F bit: further corrected errors of this place may not be reported."""
        return bool(self.value & FILTERING)

    @property
    def base(self) -> int:
        """The code without the filtering bit, as signatures are compared."""
        return self.value & ~FILTERING

    @property
    def is_memory(self) -> bool:
        """A memory controller saw it: memory, or memory used as a cache ("extended memory")."""
        return self.kind in (CodeKind.MEMORY, CodeKind.EXTENDED_MEMORY)

    @property
    def is_scrubbing(self) -> bool:
        """A memory scrubbing error (0xC0 to 0xCF), which nobody has consumed."""
        return self.kind is CodeKind.MEMORY and self.memory is MemoryTransaction.SCRUBBING

    @property
    def phrase(self) -> str:
        """One phrase for what the code says, without the model-specific part."""
        return _phrase(self)


_SIMPLE = {
    0x0000: CodeKind.NO_ERROR,
    0x0001: CodeKind.UNCLASSIFIED,
    0x0002: CodeKind.MICROCODE_ROM_PARITY,
    0x0003: CodeKind.EXTERNAL,
    0x0004: CodeKind.FRC,
    0x0005: CodeKind.INTERNAL_PARITY,
    0x0006: CodeKind.SMM_CODE_ACCESS,
    0x0400: CodeKind.INTERNAL_TIMER,
    0x0E0B: CodeKind.IO,
}

_SIMPLE_PHRASES = {
    CodeKind.NO_ERROR: "No error",
    CodeKind.UNCLASSIFIED: "Unclassified error",
    CodeKind.MICROCODE_ROM_PARITY: "Microcode ROM parity error",
    CodeKind.EXTERNAL: "External error: another processor signalled a machine check (BINIT#)",
    CodeKind.FRC: "Functional redundancy check (FRC) error",
    CodeKind.INTERNAL_PARITY: "Internal parity error",
    CodeKind.SMM_CODE_ACCESS: "SMM handler code access violation",
    CodeKind.INTERNAL_TIMER: "Internal timer error",
    CodeKind.IO: "Generic I/O error",
}

# The recoverable errors that the SDM names (17.9.3), by the code without the filtering bit.
ARCHITECTURAL_UCR_NAMES = {
    0x0134: "data load",
    0x0150: "instruction fetch",
    0x017A: "L3 explicit writeback",
    **dict.fromkeys(range(0x00C0, 0x00D0), "memory scrubbing"),
}

_REQUESTS = (
    "generic request",
    "read",
    "write",
    "data read",
    "data write",
    "instruction fetch",
    "prefetch",
    "eviction",
    "snoop",
)
_LEVELS = {Level.L0: "level 0", Level.L1: "level 1", Level.L2: "level 2", Level.GENERIC: "generic level"}
_UNITS = {
    Transaction.INSTRUCTION: "Instruction {}",
    Transaction.DATA: "Data {}",
    Transaction.GENERIC: "Generic {}",
    Transaction.RESERVED: "Reserved-type {}",
}
_MEMORY = {
    MemoryTransaction.GENERIC: "Memory controller error (generic undefined request)",
    MemoryTransaction.READ: "Memory read error",
    MemoryTransaction.WRITE: "Memory write error",
    MemoryTransaction.ADDRESS_COMMAND: "Memory address/command error",
    MemoryTransaction.SCRUBBING: "Memory scrubbing error",
    MemoryTransaction.RESERVED_5: "Memory controller error (reserved transaction 5)",
    MemoryTransaction.RESERVED_6: "Memory controller error (reserved transaction 6)",
    MemoryTransaction.RESERVED_7: "Memory controller error (reserved transaction 7)",
}
_PARTICIPATIONS = {
    Participation.SOURCE: "request of this processor",
    Participation.RESPONDER: "this processor responded",
    Participation.OBSERVER: "seen as a third party",
    Participation.GENERIC: "participation not said",
}
_TARGETS = {
    Target.MEMORY: "memory",
    Target.RESERVED: "reserved target",
    Target.IO: "I/O",
    Target.OTHER: "other transaction",
}


@lru_cache(maxsize=1 << 16)
def classify(mcacod: int) -> Code:
    """The code of MCi_STATUS[15:0]. Total: every 16-bit value gets a kind (``UNKNOWN`` included).

    Raises ValueError outside of 16 bits.
    """
    if not 0 <= mcacod <= 0xFFFF:
        raise ValueError(f"MCACOD has 16 bits, not {mcacod:#x}")
    code = mcacod & ~FILTERING
    if (simple := _SIMPLE.get(code)) is not None:
        return Code(value=mcacod, kind=simple)
    # The compound forms differ in their highest set bit (after F), so their order does not matter.
    level = Level(code & 3)
    if code & ~0x3 == 0x000C:
        return Code(value=mcacod, kind=CodeKind.GENERIC_CACHE, level=level)
    transaction = Transaction(code >> 2 & 3)
    if code & ~0xF == 0x0010:
        return Code(value=mcacod, kind=CodeKind.TLB, level=level, transaction=transaction)
    channel = code & 0xF if code & 0xF != 0xF else None
    memory = MemoryTransaction(code >> 4 & 7)
    if code & ~0x7F == 0x0080:
        return Code(value=mcacod, kind=CodeKind.MEMORY, memory=memory, channel=channel)
    if code & ~0x7F == 0x0280:
        return Code(value=mcacod, kind=CodeKind.EXTENDED_MEMORY, memory=memory, channel=channel)
    request = code >> 4 & 0xF
    if code & ~0xFF == 0x0100:
        return Code(value=mcacod, kind=CodeKind.CACHE, level=level, transaction=transaction, request=request)
    if code & ~0x3FF == 0x0400:
        return Code(value=mcacod, kind=CodeKind.INTERNAL_UNCLASSIFIED)
    if code & ~0x7FF == 0x0800:
        return Code(
            value=mcacod,
            kind=CodeKind.BUS,
            level=level,
            request=request,
            participation=Participation(code >> 9 & 3),
            timed_out=bool(code & 0x100),
            target=Target(code >> 2 & 3),
        )
    return Code(value=mcacod, kind=CodeKind.UNKNOWN)


def _phrase(code: Code) -> str:
    match code.kind:
        case CodeKind.INTERNAL_UNCLASSIFIED:
            return f"Internal unclassified error {code.base:#06x}"
        case CodeKind.UNKNOWN:
            return f"Unknown MCA error code {code.value:#06x}"
        case CodeKind.GENERIC_CACHE:
            return f"Cache hierarchy error, {_level(code)}"
        case CodeKind.TLB:
            return f"{_unit(code, 'TLB')} error, {_level(code)}"
        case CodeKind.CACHE:
            return f"{_unit(code, 'cache')} error, {_level(code)}, {_request(code)}"
        case CodeKind.MEMORY:
            return _memory(code)
        case CodeKind.EXTENDED_MEMORY:
            return f"{_memory(code)}, in memory used as a cache"
        case CodeKind.BUS:
            return _bus(code)
        case simple:
            return _SIMPLE_PHRASES[simple]


def _level(code: Code) -> str:
    return _LEVELS[code.level] if code.level is not None else "level not said"


def _unit(code: Code, noun: str) -> str:
    return _UNITS[code.transaction if code.transaction is not None else Transaction.GENERIC].format(noun)


def _request(code: Code) -> str:
    request = code.request or 0
    return _REQUESTS[request] if request < len(_REQUESTS) else f"reserved request {request}"


def _memory(code: Code) -> str:
    what = _MEMORY[code.memory if code.memory is not None else MemoryTransaction.GENERIC]
    return f"{what} on channel {code.channel}" if code.channel is not None else f"{what}, channel not specified"


def _bus(code: Code) -> str:
    participation = _PARTICIPATIONS[code.participation if code.participation is not None else Participation.GENERIC]
    target = _TARGETS[code.target if code.target is not None else Target.OTHER]
    timeout = "timed out" if code.timed_out else "no timeout"
    return f"Bus or interconnect error, {_level(code)}: {_request(code)}, {target}, {participation}, {timeout}"
