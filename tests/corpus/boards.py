"""Texts of board management controllers, and what must come out of each."""

from __future__ import annotations

from ringfence.decode.meaning import AddressKind
from ringfence.diagnosis.severity import Severity
from tests.corpus.vectors import Log, Seen

LOGS: tuple[Log, ...] = (
    Log(
        name="bmc-ami-mca-sel-text",
        source="a log tool's parser comments (AMI MegaRAC syslog)",
        text=(
            "<180>  2023-10-29T23:56:47.273148+00:00 board-1 IPMIMain:  [268 : 310 WARNING]Get Diagnose MCA "
            "data from bios, ReqLen=40:BankNum: 0, ApicId: 34,  BankType: 1,  BankScope: 0, McaStatus: "
            "0xb200000000010005, McaAddress: 0x0000000000000000,  McaMisc: 0x0000000000000000\n"
            "<180>  2023-10-14T16:07:53.872948+00:00 board-2 IPMIMain:  [271 : 312 WARNING]Get Diagnose MCA "
            "data from bios, ReqLen=40:BankNum: 1, ApicId: 218,  BankType: 2,  BankScope: 0, McaStatus: "
            "0xbf80000001000174, McaAddress: 0x00000155b8e0ae80,  McaMisc: 0x00000000\n"
        ),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="ank 0",
                error="Internal parity error",
                rule="pcc",
                bank=0,
                time=1698623807.273148,
                address=0x0,
                kind=AddressKind.UNKNOWN,
                names_a_page=False,
                assumed="names none",
            ),
            Seen(
                severity=Severity.FATAL,
                unit="bank 1",
                error="Data cache error, level 0, eviction",
                rule="pcc",
                bank=1,
                time=1697299673.872948,
                address=0x155B8E0AE80,
                kind=AddressKind.SEGMENT_OFFSET,
                names_a_page=False,
                assumed="names none",
            ),
        ),
    ),
    Log(
        name="bmc-hp-ilo-mce",
        source="https://github.com/openstreetmap/operations/issues/89",
        text=(
            "LOG: Uncorrectable Machine Check Exception (Board 0, Processor 1, APIC ID 0x00000003, Bank "
            "0x00000005, Status 0xBA000000'00400405, Address 0x00000000'00000000, Misc 0x00000000'00000280)\n"
        ),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="ank 5",
                error="Internal unclassified error 0x0405",
                rule="pcc",
                bank=5,
                address=0x0,
                kind=AddressKind.UNKNOWN,
                names_a_page=False,
                assumed="names none",
            ),
        ),
    ),
)
