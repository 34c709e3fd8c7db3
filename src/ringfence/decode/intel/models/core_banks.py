"""The four banks of a big core from Sandy Bridge on, and what the cache levels of its MCA error codes are.

Bank 0 is the instruction fetch unit (Linux arch/x86/kernel/cpu/mce/core.c, quirk_sandybridge_ifu), bank 1 the data
cache (same file, quirk_skylake_repmov), bank 3 the MLC (SDM vol. 3B chapter 18, 06_56H). Bank 2 is named after Intel's
usual order of the four; no public manual that says so is known to us.
"""

from __future__ import annotations

from ringfence.decode.intel.bank import NOTHING, Bank, Banks, Logged, Reads, Specific, declare
from ringfence.decode.intel.codes import Code, CodeKind, Level

_CACHES = {Level.L0: "L1", Level.L1: "L2 (mid-level cache)", Level.L2: "L3 (last-level cache)"}


def _level(code: Code) -> Level | None:
    return code.level if code.kind in (CodeKind.CACHE, CodeKind.GENERIC_CACHE) and code.level in _CACHES else None


@declare(Reads(code=(_level,), refines=False))
def cache_level(logged: Logged) -> Specific:
    """The cache that the code's level stands for: the codes count from 0, people from 1 (0x17A is the L3 writeback)."""
    level = _level(logged.code)
    if level is None:
        return NOTHING
    return Specific(details=(f"level {int(level)} of the error code is the {_CACHES[level]}",))


CORE: Banks = {
    0: Bank("Instruction fetch unit (IFU)"),
    1: Bank("Data cache unit (DCU)"),
    2: Bank("Data TLB (DTLB)"),
    3: Bank("Mid-level cache (MLC)"),
}
