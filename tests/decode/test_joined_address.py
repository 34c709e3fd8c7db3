"""Where the bank's registers name no page, what stands beside them may; the reader is told who named it."""

from __future__ import annotations

from ringfence.decode.decoder import decode
from ringfence.decode.meaning import AddressKind, BankReading
from tests.record.texts import record

EDAC = (
    "EDAC MC0: 1 UE memory read error on CPU_SrcID#0_MC#0_Chan#0_DIMM#0 (channel:0 slot:0 page:0xe16677 offset:0x0 "
    "grain:32 -  err_code:{}:{} socket:0 imc:0 rank:0 bg:0 ba:3 row:dad3 col:3c0)"
)


def reading(status: str, before: str = "") -> BankReading:
    edac = EDAC.format(status[8:12], status[12:])
    return decode(record(f"{before}STATUS {status} MCGSTATUS 0\n{edac}")).reading


def test_a_missing_address_is_taken_from_the_edac_line_and_that_is_said() -> None:
    # The line is of mcelog issue 74.
    found = reading("b40000000000009f")
    assert (found.address.value, found.address.kind, found.address.names_a_page) == (
        0xE16677000,
        AddressKind.PHYSICAL,
        True,
    )
    assert found.address.because == "the kernel's EDAC line gives the system physical address"
    assert "address: MCi_ADDR is missing from the evidence; the one that the kernel's EDAC line gives is taken" in (
        found.assumptions
    )
    assert reading("bd000000000000c0").address.value == 0xE16677000


def test_an_address_that_the_record_has_stays() -> None:
    found = reading("bd000000000000c0", "MISC 8c ADDR e16677000\n")
    assert not [said for said in found.assumptions if "missing" in said]
    assert found.address.because.startswith("ADDRV is 1")
