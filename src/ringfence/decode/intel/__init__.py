"""Intel: MCA error codes, model-specific banks, addresses."""

from __future__ import annotations

from ringfence.decode.intel.codes import (
    ARCHITECTURAL_UCR_NAMES,
    Code,
    CodeKind,
    Level,
    MemoryTransaction,
    Participation,
    Target,
    Transaction,
    classify,
)
from ringfence.decode.intel.reading import read_bank

__all__ = [
    "ARCHITECTURAL_UCR_NAMES",
    "Code",
    "CodeKind",
    "Level",
    "MemoryTransaction",
    "Participation",
    "Target",
    "Transaction",
    "classify",
    "read_bank",
]
