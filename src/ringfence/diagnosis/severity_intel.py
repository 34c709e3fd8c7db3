"""Severity tables of Intel, with and without software error recovery, and of Zhaoxin and Centaur.

The order follows SDM vol. 3B 17.6.3 (table "MC Error Classifications") and 17.10.4.1 (handler guidelines).

Linux's table (arch/x86/kernel/cpu/mce/severity.c) grades what its handler should do, this one what the error is. Hence
the differences: Linux ignores every bank with EN=0 under #MC, even with PCC=1; it panics if MCIP is 0, if RIPV and EIPV
are both 0, if the kernel was interrupted, or on an SRAR code it cannot recover from, all of which are facts beside the
class here; it lets AR=1 S=0 pass if OVER=1; and it has "some error" for SRAO codes that it does not know.
"""

from __future__ import annotations

from dataclasses import replace

from ringfence.arch.cpuid import Vendor
from ringfence.arch.mci_status import ADDRV, AR, EN, MISCV, OVER, UC, S
from ringfence.diagnosis.severity_rules import (
    BY_EXCEPTION,
    CORRECTED,
    NOT_AN_ERROR,
    NOT_VALID,
    PCC,
    PCC_WITHOUT_UC,
    Code,
    Condition,
    Inputs,
    Rule,
    Severity,
    Table,
)

# Bit 12 (F) says that corrected errors of this sort are filtered; it is no part of the code (SDM vol. 3B 17.9.2.1).
SCRUB = Code("memory scrubbing, 00C0h to 00CFh", 0xEFF0, 0x00C0)
L3_WRITEBACK = Code("L3 explicit writeback, 017Ah", 0xEFFF, 0x017A)
DATA_LOAD = Code("data load, 0134h", 0xEFFF, 0x0134)
INSTRUCTION_FETCH = Code("instruction fetch, 0150h", 0xEFFF, 0x0150)
PATROL_SCRUB_AS_CORRECTED = Code("MSCOD 0010h with 00C0h to 00CFh", 0xFFFFEFF0, 0x001000C0)

_SKYLAKE_SERVER_MODEL = 0x55
_FIRST_QUIRKY_STEPPING = 4
_MEMORY_CONTROLLER_BANKS = range(13, 19)


def _skylake_memory_controller(inputs: Inputs) -> bool:
    signature = inputs.signature
    return (
        signature is not None
        and signature.vendor is Vendor.INTEL
        and (signature.family, signature.model) == (6, _SKYLAKE_SERVER_MODEL)
        and signature.stepping >= _FIRST_QUIRKY_STEPPING
        and inputs.bank in _MEMORY_CONTROLLER_BANKS
    )


def _known_srar_code(inputs: Inputs) -> bool:
    status = inputs.status or 0
    return any(status & code.mask == code.wanted for code in (DATA_LOAD, INSTRUCTION_FETCH))


SKYLAKE_MEMORY_CONTROLLER = Condition(
    "memory controller bank (13 to 18) of a Skylake, Cascade Lake or Cooper Lake server", _skylake_memory_controller
)
KNOWN_SRAR_CODE = Condition("MCACOD is an architectural SRAR code", _known_srar_code)

_START: Table = (NOT_AN_ERROR, NOT_VALID, PCC_WITHOUT_UC, PCC)

NO_SER_P: Table = (
    *_START,
    CORRECTED,
    Rule(
        name="uc-without-ser-p",
        severity=Severity.FATAL,
        because="UC=1 on a processor without software error recovery (SER_P=0): nothing says how far the error reaches",
        cite="SDM vol. 3B 17.10.4.1",
        set=(UC,),
    ),
)
"""Intel without MCG_CAP.SER_P: S, AR and EN say nothing, and any uncorrected error is fatal."""

