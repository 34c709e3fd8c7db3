"""Processors with a front-side bus: P6 to Core 2, family 15, Xeon 7100 (Tulsa) and 7400 (Dunnington).

On these, a bus error (MCACOD 0000 1PPT RRRR IILL) carries the bus unit's own bits in MCi_STATUS[54:16], which later
processors use for MSCOD and the corrected error count. Source: SDM vol. 3B chapter 18 ("Interpreting Machine-Check
Error Codes", chapter 16 and appendix E in older editions): 06_0xH, 06_0FH and 06_17H, 06_1DH, family 0FH, 0F_06H.
"""

from __future__ import annotations

from ringfence.decode.intel.bank import NOTHING, Bank, Banks, Logged, Reader, Specific, choice, flags, only_for
from ringfence.decode.intel.codes import CodeKind
from ringfence.record.evidence import Location

_REQUESTS = {
    0: "BQ_DCU_READ_TYPE",
    2: "BQ_IFU_DEMAND_TYPE",
    3: "BQ_IFU_DEMAND_NC_TYPE",
    4: "BQ_DCU_RFO_TYPE",
    5: "BQ_DCU_RFO_LOCK_TYPE",
    6: "BQ_DCU_ITOM_TYPE",
    8: "BQ_DCU_WB_TYPE",
    10: "BQ_DCU_WCEVICT_TYPE",
    11: "BQ_DCU_WCLINE_TYPE",
    12: "BQ_DCU_BTM_TYPE",
    13: "BQ_DCU_INTACK_TYPE",
    14: "BQ_DCU_INVALL2_TYPE",
    15: "BQ_DCU_FLUSHL2_TYPE",
    16: "BQ_DCU_PART_RD_TYPE",
    18: "BQ_DCU_PART_WR_TYPE",
    20: "BQ_DCU_SPEC_CYC_TYPE",
    24: "BQ_DCU_IO_RD_TYPE",
    25: "BQ_DCU_IO_WR_TYPE",
    28: "BQ_DCU_LOCK_RD_TYPE",
    29: "BQ_DCU_LOCK_WR_TYPE",
    30: "BQ_DCU_SPLOCK_RD_TYPE",
}
_ERRORS = {
    0: "BQ_ERR_HARD_TYPE",
    1: "BQ_ERR_DOUBLE_TYPE",
    2: "BQ_ERR_AERR2_TYPE",
    4: "BQ_ERR_SINGLE_TYPE",
    5: "BQ_ERR_AERR1_TYPE",
}

_SHARED_FLAGS = {
    30: "internal BINIT#",
    36: "parity error on the response to a transaction",
    38: "time-out BINIT#: no micro-instruction retired for too long (ROB time-out)",
    42: "hard error response to a bus transaction of this processor",
    43: "failure that asserts IERR#",
}
_P6_FLAGS = {
    **_SHARED_FLAGS,
    28: "FRC error",
    29: "BERR# driven by this processor",
    35: "BINIT# seen on the external bus",
    37: "hard error response to a split transaction (bus BINIT#)",
    44: "two bus transactions failed with address parity errors (AERR#)",
    45: "uncorrectable ECC error",
    46: "correctable ECC error",
}
_CORE2_FLAGS = {
    **_SHARED_FLAGS,
    28: "machine check driven",
    29: "machine check observed",
    31: "BINIT# observed",
    34: "data parity error on the interrupt controller's or front-side bus",
    37: "address parity error on the front-side bus",
}


def _bus_queue(logged: Logged) -> Specific:
    """Bus queue request type [24:19] and error type [27:25]: what the bus unit was about."""
    request, error = logged.bits(24, 19), logged.bits(27, 25)
    return Specific(
        details=(
            f"bus queue request: {_REQUESTS.get(request, f'reserved type {request:#x}')}",
            f"bus queue error: {_ERRORS.get(error, f'reserved type {error:#x}')}",
        )
    )


def _p6_syndrome(logged: Logged) -> Specific:
    """ECC syndrome [54:47], which holds only with one of the ECC bits 46:45."""
    if not logged.bits(46, 45):
        return NOTHING
    syndrome = logged.bits(54, 47)
    return Specific(details=(f"ECC syndrome {syndrome:#04x}",), location=Location(syndrome=syndrome))


def _is_bus(logged: Logged) -> bool:
    return logged.code.kind in (CodeKind.BUS, CodeKind.IO)


def _named(names: dict[int, str]) -> Reader:
    """Only the named bits: the reserved ones of these old parts hold leftovers."""

    def read(logged: Logged) -> Specific:
        return Specific(phrases=tuple(name for bit, name in sorted(names.items()) if logged.status >> bit & 1))

    return read


P6 = only_for(_is_bus, _named(_P6_FLAGS), _bus_queue, _p6_syndrome)
"""Pentium Pro to Core Duo (06_00H to 06_0EH)."""

