"""Nehalem and Westmere: QPI (banks 0, 1), internal errors (bank 7), memory controller (bank 8).

Source: SDM vol. 3B chapter 18, 06_1AH. The banks of Nehalem-EX and Westmere-EX (06_2EH, 06_2FH)
are others; of them only the internal error codes are documented (mcelog, xeon75xx).
"""

from __future__ import annotations

from ringfence.decode.intel.bank import (
    NOTHING,
    Bank,
    Banks,
    Logged,
    Reads,
    Specific,
    choice,
    declare,
    flags,
    for_interconnect,
    misc_bits,
    only_for,
)
from ringfence.decode.intel.codes import CodeKind
from ringfence.decode.meaning import Placed, located
from ringfence.record.evidence import Location

_QPI = flags(
    {
        16: "bad parity in a QPI header",
        17: "bad parity in a QPI data packet",
        18: "number of QPI retries exceeded",
        19: "received data was poisoned by its sender",
        22: "unsupported QPI message encoding",
        23: "unsupported QPI credit type",
        24: "the sender overran the receiver's flit buffer",
        25: "the sender sent a failed response",
        26: "clock jitter in the internal QPI clock",
    },
)

_MEMORY = flags(
    {
        16: "ECC error on a memory read",
        17: "ECC error found by scrubbing",
        18: "parity error on a memory write",
        19: "error in one half of redundant memory",
        21: "access out of range",
        22: "invalid internal RTID",
        23: "address parity error",
        24: "byte enable parity error",
    },
)

_INTERNAL = choice(
    {
        0x03: "reset firmware did not complete",
        0x08: "invalid CMPD received",
        0x0A: "invalid power management request",
        0x0D: "invalid S-state transition",
        0x11: "VID controller does not match the POC controller selected",
        0x1A: "MSID from POC does not match the processor's MSID",
    },
    high=31,
    low=24,
)


@declare(Reads(misc=(1 << 25) - 1))
def _qpi_misc(logged: Logged) -> Specific:
    """MC0_MISC and MC1_MISC: the packet that was hit."""
    if logged.misc is None:
        return NOTHING
    return Specific(
        details=(
            f"QPI packet: class and opcode {misc_bits(logged.misc, 7, 0):#04x}, "
            f"transaction {misc_bits(logged.misc, 13, 8):#x}, "
            f"requester/home node {misc_bits(logged.misc, 18, 16)}, "
            f"interleave/head bit {misc_bits(logged.misc, 24, 24)}",
        )
    )


_SYNDROME = Placed("syndrome", "misc", ((63, 32, 0),))


@declare(Reads(misc=(1 << 20) - 1))
def _memory_misc(logged: Logged) -> Specific:
    """MC8_MISC: tracker, DIMM, channel, ECC syndrome."""
    if logged.misc is None:
        return NOTHING
    return Specific(
        details=(f"transaction tracker {misc_bits(logged.misc, 7, 0):#04x}",),
        location=located(
            Location(channel=misc_bits(logged.misc, 19, 18), slot=misc_bits(logged.misc, 17, 16)),
            (_SYNDROME,),
            logged.misc,
        ),
        placed=(_SYNDROME,),
    )


internal = only_for(
    lambda logged: logged.code.kind is CodeKind.UNCLASSIFIED,
    _INTERNAL,
    looks=Reads(code=(lambda code: code.kind is CodeKind.UNCLASSIFIED,)),
)
"""Internal errors (MCACOD 0001h)."""

_qpi = for_interconnect(_QPI, _qpi_misc)

NEHALEM: Banks = {
    0: Bank("Intel QPI 0", (_qpi,)),
    1: Bank("Intel QPI 1", (_qpi,)),
    7: Bank("Power control unit (PCU)", (internal,)),
    8: Bank(
        "Integrated memory controller (iMC)",
        (
            only_for(
                lambda logged: logged.code.kind is CodeKind.MEMORY,
                _MEMORY,
                _memory_misc,
                looks=Reads(code=(lambda code: code.kind is CodeKind.MEMORY,)),
            ),
        ),
        controller=0,
    ),
}
"""Nehalem-EP, Westmere-EP and their client parts (06_1AH, 1EH, 1FH, 25H, 2CH)."""

NEHALEM_EX: Banks = {}
"""Nehalem-EX and Westmere-EX (06_2EH, 06_2FH)."""