_UNCORRECTED_WITH_SER_P: Table = (
    Rule(
        name="uc-not-enabled",
        severity=Severity.UCNA,
        because="UC=1 with EN=0 in an exception: this error was not enabled to raise one, so another bank is the "
        "cause; this one is to be logged, and nothing says that its data was consumed",
        cite="SDM vol. 3B 17.10.4.1",
        set=(UC,),
        clear=(EN,),
        when=(BY_EXCEPTION,),
    ),
    Rule(
        name="ar-without-s",
        severity=Severity.FATAL,
        because="AR=1 with S=0 is a combination that the architecture does not define: nothing vouches for recovery",
        cite="SDM vol. 3B 17.6.3; Linux arch/x86/kernel/cpu/mce/severity.c",
        set=(UC, AR),
        clear=(S,),
    ),
    Rule(
        name="srao-scrub",
        severity=Severity.SRAO,
        because="the memory scrubber found the error before anybody used the data",
        cite="SDM vol. 3B 17.9.3.1 and 17.6.3",
        set=(UC,),
        clear=(AR,),
        code=SCRUB,
    ),
    Rule(
        name="srao-l3-writeback",
        severity=Severity.SRAO,
        because="the last-level cache wrote bad data back to memory: nobody has used it since",
        cite="SDM vol. 3B 17.9.3.1 and 17.6.3",
        set=(UC,),
        clear=(AR,),
        code=L3_WRITEBACK,
    ),
    Rule(
        name="ucna",
        severity=Severity.UCNA,
        because="S=0 AR=0: uncorrected, not signalled as a machine check, no action required: bad data was seen, "
        "but not consumed",
        cite="SDM vol. 3B 17.6.3",
        set=(UC,),
        clear=(S, AR),
    ),
    Rule(
        name="srao-unknown-code",
        severity=Severity.SRAO,
        because="S=1 AR=0 says that action is optional; MCACOD is none of the architectural SRAO codes, so what was "
        "hit is known from the model-specific part alone",
        cite="SDM vol. 3B 17.6.3 and 17.9.3.1",
        set=(UC, S),
        clear=(AR,),
    ),
    Rule(
        name="srar-overflow",
        severity=Severity.FATAL,
        because="action is required (S=1 AR=1) and OVER=1: another error was lost, and as S and AR are sticky the "
        "registers may describe the one that needs no action",
        cite="SDM vol. 3B 17.6.4 and 17.10.4.1",
        set=(UC, S, AR, OVER),
    ),
    Rule(
        name="srar-data-load",
        severity=Severity.SRAR,
        because="S=1 AR=1: a load took bad data in; who executed it must not go on before software has acted",
        cite="SDM vol. 3B 17.9.3.2",
        set=(UC, S, AR, ADDRV, MISCV),
        code=DATA_LOAD,
    ),
    Rule(
        name="srar-instruction-fetch",
        severity=Severity.SRAR,
        because="S=1 AR=1: an instruction fetch took bad data in; who executed it must not go on before software has "
        "acted",
        cite="SDM vol. 3B 17.9.3.2",
        set=(UC, S, AR, ADDRV, MISCV),
        code=INSTRUCTION_FETCH,
    ),
    Rule(
        name="srar-without-address",
        severity=Severity.SRAR,
        because="S=1 AR=1 with an architectural SRAR code, but ADDRV or MISCV is 0: bad data was consumed and its page "
        "cannot be named",
        cite="SDM vol. 3B 17.9.3.2",
        set=(UC, S, AR),
        when=(KNOWN_SRAR_CODE,),
    ),
    Rule(
        name="srar-unknown-code",
        severity=Severity.SRAR,
        because="S=1 AR=1 says that action is required; MCACOD is none of the architectural SRAR codes, so which "
        "action is known from the model-specific part alone",
        cite="SDM vol. 3B 17.6.3 and 17.9.3.2",
        set=(UC, S, AR),
    ),
)

SER_P: Table = (
    *_START,
    Rule(
        name="patrol-scrub-as-corrected",
        severity=Severity.SRAO,
        because="the patrol scrubber may be set up to report an uncorrected error as if it were corrected, by CMCI and "
        "with this code: UC=0 is not true here",
        cite="Linux arch/x86/kernel/cpu/mce/severity.c (by Intel, 2020); in no public manual",
        set=(ADDRV, MISCV),
        clear=(UC,),
        code=PATROL_SCRUB_AS_CORRECTED,
        when=(SKYLAKE_MEMORY_CONTROLLER,),
    ),
    CORRECTED,
    *_UNCORRECTED_WITH_SER_P,
)
"""Intel with MCG_CAP.SER_P."""

_LIKE_INTEL = "as Intel ({}): Linux arch/x86/kernel/cpu/mce/severity.c has one table for both; no manual is public"


def _like_intel(table: Table) -> Table:
    return tuple(rule if rule is NOT_AN_ERROR else replace(rule, cite=_LIKE_INTEL.format(rule.cite)) for rule in table)


ZHAOXIN_SER_P: Table = _like_intel((*_START, CORRECTED, *_UNCORRECTED_WITH_SER_P))
"""Zhaoxin and Centaur with MCG_CAP.SER_P."""

ZHAOXIN_NO_SER_P: Table = _like_intel(NO_SER_P)
"""Zhaoxin and Centaur without MCG_CAP.SER_P."""
