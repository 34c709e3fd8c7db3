"""AMD's MCA error code, MCA_STATUS[15:0]: what sort of transaction met the error. All 16 bits are accounted for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Final

SOURCE: Final = "APM vol. 2 9.3.2.2 (error codes)"


class CodeKind(StrEnum):
    """The classes of AMD error codes (APM vol. 2 9.3.2.2; PPR 55898, "Machine Check Error Codes")."""

    TLB = "TLB"
    MEMORY = "memory"
    BUS = "bus"
    INTERNAL = "internal"
    UNKNOWN = "unknown"


class Transaction(StrEnum):
    """TT: what was being transferred."""

    INSTRUCTION = "instruction"
    DATA = "data"
    GENERIC = "generic"
    RESERVED = "reserved transaction type"


class Level(StrEnum):
    """LL: cache level. 0 is L0 in the oldest manuals and reserved in the others."""

    ZERO = "level 0 (reserved)"
    L1 = "L1"
    L2 = "L2"
    GENERIC = "generic level (L3, or none)"


class Request(StrEnum):
    """RRRR: the memory transaction. Values 9 to 15 are reserved."""

    GENERIC = "generic access"
    READ = "generic read"
    WRITE = "generic write"
    DATA_READ = "data read"
    DATA_WRITE = "data write"
    INSTRUCTION_FETCH = "instruction fetch"
    PREFETCH = "prefetch"
    EVICT = "eviction"
    SNOOP = "snoop (probe)"
    RESERVED = "reserved request type"


class Participation(StrEnum):
    """PP: the part that this processor (node) played."""

    SOURCE = "this node originated the request"
    RESPONDER = "this node responded to the request"
    OBSERVER = "this node observed the error as a third party"
    GENERIC = "generic participation"


class Space(StrEnum):
    """II: memory or I/O."""

    MEMORY = "memory"
    RESERVED = "reserved space"
    IO = "I/O"
    GENERIC = "generic space"


_TRANSACTIONS = tuple(Transaction)
_LEVELS = tuple(Level)
_REQUESTS = tuple(Request)
_PARTICIPATIONS = tuple(Participation)
_SPACES = tuple(Space)
_HARDWARE_ASSERTION = 0b10


@dataclass(frozen=True, slots=True)
class Code:
    """One error code taken apart. A part is None where the code's class has none. ``phrase`` says it all in words."""

    raw: int
    kind: CodeKind
    phrase: str
    transaction: Transaction | None = None
    level: Level | None = None
    request: Request | None = None
    participation: Participation | None = None
    timed_out: bool | None = None
    space: Space | None = None


@cache
def error_code(raw: int) -> Code:
    """Takes apart the 16-bit error code ``raw``.

    0000 0000 0001 TTLL is a TLB error, 0000 0001 RRRR TTLL a memory error, 0000 1PPT RRRR IILL a bus error,
    0000 01UU 0000 0000 an internal unclassified error; anything else is ``UNKNOWN`` (APM vol. 2 9.3.2.2). Linux tests
    the internal form first and without bit 11, and so takes the bus errors 0C00h to 0F00h for internal ones
    (drivers/edac/mce_amd.h, INT_ERROR); the manual's table has no such overlap.

    Raises ValueError if ``raw`` is wider than 16 bits.
    """
    if not 0 <= raw <= 0xFFFF:
        raise ValueError(f"{raw:#x} is not a 16-bit error code")
    if raw & 0xFFF0 == 0x0010:
        return _tlb(raw)
    if raw & 0xFF00 == 0x0100:
        return _memory(raw)
    if raw & 0xF800 == 0x0800:
        return _bus(raw)
    if raw & 0xFCFF == 0x0400:
        return _internal(raw)
    return Code(raw, CodeKind.UNKNOWN, f"error code {raw:#06x} is none that AMD defines")


def _tlb(raw: int) -> Code:
    transaction, level = _TRANSACTIONS[raw >> 2 & 3], _LEVELS[raw & 3]
    return Code(raw, CodeKind.TLB, f"TLB error: {transaction}, {level}", transaction, level)


def _memory(raw: int) -> Code:
    transaction, level, request = _TRANSACTIONS[raw >> 2 & 3], _LEVELS[raw & 3], _request(raw)
    phrase = f"memory (cache) error: {request}, {transaction}, {level}"
    return Code(raw, CodeKind.MEMORY, phrase, transaction, level, request)


def _bus(raw: int) -> Code:
    participation, space = _PARTICIPATIONS[raw >> 9 & 3], _SPACES[raw >> 2 & 3]
    level, request = _LEVELS[raw & 3], _request(raw)
    timed_out = bool(raw & 0x0100)
    waited = "the request timed out" if timed_out else "no timeout"
    return Code(
        raw,
        CodeKind.BUS,
        f"bus error: {request}, {space}, {level}; {participation}, {waited}",
        level=level,
        request=request,
        participation=participation,
        timed_out=timed_out,
        space=space,
    )


def _internal(raw: int) -> Code:
    sort = raw >> 8 & 3
    what = "hardware assertion" if sort == _HARDWARE_ASSERTION else f"unclassified (UU={sort:02b}, reserved)"
    return Code(raw, CodeKind.INTERNAL, f"internal error: {what}")


def _request(raw: int) -> Request:
    return _REQUESTS[min(raw >> 4 & 0xF, len(_REQUESTS) - 1)]
