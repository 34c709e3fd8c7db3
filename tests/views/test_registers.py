"""A register field by field: what a flag means is said when it is set."""

from __future__ import annotations

from ringfence.arch.cpuid import Vendor
from ringfence.diagnosis.finding import diagnose
from ringfence.record.evidence import Format, Origin, Record, Registers
from ringfence.views.registers import registers_text


def test_the_sentence_of_a_flag_is_printed_only_when_it_is_set() -> None:
    # Ice Lake-SP, a corrected read (andikleen/mcelog issue 116).
    shown = registers_text(
        diagnose(
            Record(
                origin=Origin("x"), format=Format.TYPED, raw=b"", bank=13, vendor=Vendor.INTEL, cpuid=0x606A6,
                registers=Registers(status=0x8C00004200800090),
            )
        )
    )  # fmt: skip
    assert "UC = 0x0  (clear)" in shown
    assert "the hardware did not correct the error" not in shown
    assert "MISCV = 0x1  (MCi_MISC belongs to this error)" in shown