CORE2 = only_for(_is_bus, _named(_CORE2_FLAGS), _bus_queue)
"""Core 2 (06_0FH, 06_17H)."""

_SHARED_CONTROLLER_BANK = 4

DUNNINGTON_CORE = only_for(lambda logged: logged.bank != _SHARED_CONTROLLER_BANK, CORE2)
"""The cores of Xeon 7400: in bank 4 the same bits mean the shared controller's errors."""

PENTIUM4 = only_for(
    _is_bus,
    flags(
        {
            16: "address parity error on the front-side bus",
            17: "hard failure response",
            18: "response parity error",
            19: "data parity error on the interrupt controller's or front-side bus",
            20: "invalid interrupt controller request",
            21: "pad state machine error",
            22: "pad strobe glitch",
            23: "pad address glitch",
        }
    ),
)
"""Pentium 4 and Xeon of family 15."""


# --- The shared cache and bus controller of Xeon 7100 and 7400: bank 4 ------------------------------------------------

_CONTROLLER_SHARED = {
    0x0001: "inclusion error from core 0",
    0x0002: "inclusion error from core 1",
    0x0003: "write exclusive error from core 0",
    0x0004: "write exclusive error from core 1",
    0x0005: "inclusion error from the front-side bus",
    0x0006: "snoop stall error from the front-side bus",
    0x0007: "write stall error from the front-side bus",
    0x0008: "front-side bus arbiter time-out",
    0x0200: "internal time-out",
    0x0300: "internal time-out",
    0x0400: "Cache Safe Technology queue full, or too many ways disabled in a set",
    0xC002: "correctable ECC event on outgoing data of core 0",
    0xC004: "correctable ECC event on outgoing data of core 1",
    0xE002: "uncorrectable ECC error on outgoing data of core 0",
    0xE004: "uncorrectable ECC error on outgoing data of core 1",
}
_TULSA_CONTROLLER = {
    **_CONTROLLER_SHARED,
    0x0009: "CBC out-of-order queue underflow or overflow",
    0x0100: "Enhanced SpeedStep TM1-TM2 error",
    0xC001: "correctable ECC event on outgoing front-side bus data",
    0xE001: "uncorrectable ECC error on outgoing front-side bus data",
}
_DUNNINGTON_CONTROLLER = {
    **_CONTROLLER_SHARED,
    0x000A: "inclusion error from core 2",
    0x000B: "write exclusive error from core 2",
    0x0500: "quiet cycle time-out (correctable)",
    0xC008: "correctable ECC event on outgoing data of core 2",
    0xE008: "uncorrectable ECC error on outgoing data of core 2",
}
_TULSA_BUS = {
    16: "parity error in the request phase of the front-side bus",
    17: "parity error in the address of a request of core 0",
    18: "parity error in the address of a request of core 1",
    20: "parity error in the front-side bus response field",
    21: "parity error in inbound front-side bus data",
    22: "parity error in data received from core 0",
    23: "parity error in data received from core 1",
    24: "Enhanced Defer parity error, phase A or B",
    25: "ECC event or error in inbound data",
    26: "data strobe glitch or sequencing error at the pads",
    27: "request strobe glitch or sequencing error at the pads",
}
_DUNNINGTON_BUS = {
    16: "parity error in the request phase of the front-side bus",
    20: "hard failure response to a local transaction",
    21: "parity error in the front-side bus response field",
    22: "parity error in inbound data",
}
_BUS_CONTROLLER_CODE = 0x0E0F
_CACHE_BUS_CONTROLLER_CODE = 0x0400


def _tulsa_counts(logged: Logged) -> Specific:
    """MC4_STATUS[39:32] corrected events, [51:44] ECC syndrome with its valid bit 52."""
    details = []
    location = Location()
    if corrected := logged.bits(39, 32):
        details.append(f"{corrected} corrected events")
    if logged.bits(52, 52):
        location = Location(syndrome=logged.bits(51, 44))
        details.append(f"ECC syndrome {logged.bits(51, 44):#04x}")
    return Specific(details=tuple(details), location=location)


def _shared_controller(bus: dict[int, str], controller: dict[int, str]) -> tuple[Reader, ...]:
    return (
        only_for(lambda logged: logged.code.base == _BUS_CONTROLLER_CODE, flags(bus)),
        only_for(lambda logged: logged.code.base == _CACHE_BUS_CONTROLLER_CODE, choice(controller)),
    )


TULSA: Banks = {
    _SHARED_CONTROLLER_BANK: Bank(
        "Shared L3 cache and bus controller", (*_shared_controller(_TULSA_BUS, _TULSA_CONTROLLER), _tulsa_counts)
    )
}
"""Xeon 7100 (0F_06H)."""

DUNNINGTON: Banks = {
    _SHARED_CONTROLLER_BANK: Bank(
        "Shared L3 cache and bus controller", _shared_controller(_DUNNINGTON_BUS, _DUNNINGTON_CONTROLLER)
    )
}
"""Xeon 7400 (06_1DH)."""
