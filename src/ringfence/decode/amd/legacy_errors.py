"""AMD before Scalable MCA: the units behind the banks, and what error and extended error codes mean in each. Data.

Ordered tables, first match wins. Sources: BKDG 26094 and 32559 (K8), 31116 (10h), 41256 (11h), 41131 (12h), 43170
(14h), 42301 (15h), 48751 (16h), MSR descriptions of MCi_STATUS; Linux drivers/edac/mce_amd.c; mcelog k8.c.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ringfence.decode.amd.codes import Code, CodeKind, Level, Request, Space, Transaction

K8_TO_12H: Final = frozenset({0x0F, 0x10, 0x11, 0x12})
BEFORE_15H: Final = K8_TO_12H | {0x14}
_WITH_EXECUTION_BANK: Final = frozenset({0x10, 0x12, 0x14, 0x15, 0x16})
_K8: Final = frozenset({0x0F})
_15H: Final = frozenset({0x15})
_16H: Final = frozenset({0x16})
_CAT: Final = frozenset({0x14, 0x16})


@dataclass(frozen=True, slots=True)
class Rule:
    """One meaning: it holds in ``bank``, for ``families`` (None: all), and where every other given set has the value.

    ``extended``: ErrorCodeExt; ``kind``, ``levels``, ``requests``, ``transactions``, ``spaces``: parts of the code.
    """

    bank: int
    phrase: str
    families: frozenset[int] | None = None
    kind: CodeKind | None = None
    extended: frozenset[int] | None = None
    levels: frozenset[Level] | None = None
    requests: frozenset[Request] | None = None
    transactions: frozenset[Transaction] | None = None
    spaces: frozenset[Space] | None = None

    def matches(self, bank: int, family: int, extended: int, code: Code) -> bool:
        """Whether the rule says what this code means."""
        return (
            self.bank == bank
            and (self.families is None or family in self.families)
            and (self.kind is None or code.kind is self.kind)
            and (self.extended is None or extended in self.extended)
            and (self.levels is None or code.level in self.levels)
            and (self.requests is None or code.request in self.requests)
            and (self.transactions is None or code.transaction in self.transactions)
            and (self.spaces is None or code.space in self.spaces)
        )


def _codes(*codes: int) -> frozenset[int]:
    return frozenset(codes)


_L1 = frozenset({Level.L1})
_L2 = frozenset({Level.L2})
_GENERIC_LEVEL = frozenset({Level.GENERIC})
_DATA = frozenset({Transaction.DATA})
_INSTRUCTION = frozenset({Transaction.INSTRUCTION})
_TLB, _MEMORY, _BUS, _INTERNAL = CodeKind.TLB, CodeKind.MEMORY, CodeKind.BUS, CodeKind.INTERNAL


def _requests(*requests: Request) -> frozenset[Request]:
    return frozenset(requests)


_DATA_CACHE: tuple[Rule, ...] = (
    Rule(
        0,
        "data TLB parity error in the physical array",
        families=_K8,
        kind=_TLB,
        extended=_codes(0),
        transactions=_DATA,
    ),
    Rule(0, "data TLB parity error", kind=_TLB, extended=_codes(0), transactions=_DATA),
    Rule(
        0,
        "data TLB multiple match, or parity error in the virtual array",
        families=_K8,
        kind=_TLB,
        extended=_codes(1),
        transactions=_DATA,
    ),
    Rule(0, "data TLB locked miss", kind=_TLB, extended=_codes(2), transactions=_DATA),
    Rule(0, "data TLB multiple match", kind=_TLB, transactions=_DATA),
    Rule(0, "error in a system line fill of the data cache", families=_codes(0x0F, 0x11), kind=_BUS),
    Rule(
        0,
        "data cache error found by the data scrubber",
        families=_codes(0x0F, 0x10, 0x11),
        kind=_MEMORY,
        levels=_L1,
        requests=_requests(Request.GENERIC),
    ),
    Rule(0, "error in a data cache line fill from L2", families=K8_TO_12H, kind=_MEMORY, levels=_L2),
    Rule(0, "data cache data or tag error", families=K8_TO_12H, kind=_MEMORY, levels=_L1),
    Rule(
        0,
        "data cache data or tag parity error, load or hardware prefetch",
        families=_CAT,
        kind=_MEMORY,
        levels=_L1,
        transactions=_DATA,
        requests=_requests(Request.DATA_READ),
    ),
    Rule(
        0,
        "data cache data or tag parity error, store",
        families=_CAT,
        kind=_MEMORY,
        levels=_L1,
        transactions=_DATA,
        requests=_requests(Request.DATA_WRITE),
    ),
    Rule(
        0,
        "copyback parity error on a tag miss",
        families=_CAT,
        kind=_MEMORY,
        levels=_L1,
        transactions=_DATA,
        requests=_requests(Request.EVICT),
    ),
    Rule(
        0,
        "tag parity error in a snoop",
        families=_CAT,
        kind=_MEMORY,
        levels=_L1,
        transactions=_DATA,
        requests=_requests(Request.SNOOP),
    ),
    *(
        Rule(
            0,
            f"system read data error on a {access}",
            families=_CAT,
            kind=_BUS,
            levels=_GENERIC_LEVEL,
            spaces=frozenset({Space.MEMORY, Space.IO}),
            requests=_requests(request),
        )
        for request, access in (
            (Request.READ, "TLB reload"),
            (Request.DATA_WRITE, "store"),
            (Request.DATA_READ, "load"),
        )
    ),
    *(
        Rule(0, phrase, families=_15H, kind=_MEMORY, extended=codes)
        for codes, phrase in (
            (_codes(0x0), "data array access error"),
            (_codes(0x1), "uncorrected error in a line fill from L2 or northbridge"),
            (_codes(0x2, 0x11), "store queue (STQ) access error"),
            (_codes(0x3), "store coalescing buffer (SCB) access error"),
            (_codes(0x10), "tag error"),
            (_codes(0x12), "load queue (LDQ) access error"),
        )
    ),
    Rule(0, "system read data error", families=_15H, kind=_BUS, extended=_codes(0)),
    Rule(0, "internal error condition", families=_15H, kind=_BUS),
    Rule(0, "hardware assertion", families=_15H, kind=_INTERNAL),
)

_15H_FETCH: Mapping[int, str] = {
    0x00: "uncorrected error in a demand line fill from L2",
    0x01: "instruction cache data parity error",
    0x02: "instruction cache valid bit parity error",
    0x03: "main tag parity error",
    0x04: "prediction queue parity error",
    0x05: "PFB data or address parity error",
    0x06: "branch status register parity error",
    0x07: "PFB promotion address error",
    0x08: "tag error in a probe or victimisation",
    0x09: "probe tag valid bit parity error",
    0x0A: "PFB non-cacheable bit parity error",
    0x0D: "PFB valid bit parity error",
    0x10: "microcode patch buffer error",
    0x11: "decoder micro-op queue parity error",
    0x12: "decoder instruction buffer parity error",
    0x13: "decoder predecode buffer parity error",
    0x14: "decoder fetch address FIFO parity error",
    0x15: "decoder dispatch micro-op queue parity error",
}

_INSTRUCTION_CACHE: tuple[Rule, ...] = (
    Rule(1, "instruction TLB parity error", kind=_TLB, extended=_codes(0)),
    Rule(1, "instruction TLB multiple match", kind=_TLB),
    Rule(1, "error in a system line fill, or northbridge read, of the instruction cache", kind=_BUS),
    Rule(1, "hardware assertion", kind=_INTERNAL),
    Rule(1, "error in an instruction cache line fill from L2", families=K8_TO_12H, kind=_MEMORY, levels=_L2),
    *(
        Rule(1, phrase, families=K8_TO_12H, kind=_MEMORY, levels=_L1, requests=_requests(request))
        for request, phrase in (
            (Request.INSTRUCTION_FETCH, "instruction cache parity error in a data load"),
            (Request.EVICT, "copyback parity or victim error"),
            (Request.SNOOP, "tag snoop error"),
        )
    ),
    Rule(
        1,
        "data or tag array parity error on a tag hit",
        families=_CAT,
        kind=_MEMORY,
        transactions=_INSTRUCTION,
        requests=_requests(Request.INSTRUCTION_FETCH),
    ),
    Rule(
        1,
        "tag error in a snoop or victimisation",
        families=_CAT,
        kind=_MEMORY,
        transactions=_INSTRUCTION,
        requests=_requests(Request.SNOOP),
    ),
    Rule(
        1,
        "tag parity error of a victim castout",
        families=_CAT,
        kind=_MEMORY,
        transactions=_INSTRUCTION,
        extended=_codes(0),
    ),
    Rule(
        1,
        "microcode patch RAM parity error",
        families=_CAT,
        kind=_MEMORY,
        transactions=_INSTRUCTION,
        extended=_codes(2),
    ),
    *(Rule(1, phrase, families=_15H, kind=_MEMORY, extended=_codes(code)) for code, phrase in _15H_FETCH.items()),
)

_15H_UNIT: Mapping[int, str] = {
    0x04: "fill ECC error on data fills",
    0x05: "fill parity error on instruction fills",
    0x06: "prefetcher request FIFO parity error",
    0x07: "PRQ address parity error",
    0x08: "PRQ data parity error",
    0x09: "WCC tag ECC error",
    0x0A: "WCC data ECC error",
    0x0B: "WCB data parity error",
    0x0C: "VB data ECC or parity error",
    0x10: "L2 tag ECC error",
    0x11: "hard L2 tag ECC error",
    0x12: "multiple hits on an L2 tag",
    0x13: "XAB parity error",
    0x14: "PRB address parity error",
}

_BUS_UNIT: tuple[Rule, ...] = (
    Rule(2, "error in the write data buffers", families=BEFORE_15H, extended=_codes(1)),
    Rule(2, "error in the victim data buffers", families=BEFORE_15H, extended=_codes(3)),
    Rule(2, "error in the L2 cache tags", families=BEFORE_15H, kind=_MEMORY, extended=_codes(2)),
    Rule(
        2,
        "error in a page descriptor cache or guest TLB",
        families=BEFORE_15H,
        kind=_TLB,
        extended=_codes(0),
    ),
    Rule(
        2,
        "parity or ECC error in data read from the northbridge",
        families=BEFORE_15H,
        kind=_BUS,
        extended=_codes(0),
    ),
    Rule(
        2,
        "L2 cache error in a data copyback",
        families=BEFORE_15H,
        kind=_MEMORY,
        extended=_codes(0),
        requests=_requests(Request.EVICT, Request.SNOOP),
    ),
    Rule(
        2,
        "parity or ECC error in a data access from L2",
        families=BEFORE_15H,
        kind=_MEMORY,
        extended=_codes(0),
        requests=_requests(Request.GENERIC, Request.READ),
    ),
    Rule(2, "data parity error in a TLB read", families=_15H, kind=_TLB, extended=_codes(0)),
    Rule(2, "poisoned data provided for a TLB fill", families=_15H, kind=_TLB, extended=_codes(1)),
    Rule(2, "error in an attempted northbridge data read", families=_15H, kind=_BUS, extended=_codes(0, 1, 2)),
    Rule(2, "hardware assertion", families=_15H, kind=_INTERNAL),
    *(Rule(2, phrase, families=_15H, kind=_MEMORY, extended=_codes(code)) for code, phrase in _15H_UNIT.items()),
    Rule(
        2,
        "input buffer (IBUFF) parity error",
        families=_16H,
        kind=_MEMORY,
        extended=_codes(0x4, 0x5),
        requests=_requests(Request.READ),
    ),
    Rule(2, "output buffer (OBUFF) parity error", families=_16H, kind=_MEMORY, extended=_codes(0x4, 0x5)),
    Rule(2, "L2 tag ECC error", families=_16H, kind=_MEMORY, extended=_codes(0x9, 0xA, 0xB, 0xD, 0xE, 0xF)),
    Rule(2, "L2 data array ECC error", families=_16H, kind=_MEMORY, extended=frozenset({*range(0x10, 0x1A), 0x1B})),
    Rule(2, "L2 attribute bits parity error", families=_16H, kind=_MEMORY, extended=_codes(0x1C, 0x1D, 0x1F)),
)

_LOAD_STORE: tuple[Rule, ...] = (
    Rule(
        3,
        "error in a load",
        families=K8_TO_12H,
        kind=_BUS,
        extended=_codes(0),
        requests=_requests(Request.DATA_READ),
    ),
    Rule(
        3,
        "error in a store",
        families=K8_TO_12H,
        kind=_BUS,
        extended=_codes(0),
        requests=_requests(Request.DATA_WRITE),
    ),
)

_ALL_WITH_ECC: Final = frozenset({0x0F, 0x10, 0x12, 0x14, 0x15, 0x16})

_NORTHBRIDGE: tuple[Rule, ...] = (
    # Family 11h has no DRAM ECC: the codes mean nothing there (Linux drivers/edac/mce_amd.c, decode_mc4_mce).
    Rule(4, "DRAM ECC error", families=_ALL_WITH_ECC, extended=_codes(0x0)),
    Rule(4, "DRAM ECC error (chipkill)", families=_K8, extended=_codes(0x8)),
    Rule(4, "DRAM ECC error", families=_ALL_WITH_ECC, extended=_codes(0x8)),
    *(
        Rule(4, phrase, extended=_codes(code))
        for code, phrase in (
            (0x1, "CRC error on a HyperTransport link"),
            (0x2, "sync error packets on a HyperTransport link"),
            (0x3, "master abort"),
            (0x4, "target abort"),
            (0x5, "GART table walk found an invalid entry"),
            (0x6, "unsupported atomic read-modify-write from an I/O link"),
            (0x7, "northbridge watchdog timeout"),
            (0x9, "SVM DMA exclusion vector error"),
            (0xA, "HyperTransport link data error"),
            (0xB, "protocol error (link, L3 or probe filter)"),
            (0xC, "northbridge internal array parity error"),
            (0xD, "DRAM address or control parity error"),
            (0xE, "I/O link transmission error (link retry)"),
        )
    ),
    Rule(4, "GART table walk data error", kind=_TLB, extended=_codes(0xF)),
    Rule(4, "DMA exclusion vector table walk data error", kind=_BUS, extended=_codes(0xF)),
    Rule(4, "compute unit data error", families=_15H | _16H, extended=_codes(0x19)),
    Rule(4, "L3 data cache ECC error", extended=_codes(0x1C)),
    Rule(4, "L3 cache tag error", extended=_codes(0x1D)),
    Rule(4, "L3 LRU parity error", extended=_codes(0x1E)),
    Rule(4, "probe filter directory ECC error", extended=_codes(0x1F)),
)

_EXECUTION: tuple[Rule, ...] = (
    Rule(5, "hardware assertion", families=_WITH_EXECUTION_BANK, kind=_INTERNAL),
    *(
        Rule(5, phrase, families=_WITH_EXECUTION_BANK, extended=_codes(code))
        for code, phrase in enumerate(
            (
                "core watchdog timeout",
                "wakeup array destination tag parity error",
                "AG payload array parity error",
                "EX payload array parity error",
                "IDRF array parity error",
                "retire dispatch queue parity error",
                "mapper checkpoint array parity error",
                "physical register file parity error, EX0 port",
                "physical register file parity error, EX1 port",
                "physical register file parity error, AG0 port",
                "physical register file parity error, AG1 port",
                "flag register file parity error",
                "DE error",
                "retire status queue parity error",
            )
        )
    ),
)

_FLOATING_POINT: tuple[Rule, ...] = tuple(
    Rule(6, phrase, families=_15H, extended=_codes(code))
    for code, phrase in enumerate(
        (
            "hardware assertion",
            "free list parity error",
            "physical register file parity error",
            "retire queue parity error",
            "scheduler table parity error",
            "status register file parity error",
        )
    )
)

RULES: tuple[Rule, ...] = (
    *_DATA_CACHE,
    *_INSTRUCTION_CACHE,
    *_BUS_UNIT,
    *_LOAD_STORE,
    *_NORTHBRIDGE,
    *_EXECUTION,
    *_FLOATING_POINT,
)
"""Every meaning, in the order of the banks."""

_BY_BANK: Mapping[int, tuple[Rule, ...]] = {
    bank: tuple(rule for rule in RULES if rule.bank == bank) for bank in {rule.bank for rule in RULES}
}

_OLD_CORE: Mapping[int, str] = {
    0: "data cache unit",
    1: "instruction cache unit",
    2: "bus unit (L2)",
    3: "load-store unit",
    4: "northbridge",
    5: "fixed-issue reorder unit",
}
_K7_UNITS = {bank: name for bank, name in _OLD_CORE.items() if bank < 4}
_K8_UNITS = {bank: name for bank, name in _OLD_CORE.items() if bank < 5}

UNITS: Mapping[int, Mapping[int, str]] = {
    0x06: _K7_UNITS,
    0x0F: _K8_UNITS,
    0x10: _OLD_CORE,
    0x11: _K8_UNITS,
    0x12: _OLD_CORE,
    0x14: _OLD_CORE,
    0x15: {
        0: "load-store unit (data cache)",
        1: "instruction fetch unit",
        2: "combined unit (L2)",
        3: "reserved bank 3",
        4: "northbridge",
        5: "execution unit",
        6: "floating-point unit",
    },
    0x16: {
        0: "load-store unit (data cache)",
        1: "instruction fetch unit",
        2: "bus unit (L2)",
        3: "reserved bank 3",
        4: "northbridge",
        5: "execution unit",
    },
}
"""Display family to the unit behind each bank."""

ANY_UNITS: Mapping[int, str] = {
    0: "data cache or load-store unit (bank 0)",
    1: "instruction cache or fetch unit (bank 1)",
    2: "bus unit or combined unit, L2 (bank 2)",
    3: "load-store unit (bank 3)",
    4: "northbridge",
    5: "execution unit (bank 5)",
    6: "floating-point unit (bank 6)",
}
"""What a bank is on some family before SMCA, for a processor that is not known."""


def error_phrase(bank: int, family: int, extended: int, code: Code) -> str | None:
    """What the codes mean in ``bank`` on display family ``family``, None where no rule says."""
    for rule in _BY_BANK.get(bank, ()):
        if rule.matches(bank, family, extended, code):
            return rule.phrase
    return None
