"""Logs of AMD processors with Scalable MCA, Zen to Zen 5, and what must come out of each."""

from __future__ import annotations

from ringfence.decode.meaning import AddressKind
from ringfence.diagnosis.severity import Severity
from tests.corpus.vectors import Log, Seen

LOGS: tuple[Log, ...] = (
    Log(
        name="amd-zen1-ex-wdt-reverse-order",
        source="a Linux forum, March 2021 (journal printed newest first)",
        text=(
            "08:22:19 kernel: mce: [Hardware Error]: PROCESSOR 2:800f11 TIME 1616228521 SOCKET 0 APIC 2 "
            "microcode 8001138\n"
            "08:22:19 kernel: mce: [Hardware Error]: TSC 0 ADDR 1ffff98edc72e MISC d012000100000000 SYND "
            "4d000000 IPID 500b000000000 \n"
            "08:22:19 kernel: mce: [Hardware Error]: CPU 1: Machine Check: 0 Bank 5: bea0000000000108\n"
        ),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="Execution Unit",
                error="watchdog timeout",
                rule="pcc",
                cpu=1,
                socket=0,
                bank=5,
                time=1616228521,
                model="Zen (Naples",
                address=0xFFFFFFFF98EDC72E,
                kind=AddressKind.LINEAR,
                names_a_page=False,
                place={"socket": 0},
            ),
        ),
    ),
    Log(
        name="amd-zen2-ex-wdt-nixos",
        source="a NixOS configuration; kernel bugzilla 206903",
        text=(
            "kernel: mce: [Hardware Error]: CPU 4: Machine Check: 0 Bank 5: bea0000000000108\n"
            "kernel: mce: [Hardware Error]: TSC 0 ADDR 7f033cba0b1c MISC d012000200000000 SYND 4d000000 IPID "
            "500b000000000\n"
            "kernel: mce: [Hardware Error]: PROCESSOR 2:870f10 TIME 1590853832 SOCKET 0 APIC a microcode "
            "8701021\n"
        ),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="Execution Unit",
                error="watchdog timeout",
                rule="pcc",
                cpu=4,
                socket=0,
                bank=5,
                time=1590853832,
                model="Matisse",
                address=0x7F033CBA0B1C,
                kind=AddressKind.LINEAR,
                names_a_page=False,
                place={"socket": 0},
            ),
        ),
    ),
    Log(
        name="amd-zen2-ex-wdt-two-cpus",
        source="mesa bug tracker, amdgpu",
        text=(
            "kernel: mce: [Hardware Error]: Machine check events logged\n"
            "kernel: mce: [Hardware Error]: CPU 1: Machine Check: 0 Bank 5: bea0000000000108\n"
            "kernel: mce: [Hardware Error]: TSC 0 ADDR 1ffffad66d6fe MISC d012000100000000 SYND 4d000000 IPID "
            "500b000000000\n"
            "kernel: mce: [Hardware Error]: PROCESSOR 2:870f10 TIME 1585120217 SOCKET 0 APIC 2 microcode "
            "8701013\n"
            "kernel:   #2  #3\n"
            "kernel: mce: [Hardware Error]: Machine check events logged\n"
            "kernel: mce: [Hardware Error]: CPU 15: Machine Check: 0 Bank 5: bea0000000000108\n"
            "kernel: mce: [Hardware Error]: TSC 0 ADDR 1ffffc1196eb6 MISC d012000100000000 SYND 4d000000 IPID "
            "500b000000000\n"
        ),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="Execution Unit",
                error="watchdog timeout",
                rule="pcc",
                cpu=1,
                socket=0,
                bank=5,
                time=1585120217,
                model="Matisse",
                address=0xFFFFFFFFAD66D6FE,
                kind=AddressKind.LINEAR,
                names_a_page=False,
                place={"socket": 0},
            ),
            Seen(
                severity=Severity.FATAL,
                unit="Execution Unit",
                error="watchdog timeout",
                rule="pcc",
                cpu=15,
                bank=5,
                model="Matisse",
                address=0xFFFFFFFFC1196EB6,
                kind=AddressKind.LINEAR,
                names_a_page=False,
                assumed="of the same log",
            ),
        ),
    ),
    Log(
        name="amd-raven-cs-deferred-decoded",
        source="amd-gfx, March 2022",
        text=(
            "[ma mrt 21 17:09:43 2022] core: [Hardware Error]: Machine check events logged\n"
            "[ma mrt 21 17:09:43 2022] [Hardware Error]: Deferred error, no action required.\n"
            "[ma mrt 21 17:09:43 2022] [Hardware Error]: CPU:0 (17:18:1) "
            "MC20_STATUS[-|-|MiscV|AddrV|-|-|SyndV|UECC|Deferred|-|-]: 0x9c2030000001085b\n"
            "[ma mrt 21 17:09:43 2022] [Hardware Error]: Error Addr: 0x00007ffcffffff00\n"
            "[ma mrt 21 17:09:43 2022] [Hardware Error]: IPID: 0x0000002e00000000, Syndrome: "
            "0x000000005b240204\n"
            "[ma mrt 21 17:09:43 2022] [Hardware Error]: Coherent Slave Ext. Error Code: 1, Address "
            "Violation.\n"
            "[ma mrt 21 17:09:43 2022] [Hardware Error]: cache level: L3/GEN, mem/io: IO, mem-tx: IRD, "
            "part-proc: SRC (no timeout)\n"
        ),
        events=(
            Seen(
                severity=Severity.DEFERRED,
                unit="Coherent Slave",
                error="address violation",
                rule="deferred",
                cpu=0,
                bank=20,
                model="Picasso",
                address=0x7FFCFFFFFF00,
                kind=AddressKind.PHYSICAL,
                names_a_page=False,
                place={"syndrome": 0},
            ),
        ),
    ),
    Log(
        name="amd-zen3-if-bank1",
        source='Arch wiki, "Ryzen"',
        text=(
            "kernel: mce: [Hardware Error]: Machine check events logged\n"
            "kernel: mce: [Hardware Error]: CPU 22: Machine Check: 0 Bank 1: bc800800060c0859\n"
            "kernel: mce: [Hardware Error]: TSC 0 ADDR 7ea8f5b00 MISC d012000000000000 IPID 100b000000000\n"
            "kernel: mce: [Hardware Error]: PROCESSOR 2:a20f10 TIME 1636645367 SOCKET 0 APIC d microcode "
            "a201016\n"
        ),
        events=(
            Seen(
                severity=Severity.SRAR,
                unit="Instruction Fetch Unit",
                error="L2 cache response poison",
                rule="poison-consumed",
                cpu=22,
                socket=0,
                bank=1,
                time=1636645367,
                model="Vermeer",
                address=0x7EA8F5B00,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={"socket": 0},
            ),
        ),
    ),
    Log(
        name="amd-zen3-ls-firewire",
        source="LKML, October 2023 (FireWire card, Zen 3)",
        text=(
            "[    0.860837] mce: [Hardware Error]: CPU 17: Machine Check: 0 Bank 0: bc00080001010135\n"
            "[    0.860845] console: taken over\n"
            "[    0.860847] mce: [Hardware Error]: TSC 0 ADDR fca000f0 MISC d012000000000000 IPID "
            "1000b000000000 \n"
            "[    0.860854] mce: [Hardware Error]: PROCESSOR 2:a20f10 TIME 1696955537 SOCKET 0 APIC b "
            "microcode a201025\n"
        ),
        events=(
            Seen(
                severity=Severity.SRAR,
                unit="Load-Store Unit",
                error="data cache ECC error or L2 poison",
                rule="poison-consumed",
                cpu=17,
                socket=0,
                bank=0,
                time=1696955537,
                model="Vermeer",
                address=0xFCA000F0,
                kind=AddressKind.PHYSICAL,
                names_a_page=False,
                place={"socket": 0},
            ),
        ),
    ),
    Log(
        name="amd-zen3-ex-wdt-nixos-rasdaemon",
        source="a NixOS configuration",
        text=(
            "Mar 12 10:23:48 host kernel: mce: [Hardware Error]: Machine check events logged\n"
            "Mar 12 10:23:48 host kernel: mce: [Hardware Error]: CPU 4: Machine Check: 0 Bank 5: "
            "bea0000001000108\n"
            "Mar 12 10:23:48 host kernel: mce: [Hardware Error]: TSC 0 ADDR ffffffaf906a82 MISC "
            "d012000100000000 SYND 4d000000 IPID 500b000000000\n"
            "Mar 12 10:23:48 host kernel: mce: [Hardware Error]: PROCESSOR 2:a20f10 TIME 1710208926 SOCKET 0 "
            "APIC 8 microcode a201016\n"
        ),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="Execution Unit",
                error="watchdog timeout",
                rule="pcc",
                cpu=4,
                socket=0,
                bank=5,
                time=1710208926,
                model="Vermeer",
                address=0xFFFFFFFFAF906A82,
                kind=AddressKind.LINEAR,
                names_a_page=False,
                place={"socket": 0},
            ),
        ),
    ),
    Log(
        name="amd-zen3-ex-wdt-nobara-locale",
        source="a journal with French month names",
        text=(
            "janv. 10 00:29:08 host kernel: mce: [Hardware Error]: CPU 12: Machine Check: 0 Bank 5: "
            "bea0000001000108\n"
            "janv. 10 00:29:08 host kernel: mce: [Hardware Error]: TSC 0 ADDR 1424d5837 MISC d012000100000000 "
            "SYND 4d000000 IPID 500b000000000\n"
            "janv. 10 00:29:08 host kernel: mce: [Hardware Error]: PROCESSOR 2:a20f12 TIME 1704842945 SOCKET 0 "
            "APIC 1 microcode a20120a\n"
        ),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="Execution Unit",
                error="watchdog timeout",
                rule="pcc",
                cpu=12,
                socket=0,
                bank=5,
                time=1704842945,
                model="Vermeer",
                address=0x1424D5836,
                kind=AddressKind.LINEAR,
                names_a_page=False,
                place={"socket": 0},
            ),
        ),
    ),
    Log(
        name="amd-a00f11-injected-panic",
        source="LKML, B. Petkov (injected error)",
        text=(
            "[   13.706764] mce: [Hardware Error]: CPU 2: Machine Check Exception: 6 Bank 4: fe000010000b0c0f\n"
            "[   13.706781] mce: [Hardware Error]: RIP 10:<ffffffff8103bbcb> {trigger_mce+0xb/0x10}\n"
            "[   13.706791] mce: [Hardware Error]: TSC c83826d14 ADDR e1101add1e550012 MISC cafebeef \n"
            "[   13.706795] mce: [Hardware Error]: PROCESSOR 2:a00f11 TIME 1667244167 SOCKET 0 APIC 2 "
            "microcode 1000065\n"
            "[   13.706809] mce: [Hardware Error]: Machine check: Processor Context Corrupt\n"
            "[   13.706813] Kernel panic - not syncing: Fatal local machine check\n"
        ),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="bank 4",
                error="bus error: generic access",
                rule="pcc",
                cpu=2,
                socket=0,
                bank=4,
                time=1667244167,
                model="Milan",
                address=0x1101ADD1E550012,
                kind=AddressKind.UNKNOWN,
                names_a_page=False,
                place={"socket": 0},
                note="reserved",
            ),
        ),
    ),
    Log(
        name="amd-bert-ex-wdt",
        source="notes of a GPU cluster",
        text=(
            "x86/amd: Previous system reset reason [0x08000800]: an uncorrected error caused a data fabric "
            "sync flood event\n"
            "BERT: Error records from previous boot: event severity: fatal; IA32/X64 processor error, Local "
            "APIC_ID 0x5,\n"
            "  cache error, Processor Context Corrupt: true, Uncorrected: true\n"
            "mce: CPU 5: Machine Check: 0 Bank 5: bea0000000000108  (IPID 0x500b000000000, SMCA EX, ext code "
            "0)\n"
        ),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="firmware",
                error="IA32/X64 processor error",
                rule="claimed-fatal",
            ),
            Seen(
                severity=Severity.FATAL,
                unit="Execution Unit",
                error="watchdog timeout",
                rule="pcc",
                cpu=5,
                bank=5,
                address=None,
                kind=AddressKind.LINEAR,
                names_a_page=False,
                assumed="exist on AMD only",
            ),
        ),
    ),
    Log(
        name="amd-zen1-umc-ce",
        source="notes on ECC testing",
        text=(
            "[  333.236610] mce: [Hardware Error]: Machine check events logged\n"
            "[  333.239325] [Hardware Error]: Corrected error, no action required.\n"
            "[  333.241526] [Hardware Error]: CPU:0 (17:1:1) "
            "MC15_STATUS[Over|CE|MiscV|AddrV|-|-|SyndV|CECC|-|-|-]: 0xdc2040000000011b\n"
            "[  333.243792] [Hardware Error]: Error Addr: 0x0000000065aa27c0\n"
            "[  333.245899] [Hardware Error]: IPID: 0x0000009600050f00, Syndrome: 0x000040200a401000\n"
            "[  333.248064] [Hardware Error]: Unified Memory Controller Ext. Error Code: 0\n"
            "[  333.273479] EDAC MC0: 1 CE on mc#0csrow#0channel#0 (csrow:0 channel:0 page:0x10b544 "
            "offset:0xfc0 grain:64 syndrome:0x4020)\n"
            "[  333.277746] [Hardware Error]: cache level: L3/GEN, tx: GEN, mem-tx: RD\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="Unified Memory Controller, channel 0",
                error="DRAM ECC error",
                rule="corrected",
                cpu=0,
                bank=15,
                model="Zen (Naples",
                address=0x10B544FC0,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={"controller": 0, "channel": 0, "csrow": 0, "label": "mc#0csrow#0channel#0", "syndrome": 0x4020},
            ),
        ),
    ),
    Log(
        name="amd-cezanne-l3-destat-bogus",
        source="linux-edac, September 2025 (B. Karwatzki, Y. Ghannam)",
        text=(
            "[10163.739261] [   T9326] mce: [Hardware Error]: Machine check events logged\n"
            "[10163.739265] [   T9326] [Hardware Error]: Deferred error, no action required.\n"
            "[10163.739267] [   T9326] [Hardware Error]: CPU:0 (19:50:0) "
            "MC14_STATUS[-|-|-|AddrV|PCC|-|-|Deferred|-|-]: 0x8700900800000000\n"
            "[10163.739275] [   T9326] [Hardware Error]: Error Addr: 0x0095464100000020\n"
            "[10163.739276] [   T9326] [Hardware Error]: IPID: 0x000700b040000000\n"
            "[10163.739278] [   T9326] [Hardware Error]: L3 Cache Ext. Error Code: 0\n"
            "[10163.739279] [   T9326] [Hardware Error]: cache level: RESV, tx: INSN\n"
        ),
        events=(
            Seen(
                severity=Severity.NONE,
                unit="L3 Cache",
                error="ECC error",
                rule="not-an-error",
                cpu=0,
                bank=14,
                model="Cezanne",
                address=0x95464100000020,
                kind=AddressKind.UNKNOWN,
                names_a_page=False,
                note="garbage",
            ),
        ),
    ),
    Log(
        name="amd-cezanne-l3-bogus-ce",
        source="linux-edac, September 2025 (B. Karwatzki)",
        text=(
            "[   T10] mce: [Hardware Error]: Machine check events logged\n"
            "[   T10] [Hardware Error]: Corrected error, no action required.\n"
            "[   T10] [Hardware Error]: CPU:0 (19:50:0) MC11_STATUS[-|CE|-|AddrV|-|-|-|UECC|-|Poison|-]: "
            "0x8400aa4800a90139\n"
            "[   T10] [Hardware Error]: Error Addr: 0x006637a200000020\n"
            "[   T10] [Hardware Error]: IPID: 0x000700b040000000\n"
            "[   T10] [Hardware Error]: L3 Cache Ext. Error Code: 41\n"
            "[   T10] [Hardware Error]: cache level: L1, tx: GEN, mem-tx: DRD\n"
            "[   T10] mce: [Hardware Error]: Machine check events logged\n"
            "[   T10] [Hardware Error]: Corrected error, no action required.\n"
            "[   T10] [Hardware Error]: CPU:0 (19:50:0) MC14_STATUS[-|CE|-|AddrV|PCC|-|SyndV|UECC|-|Poison|-]: "
            "0x8724ac0800000000\n"
            "[   T10] [Hardware Error]: Error Addr: 0x002bf52e00000020\n"
        ),
        events=(
            Seen(
                severity=Severity.NONE,
                unit="L3 Cache",
                error="error code 41",
                rule="not-an-error",
                cpu=0,
                bank=11,
                model="Cezanne",
                address=0x6637A200000020,
                kind=AddressKind.UNKNOWN,
                names_a_page=False,
                note="garbage",
            ),
            Seen(
                severity=Severity.NONE,
                unit="bank 14",
                error="error code 0x0000",
                rule="not-an-error",
                cpu=0,
                bank=14,
                model="Cezanne",
                address=0x2BF52E00000020,
                kind=AddressKind.UNKNOWN,
                names_a_page=False,
                note="garbage",
            ),
        ),
    ),
    Log(
        name="amd-zen4-umc-latched",
        source="an incident report (Zen 4 desktop)",
        text=(
            "mce: [Hardware Error]: Machine check events logged\n"
            "[Hardware Error]: Deferred error, no action required.\n"
            "[Hardware Error]: CPU:0 (19:61:2) MC31_STATUS[Over|-|MiscV|-|PCC|-|-|CECC|Deferred|Poison|-]: "
            "0xca0158a452cc2420\n"
            "[Hardware Error]: IPID: 0x8234c5c7b783be99\n"
            "[Hardware Error]: cache level: RESV, tx: INSN\n"
        ),
        events=(
            Seen(
                severity=Severity.NONE,
                unit="bank 31",
                error="error code 0x2420",
                rule="not-an-error",
                cpu=0,
                bank=31,
                model="Raphael",
                note="noise",
            ),
        ),
    ),
    Log(
        name="amd-zen4-umc-edac-f19h60",
        source='linux-edac, "EDAC/amd64" (H. Venev)',
        text=(
            "[  313.747594] mce: [Hardware Error]: Machine check events logged\n"
            "[  313.747597] [Hardware Error]: Corrected error, no action required.\n"
            "[  313.747613] [Hardware Error]: CPU:0 (19:61:2) "
            "MC21_STATUS[Over|CE|MiscV|AddrV|-|-|SyndV|CECC|-|-|-]: 0xdc2040000400011b\n"
            "[  313.747632] [Hardware Error]: Error Addr: 0x00000007ff7e93c0\n"
            "[  313.747639] [Hardware Error]: IPID: 0x0000009600050f00, Syndrome: 0x000100010a801203\n"
            "[  313.747652] [Hardware Error]: Unified Memory Controller Ext. Error Code: 0, DRAM ECC error.\n"
            "[  313.747669] EDAC MC0: 1 CE Cannot decode normalized address on mc#0csrow#3channel#0 (csrow:3 "
            "channel:0 page:0x0 offset:0x0 grain:64 syndrome:0x1)\n"
            "[  313.747672] [Hardware Error]: cache level: L3/GEN, tx: GEN, mem-tx: RD\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="Unified Memory Controller, channel 0",
                error="DRAM ECC error",
                rule="corrected",
                cpu=0,
                bank=21,
                model="Raphael",
                address=0x7FF7E93C0,
                kind=AddressKind.NORMALISED,
                names_a_page=False,
                place={"controller": 0, "channel": 0, "csrow": 3, "label": "mc#0csrow#3channel#0", "syndrome": 0x10001},
            ),
        ),
    ),
    Log(
        name="amd-zen2-pie-link-xmrig",
        source="https://github.com/xmrig/xmrig/issues/1802",
        text=(
            "kernel:[  316.593422] [Hardware Error]: Corrected error, no action required.\n"
            "kernel:[  316.593426] [Hardware Error]: CPU:0 (17:71:0) "
            "MC27_STATUS[-|CE|MiscV|-|-|-|SyndV|-|-|-]: 0x982000000002080b\n"
            "kernel:[  316.593430] [Hardware Error]: IPID: 0x0001002e00000500, Syndrome: 0x000000005a020005\n"
            "kernel:[  316.593432] [Hardware Error]: Power, Interrupts, etc. Ext. Error Code: 2, Link Error.\n"
            "kernel:[  316.593435] [Hardware Error]: cache level: L3/GEN, mem/io: IO, mem-tx: GEN, part-proc: "
            "SRC (no timeout)\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="Power, Interrupts",
                error="link error",
                rule="corrected",
                cpu=0,
                bank=27,
                model="Matisse",
            ),
        ),
    ),
    Log(
        name="amd-rome-pie-link",
        source="LKML, May 2020 (D. Antipov)",
        text=(
            "[138537.806814] mce: [Hardware Error]: Machine check events logged\n"
            "[138537.806818] [Hardware Error]: Corrected error, no action required.\n"
            "[138537.808456] [Hardware Error]: CPU:0 (17:31:0) MC27_STATUS[Over|CE|MiscV|-|-|-|SyndV|-|-|-]: "
            "0xd82000000002080b\n"
            "[138537.810080] [Hardware Error]: IPID: 0x0001002e00001e01, Syndrome: 0x000000005a000005\n"
            "[138537.811694] [Hardware Error]: Power, Interrupts, etc. Ext. Error Code: 2, Link Error.\n"
            "[138537.813281] [Hardware Error]: cache level: L3/GEN, mem/io: IO, mem-tx: GEN, part-proc: SRC "
            "(no timeout)\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="Power, Interrupts",
                error="link error",
                rule="corrected",
                cpu=0,
                bank=27,
                model="Rome",
            ),
        ),
    ),
    Log(
        name="amd-zen5-ls-ce",
        source="a test fixture of CoreCycler",
        text=(
            "mce: [Hardware Error]: Machine check events logged\n"
            "[Hardware Error]: CPU:9 (1a:44:0) MC0_STATUS[Over|CE|MiscV|AddrV|-|-|SyndV|CECC|-|-|-]: "
            "0xdc204000000d0175\n"
            "[Hardware Error]: Corrected error, no action required.\n"
            "[Hardware Error]: Error Addr: 0x00000002a90b5060\n"
            "[Hardware Error]: IPID: 0x000000b000000000, Syndrome: 0x000000021a17010a\n"
            "[Hardware Error]: Load Store Unit Ext. Error Code: 13\n"
            "[Hardware Error]: cache level: L1, tx: DATA, mem-tx: EV\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="Load-Store Unit",
                error="DC data error type 2",
                rule="corrected",
                cpu=9,
                bank=0,
                model="Granite Ridge",
                address=0x2A90B5060,
                kind=AddressKind.PHYSICAL,
                names_a_page=False,
                place={"syndrome": 2},
            ),
        ),
    ),
    Log(
        name="amd-zen5-9950x-rasdaemon",
        source='Arch wiki, "Machine-check exception"',
        text=(
            "MCE events:\n"
            "1 2025-06-23 08:24:48 -0400 error: Corrected error, no action required., CPU 2, bank Load Store "
            "Unit (bank=0), mcg mcgstatus=0, mci CECC, mca DC data error type 2. Ext Err Code: 13 Memory Error "
            "'mem-tx: evict, tx: data, level: L1', mcgcap=0x00000107, status=0x9c204000000d0175, "
            "addr=0x185dd56627, misc=0xd01a000100000000, walltime=0x68594791, cpu=0x00000002, "
            "cpuid=0x00b40f40, apicid=0x00000004, microcode=0x0b404032\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="Load-Store Unit",
                error="DC data error type 2",
                rule="corrected",
                cpu=2,
                bank=0,
                time=1750681489,
                model="Granite Ridge",
                address=0x185DD56627,
                kind=AddressKind.PHYSICAL,
                names_a_page=False,
            ),
        ),
    ),
    Log(
        name="amd-zen2-nixos-haumea-rasdaemon",
        source="https://github.com/NixOS/infra/pull/523",
        text=(
            "MCE events:\n"
            "1 2024-12-19 03:52:38 +0000 error: Corrected error, no action required., CPU 2, bank Unified "
            "Memory Controller (bank=17), mcg mcgstatus=0, mci CECC, memory_channel=0,csrow=1, "
            "mcgcap=0x0000011c, status=0x9c2040000000011b, addr=0x319deb440, misc=0xd01b0fff01000000, "
            "walltime=0x67639886, cpuid=0x00870f10, bank=0x00000011\n"
            "2 2024-12-20 09:33:01 +0000 error: Corrected error, no action required., CPU 2, bank Unified "
            "Memory Controller (bank=17), mcg mcgstatus=0, mci CECC, memory_channel=0,csrow=1, "
            "mcgcap=0x0000011c, status=0x9c2040000000011b, addr=0x319deb440, misc=0xd01b0fff01000000, "
            "walltime=0x676539ce, cpuid=0x00870f10, bank=0x00000011\n"
            "3 2024-12-20 10:00:20 +0000 error: Corrected error, no action required., CPU 2, bank Unified "
            "Memory Controller (bank=17), mcg mcgstatus=0, mci CECC, memory_channel=0,csrow=1, "
            "mcgcap=0x0000011c, status=0x9c2040000000011b, addr=0x319deb440, misc=0xd01b0fff01000000, "
            "walltime=0x67654034, cpuid=0x00870f10, bank=0x00000011\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="Unified Memory Controller",
                error="DRAM ECC error",
                rule="corrected",
                cpu=0,
                bank=17,
                time=1734580358,
                model="Matisse",
                address=0x319DEB440,
                kind=AddressKind.NORMALISED,
                names_a_page=False,
                place={"channel": 0, "csrow": 1},
                assumed="leaves out zeros",
            ),
            Seen(
                severity=Severity.CORRECTED,
                unit="Unified Memory Controller",
                error="DRAM ECC error",
                rule="corrected",
                cpu=0,
                bank=17,
                time=1734687182,
                model="Matisse",
                address=0x319DEB440,
                kind=AddressKind.NORMALISED,
                names_a_page=False,
                place={"channel": 0, "csrow": 1},
                assumed="leaves out zeros",
            ),
            Seen(
                severity=Severity.CORRECTED,
                unit="Unified Memory Controller",
                error="DRAM ECC error",
                rule="corrected",
                cpu=0,
                bank=17,
                time=1734688820,
                model="Matisse",
                address=0x319DEB440,
                kind=AddressKind.NORMALISED,
                names_a_page=False,
                place={"channel": 0, "csrow": 1},
                assumed="leaves out zeros",
            ),
        ),
    ),
    Log(
        name="amd-zen2-telegraf-rasdaemon",
        source="https://github.com/influxdata/telegraf/issues/19511",
        text=(
            "70 2026-08-24 00:04:24 +0200 error: Corrected error, no action required., CPU 2, bank Unified "
            "Memory Controller (bank=17), mcg mcgstatus=0, mci CECC, mca DRAM ECC error. Ext Err Code: 0 "
            "Memory Error 'mem-tx: generic read, tx: generic, level: L3/generic', memory_channel=0,csrow=2, "
            "mcgcap=0x0000011c, status=0x9c2041000000011b, addr=0x27aad20c0, misc=0xd01a000201000000, "
            "walltime=0x6a8b6e68, cpuid=0x00870f10, bank=0x00000011, microcode=0x08701034\n"
            "71 2026-08-24 00:17:31 +0200 error: Corrected error, no action required., CPU 2, bank Unified "
            "Memory Controller (bank=17), mcg mcgstatus=0, mci CECC, mca DRAM ECC error. Ext Err Code: 0 "
            "Memory Error 'mem-tx: generic read, tx: generic, level: L3/generic', memory_channel=0,csrow=2, "
            "mcgcap=0x0000011c, status=0x9c2041000000011b, addr=0x27aad20c0, misc=0xd01a000301000000, "
            "walltime=0x6a8b717b, cpuid=0x00870f10, bank=0x00000011, microcode=0x08701034\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="Unified Memory Controller",
                error="DRAM ECC error",
                rule="corrected",
                cpu=0,
                bank=17,
                time=1787522664,
                model="Matisse",
                address=0x27AAD20C0,
                kind=AddressKind.NORMALISED,
                names_a_page=False,
                place={"channel": 0, "csrow": 2},
                assumed="leaves out zeros",
            ),
            Seen(
                severity=Severity.CORRECTED,
                unit="Unified Memory Controller",
                error="DRAM ECC error",
                rule="corrected",
                cpu=0,
                bank=17,
                time=1787523451,
                model="Matisse",
                address=0x27AAD20C0,
                kind=AddressKind.NORMALISED,
                names_a_page=False,
                place={"channel": 0, "csrow": 2},
                assumed="leaves out zeros",
            ),
        ),
    ),
)
