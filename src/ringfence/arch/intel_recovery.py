"""Which Intel models have MCG_CAP.SER_P, for evidence that does not carry MCG_CAP."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SerP:
    """Whether Intel processors of a model have MCG_CAP.SER_P, and how that is known."""

    family: int
    model: int
    present: bool
    source: str


INTEL_SER_P: tuple[SerP, ...] = (
    SerP(6, 0x1C, False, "Bonnell and Saltwell: as old as Core 2 in their machine-check architecture"),
    SerP(6, 0x1D, False, "Dunnington, older than 06_2EH, the first with recovery"),
    SerP(6, 0x26, False, "as 06_1CH"),
    SerP(6, 0x27, False, "as 06_1CH"),
    SerP(6, 0x35, False, "as 06_1CH"),
    SerP(6, 0x36, False, "as 06_1CH"),
    SerP(6, 0x1A, False, "SDM vol. 3B 17.6: 06_2EH was the first"),
    SerP(6, 0x1E, False, "MCG_CAP 1c09h in public logs"),
    SerP(6, 0x1F, False, "as 06_1EH"),
    SerP(6, 0x25, False, "as 06_2CH"),
    SerP(6, 0x2C, False, "MCG_CAP 1c09h in public logs"),
    SerP(6, 0x2A, False, "MCG_CAP c09h in public logs"),
    SerP(6, 0x2E, True, "SDM vol. 3B 17.6: the first with error recovery"),
    SerP(6, 0x2F, True, "MCG_CAP 1000c18h in public logs"),
    SerP(6, 0x2D, True, "MCG_CAP 1000c14h in public logs"),
    SerP(6, 0x3E, True, "as 06_2DH and 06_4FH, between which it stands"),
    SerP(6, 0x3F, True, "as 06_2DH and 06_4FH, between which it stands"),
    SerP(6, 0x4F, True, "MCG_CAP 7000c16h in public logs"),
    SerP(6, 0x56, True, "MCG_CAP 1000c16h in public logs"),
    # Some lesser SKUs lack it: 6000c14h stands in one log of a Skylake server (mcelog issue 35).
    SerP(6, 0x55, True, "MCG_CAP f000814h and f000c14h in public logs; lesser models of it may lack SER_P"),
    SerP(6, 0x6A, True, "MCG_CAP f000c1ch in public logs"),
    SerP(6, 0x6C, True, "as 06_6AH"),
    SerP(6, 0x8F, True, "MCG_CAP f000c15h in public logs"),
    SerP(6, 0xCF, True, "as 06_8FH"),
    SerP(6, 0xAD, True, "recoverable errors in public logs"),
    SerP(6, 0xAE, True, "as 06_ADH"),
    SerP(6, 0xAF, True, "as 06_ADH"),
    SerP(6, 0xDD, True, "recoverable errors in public logs"),
    SerP(19, 0x01, True, "as 06_ADH, which it follows"),
)

_OLD = "SDM vol. 3B 17.6: 06_2EH was the first"
_FIRST_GENERATION_WITH_MCA_RECOVERY = 0x1A
_NETBURST = 15
_BY_MODEL = {(row.family, row.model): row for row in INTEL_SER_P}


def intel_ser_p(family: int, model: int) -> SerP | None:
    """Whether a model has SER_P, and how that is known; None if no table knows."""
    if family < 6 or family == _NETBURST or (family == 6 and model < _FIRST_GENERATION_WITH_MCA_RECOVERY):
        return SerP(family, model, False, _OLD)
    return _BY_MODEL.get((family, model))
