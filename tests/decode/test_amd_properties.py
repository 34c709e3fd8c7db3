"""Laws of the AMD decoder that hold for any register values at all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.arch import mci_status
from ringfence.arch.cpuid import Processor, Vendor
from ringfence.arch.smca_banks import BANK_TYPES
from ringfence.decode.meaning import AddressKind
from ringfence.record.evidence import Record
from tests.decode.amd_logs import amd, logged, read_bank

words = st.integers(0, (1 << 64) - 1)
maybe_words = st.none() | words
identities = st.none() | words | st.sampled_from([bank.mca_type << 48 | bank.hardware_id << 32 for bank in BANK_TYPES])
processors = st.none() | st.builds(
    amd,
    st.sampled_from([0x06, 0x0F, 0x10, 0x11, 0x12, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A]),
    st.integers(0, 0xFF),
    st.integers(0, 15),
    st.sampled_from([Vendor.AMD, Vendor.HYGON]),
)
records = st.builds(
    logged,
    st.none() | st.integers(0, 63),
    words,
    addr=maybe_words,
    misc=maybe_words,
    synd=maybe_words,
    ipid=identities,
    config=maybe_words,
    destat=maybe_words,
    synd1=maybe_words,
    synd2=maybe_words,
    mcg_status=maybe_words,
    tsc=maybe_words,
)


@settings(max_examples=600, deadline=None)
@given(records, processors)
def test_any_registers_are_read_and_the_address_keeps_its_promises(record: Record, processor: Processor | None) -> None:
    reading = read_bank(record, processor)
    assert reading.unit
    assert reading.error
    assert reading.address.because
    assert all(reading.details)
    assert reading.corrected_count is None
    address = reading.address
    if address.names_a_page:
        assert address.kind is AddressKind.PHYSICAL
        assert address.value is not None
        assert mci_status.ADDRV.of(record.registers.status or 0)
    if address.kind is AddressKind.NONE:
        assert address.value is None
    if address.value is not None and address.kind is not AddressKind.GUEST_PHYSICAL:
        assert record.registers.addr is not None
        assert address.value & ~record.registers.addr == 0
        assert address.granularity_bytes is None or address.value % address.granularity_bytes == 0
    if not mci_status.VAL.of(record.registers.status or 0):
        assert reading.not_an_error is not None


@settings(max_examples=200, deadline=None)
@given(records, processors)
def test_reading_is_a_function_of_the_record(record: Record, processor: Processor | None) -> None:
    assert read_bank(record, processor) == read_bank(record, processor)


def test_every_error_code_is_read_in_both_generations() -> None:
    for raw in range(0x10000):
        status = 0x9000_0000_0000_0000 | raw
        assert read_bank(logged(2, status), amd(0x10, 2)).error
    for raw in range(0, 0x10000, 7):
        assert read_bank(logged(2, 0x9000_0000_0000_0000 | raw, ipid=0x2_00B0_0000_0000), amd(0x19, 1)).error


def test_a_record_without_a_status_is_refused() -> None:
    record = Record(origin=logged(0, 0).origin, format=logged(0, 0).format, raw=b"", bank=0)
    with pytest.raises(ValueError, match="MCi_STATUS"):
        read_bank(record, None)
