"""Logs of Intel servers, Nehalem to Clearwater Forest, and what must come out of each."""

from __future__ import annotations

from ringfence.arch.cpuid import Vendor
from ringfence.decode.decoder import KnownProcessor
from ringfence.decode.meaning import AddressKind
from ringfence.diagnosis.severity import Severity
from tests.corpus.vectors import Log, Seen

LOGS: tuple[Log, ...] = (
    Log(
        name="intel-icx-mshv-root-poweroff",
        source='linux-hyperv, "mshv: Cleanly shutdown root partition"',
        text=(
            "[   81.306348] reboot: Power down\n"
            "[   81.314709] mce: [Hardware Error]: CPU 0: Machine Check Exception: 4 Bank 0: b2000000c0060001\n"
            "[   81.314711] mce: [Hardware Error]: TSC 3b8cb60a66 PPIN 11d98332458e4ea9\n"
            "[   81.314713] mce: [Hardware Error]: PROCESSOR 0:606a6 TIME 1759339405 SOCKET 0 APIC 0 microcode "
            "ffffffff\n"
            "[   81.314715] mce: [Hardware Error]: Run the above through 'mcelog --ascii'\n"
            "[   81.314716] mce: [Hardware Error]: Machine check: Processor context corrupt\n"
            "[   81.314717] Kernel panic - not syncing: Fatal machine check\n"
        ),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="Instruction fetch unit",
                error="Unclassified error",
                rule="pcc",
                cpu=0,
                socket=0,
                bank=0,
                time=1759339405,
                model="Ice Lake-SP",
                place={"socket": 0},
            ),
        ),
    ),
    Log(
        name="intel-gnr-srar-thp",
        source="LKML 20250928032842.1399147-1-qiuxu.zhuo@intel.com",
        text=(
            "  mce: [Hardware Error]: CPU 0: Machine Check Exception: f Bank 3: bd80000000070134\n"
            "  mce: [Hardware Error]: RIP 10:<ffffffff8372f8bc> {memchr_inv+0x4c/0xf0}\n"
            "  mce: [Hardware Error]: TSC afff7bbff88a ADDR 1d301b000 MISC 80 PPIN 1e741e77539027db\n"
            "  mce: [Hardware Error]: PROCESSOR 0:d06d0 TIME 1758093249 SOCKET 0 APIC 0 microcode 80000320\n"
            "  mce: [Hardware Error]: Run the above through 'mcelog --ascii'\n"
            "  mce: [Hardware Error]: Machine check: Data load in unrecoverable area of kernel\n"
            "  Kernel panic - not syncing: Fatal local machine check\n"
        ),
        events=(
            Seen(
                severity=Severity.SRAR,
                unit="bank 3",
                error="Data cache error, level 0, data read",
                rule="srar-data-load",
                cpu=0,
                socket=0,
                bank=3,
                time=1758093249,
                model="Clearwater Forest",
                address=0x1D301B000,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={"socket": 0},
            ),
        ),
    ),
    Log(
        name="intel-icx-rasdaemon-retry-rd",
        source="https://github.com/andikleen/mcelog/issues/116",
        text=(
            "112 2023-05-31 10:06:19 -0400 error: MEMORY CONTROLLER RD_CHANNEL0_ERR\n"
            "Transaction: Memory read error MemCtrl:  Corrected read error bank: 0x1\n"
            "bankgroup: 0x1 row: 0x3bc90 column: 0x328 failed device: 0xd rank: 0x5\n"
            "subrank: 0x0 ecc mode:  SDDC, mcg mcgstatus=0, mci Corrected_error,\n"
            "n_errors=1 memory_channel=0, mcgcap=0x0f000c1c, status=0x8c00004200800090,\n"
            "addr=0x1efa4c7cc40, misc=0xd03451de4819486, tsc=0x1ddbf37a52d71,\n"
            "walltime=0x6477545b, cpu=0x00000020, cpuid=0x000606a6, apicid=0x00000080,\n"
            "socketid=0x00000001, bank=0x0000000d\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="memory controller",
                error="Memory read error on channel 0",
                rule="corrected",
                cpu=32,
                socket=1,
                bank=13,
                time=1685541979,
                counted=1,
                model="Ice Lake-SP",
                address=0x1EFA4C7CC40,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={
                    "socket": 1,
                    "controller": 0,
                    "channel": 0,
                    "slot": 1,
                    "rank": 5,
                    "bank_group": 1,
                    "bank": 1,
                    "row": 0x3BC90,
                    "column": 0x328,
                    "device": 13,
                },
            ),
        ),
    ),
    Log(
        name="intel-icx-sonic-rasdaemon",
        source="SONiC high-level design (mce-inject)",
        text=(
            "1 2024-05-16 10:21:24 -0700 error: No Error, mcg mcgstatus=0, mci Corrected_error Error_enabled, "
            "mcgcap=0x0f000814,  status=0x9400000000000000, addr=0x0000abcd, walltime=0x66464093, "
            "cpuid=0x00050654, bank=0x00000001\n"
            "2 2024-05-16 10:21:24 -0700 error: No Error, mcg mcgstatus=0, mci Corrected_error Error_enabled, "
            "mcgcap=0x0f000814,  status=0x9400000000000000, addr=0x00001234, walltime=0x66464093, "
            "cpu=0x00000001, cpuid=0x00050654, apicid=0x00000020,  socketid=0x00000001, bank=0x00000002\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="DCU",
                error="No error",
                rule="corrected",
                cpu=0,
                bank=1,
                time=1715880083,
                model="Skylake-SP",
                address=0xABCD,
                kind=AddressKind.UNKNOWN,
                names_a_page=False,
                note="injects",
                assumed="leaves out zeros",
            ),
            Seen(
                severity=Severity.CORRECTED,
                unit="DTLB",
                error="No error",
                rule="corrected",
                cpu=1,
                socket=1,
                bank=2,
                time=1715880083,
                model="Skylake-SP",
                address=0x1234,
                kind=AddressKind.UNKNOWN,
                names_a_page=False,
                place={"socket": 1},
                note="injects",
            ),
        ),
    ),
    Log(
        name="intel-skx-srao-mcelog",
        source="mcelog output in a kernel developer's notes (Skylake-SP)",
        text=(
            "Hardware event. This is not a software error.\n"
            "MCE 0\n"
            "CPU 19 BANK 14 TSC f3086e49d7de\n"
            "RIP !INEXACT! 10:ffffffff816ab6a5\n"
            "MISC 900010080000086 ADDR 5f14903680\n"
            "TIME 1556364329 Sat Apr 27 19:25:29 2019\n"
            "MCG status:RIPV MCIP\n"
            "MCi status:\n"
            "Error overflow\n"
            "Uncorrected error\n"
            "Error enabled\n"
            "MCi_MISC register valid\n"
            "MCi_ADDR register valid\n"
            "SRAO\n"
            "MCA: MEMORY CONTROLLER MS_CHANNEL1_ERR\n"
            "Transaction: Memory scrubbing error\n"
            "MemCtrl: Uncorrected patrol scrub error\n"
            "STATUS fd001dc0001000c1 MCGSTATUS 5\n"
            "MCGCAP f000814 APICID 60 SOCKETID 1\n"
            "PPIN fd003dc0001000c1\n"
            "CPUID Vendor Intel Family 6 Model 85\n"
            "Hardware event. This is not a software error.\n"
            "MCE 1\n"
            "CPU 19 BANK 14 TSC f308a56e97a8\n"
            "RIP !INEXACT! 10:ffffffff816ab6a5\n"
            "MISC 900001001000086 ADDR 5f149ab080\n"
            "TIME 1556364329 Sat Apr 27 19:25:29 2019\n"
            "MCG status:RIPV MCIP\n"
            "STATUS fd003dc0001000c1 MCGSTATUS 5\n"
            "MCGCAP f000814 APICID 60 SOCKETID 1\n"
            "CPUID Vendor Intel Family 6 Model 85\n"
        ),
        events=(
            Seen(
                severity=Severity.SRAO,
                unit="memory controller (iMC) 0, channel 1",
                error="scrubbing error on channel 1: uncorrected patrol scrub",
                rule="srao-scrub",
                cpu=19,
                socket=1,
                bank=14,
                time=1556364329,
                model="Skylake-SP",
                address=0x5F14903680,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={"socket": 1, "controller": 0, "channel": 1},
                assumed="PPIN has the form of an MCi_STATUS",
            ),
            Seen(
                severity=Severity.SRAO,
                unit="memory controller (iMC) 0, channel 1",
                error="scrubbing error on channel 1: uncorrected patrol scrub",
                rule="srao-scrub",
                cpu=19,
                socket=1,
                bank=14,
                time=1556364329,
                model="Skylake-SP",
                address=0x5F149AB080,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={"socket": 1, "controller": 0, "channel": 1},
            ),
        ),
    ),
    Log(
        name="intel-icx-srar-raskernel",
        source='LKML, "x86/uaccess", 2022 (einj_mem_uc copyin)',
        text=(
            "mce: [Hardware Error]: Machine check events logged\n"
            "mce: [Hardware Error]: CPU 120: Machine Check Exception: f Bank 1: bd80000000100134\n"
            "mce: [Hardware Error]: RIP 10: {fault_in_readable+0x9f/0xd0}\n"
            "mce: [Hardware Error]: TSC 63d3fa6181b69 ADDR f921f31400 MISC 86 PPIN 11a090eb80bf0c9c\n"
            "mce: [Hardware Error]: PROCESSOR 0:606a6 TIME 1647365323 SOCKET 1 APIC 8d microcode d0002e0\n"
            "mce: [Hardware Error]: Run the above through 'mcelog --ascii'\n"
            "mce: [Hardware Error]: Machine check: Data load in unrecoverable area of kernel\n"
            "Kernel panic - not syncing: Fatal local machine check\n"
        ),
        events=(
            Seen(
                severity=Severity.SRAR,
                unit="DCU",
                error="Data cache error, level 0, data read",
                rule="srar-data-load",
                cpu=120,
                socket=1,
                bank=1,
                time=1647365323,
                model="Ice Lake-SP",
                address=0xF921F31400,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={"socket": 1},
            ),
        ),
    ),
    Log(
        name="intel-gnr-srar-getuser",
        source="stable mailing list, commit 8eed4e00a370",
        text=(
            "  mce: [Hardware Error]: CPU 296: Machine Check Exception: f Bank 1: bd80000000100134\n"
            "  mce: [Hardware Error]: RIP 10:<ffffffff821b9776> {__get_user_nocheck_4+0x6/0x20}\n"
            "  mce: [Hardware Error]: TSC 411a93533ed ADDR 346a8730040 MISC 86\n"
            "  mce: [Hardware Error]: PROCESSOR 0:a06d0 TIME 1706000767 SOCKET 1 APIC 211 microcode 80001490\n"
            "  mce: [Hardware Error]: Run the above through 'mcelog --ascii'\n"
            "  mce: [Hardware Error]: Machine check: Data load in unrecoverable area of kernel\n"
            "  Kernel panic - not syncing: Fatal local machine check\n"
        ),
        events=(
            Seen(
                severity=Severity.SRAR,
                unit="DCU",
                error="Data cache error, level 0, data read",
                rule="srar-data-load",
                cpu=296,
                socket=1,
                bank=1,
                time=1706000767,
                model="Granite Rapids",
                address=0x346A8730040,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={"socket": 1},
            ),
        ),
    ),
    Log(
        name="intel-clx-fatal-imc",
        source="linux-edac, November 2020 (Aili Yao)",
        text=(
            "[  106.962373] mce: [Hardware Error]: CPU 18: Machine Check Exception: 5 Bank 7: "
            "be00000001010091\n"
            "[  106.962377] mce: [Hardware Error]: RIP !INEXACT! 10:<ffffffffac58472a> \n"
            "[  106.996488] {acpi_idle_do_entry+0x4a/0x60}\n"
            "[  107.001057] mce: [Hardware Error]: TSC ae4b410af0b8 ADDR 314d193000 MISC 200400c008002086 \n"
            "[  107.010283] mce: [Hardware Error]: PROCESSOR 0:50657 TIME 1605843017 SOCKET 1 APIC 40 "
            "microcode 5000021\n"
            "[  107.020767] mce: [Hardware Error]: Run the above through 'mcelog --ascii'\n"
            "[  107.031295] mce: [Hardware Error]: Machine check: Processor context corrupt\n"
            "[  107.039065] Kernel panic - not syncing: Fatal machine check\n"
        ),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="M2M",
                error="Memory read error on channel 1",
                rule="pcc",
                cpu=18,
                socket=1,
                bank=7,
                time=1605843017,
                model="Cascade Lake",
                address=0x314D193000,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={"socket": 1, "controller": 0, "channel": 1},
            ),
        ),
    ),
    Log(
        name="intel-clx-skx-edac-ce",
        source="notes of a cluster, April 2023",
        text=(
            "[Wed Apr 12 11:05:16 2023] mce: [Hardware Error]: Machine check events logged\n"
            "[Wed Apr 12 11:05:16 2023] EDAC skx MC2: HANDLING MCE MEMORY ERROR\n"
            "[Wed Apr 12 11:05:16 2023] EDAC skx MC2: CPU 10: Machine Check Event: 0 Bank 7: 9c00004001010090\n"
            "[Wed Apr 12 11:05:16 2023] EDAC skx MC2: TSC 21f39e41532e626\n"
            "[Wed Apr 12 11:05:16 2023] EDAC skx MC2: ADDR 175321bec0\n"
            "[Wed Apr 12 11:05:16 2023] EDAC skx MC2: MISC 200001c080801086\n"
            "[Wed Apr 12 11:05:16 2023] EDAC skx MC2: PROCESSOR 0:50657 TIME 1681297434 SOCKET 1 APIC 20\n"
            "[Wed Apr 12 11:05:16 2023] EDAC MC2: 1 CE memory read error on CPU_SrcID#1_MC#0_Chan#0_DIMM#0 "
            "(channel:0 slot:0 page:0x175321b offset:0xec0 grain:32 syndrome:0x0 -  err_code:0101:0090 "
            "socket:1 imc:0 rank:0 bg:1 ba:2 row:d4d1 col:3f8)\n"
            "[Thu Apr 13 07:53:54 2023] CMCI storm detected: switching to poll mode\n"
            "[Thu Apr 13 07:58:55 2023] CMCI storm subsided: switching to interrupt mode\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="M2M",
                error="Memory read error on channel 0",
                rule="corrected",
                cpu=10,
                socket=1,
                bank=7,
                time=1681297434,
                counted=1,
                model="Cascade Lake",
                address=0x175321BEC0,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={
                    "socket": 1,
                    "controller": 0,
                    "channel": 0,
                    "slot": 0,
                    "rank": 0,
                    "bank_group": 1,
                    "bank": 2,
                    "row": 0xD4D1,
                    "column": 0x3F8,
                    "label": "CPU_SrcID#1_MC#0_Chan#0_DIMM#0",
                    "syndrome": 0,
                },
            ),
        ),
    ),
    Log(
        name="intel-bdx-fatal-scrub",
        source="a blog, May 2025 (vmcore analysis)",
        text=(
            "[1681437.836649] mce: [Hardware Error]: CPU 0: Machine Check Exception: 5 Bank 10: "
            "fe002984001000c1\n"
            "[1681437.941855] mce: [Hardware Error]: RIP !INEXACT! 10:<ffffffff80a97fa4> \n"
            "[1681437.941859] {mwait_idle+0x84/0x180}\n"
            "[1681438.066860] mce: [Hardware Error]: TSC 1574f973c6b744 ADDR 9562dc000 MISC 1229440404003e8c \n"
            "[1681438.168887] mce: [Hardware Error]: PROCESSOR 0:406f1 TIME 1745767392 SOCKET 0 APIC 0 "
            "microcode b000014\n"
            "[1681438.282349] mce: [Hardware Error]: Run the above through 'mcelog --ascii'\n"
            "[1681438.365654] mce: [Hardware Error]: Machine check: Processor context corrupt\n"
            "[1681438.451037] Kernel panic - not syncing: Fatal machine check\n"
        ),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="memory controller (iMC) 0, channel 1",
                error="scrubbing error on channel 1: uncorrected patrol scrub",
                rule="pcc",
                cpu=0,
                socket=0,
                bank=10,
                time=1745767392,
                counted=166,
                model="Broadwell-EP",
                address=0x9562DC000,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={"socket": 0, "controller": 0, "channel": 1},
            ),
        ),
    ),
    Log(
        name="intel-snb-ep-sbridge-ce",
        source="https://github.com/grondo/edac-utils/issues/10",
        text=(
            "[Mon Jan 27 19:27:15 2020] mce: [Hardware Error]: Machine check events logged\n"
            "[Mon Jan 27 19:27:15 2020] EDAC sbridge MC0: HANDLING MCE MEMORY ERROR\n"
            "[Mon Jan 27 19:27:15 2020] EDAC sbridge MC0: CPU 0: Machine Check Event: 0 Bank 5: "
            "8c00004000010092\n"
            "[Mon Jan 27 19:27:15 2020] EDAC sbridge MC0: TSC 0\n"
            "[Mon Jan 27 19:27:15 2020] EDAC sbridge MC0: ADDR 849923380\n"
            "[Mon Jan 27 19:27:15 2020] EDAC sbridge MC0: MISC 42525286\n"
            "[Mon Jan 27 19:27:15 2020] EDAC sbridge MC0: PROCESSOR 0:206d7 TIME 1580149818 SOCKET 0 APIC 0\n"
            "[Mon Jan 27 19:27:15 2020] EDAC MC0: 1 CE memory read error on CPU_SrcID#0_Ha#0_Chan#2_DIMM#0 "
            "(channel:2 slot:0 page:0x849923 offset:0x380 grain:32 syndrome:0x0 -  area:DRAM "
            "err_code:0001:0092 socket:0 ha:0 channel_mask:4 rank:0)\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="emory controller",
                error="Memory read error on channel 2",
                rule="corrected",
                cpu=0,
                socket=0,
                bank=5,
                time=1580149818,
                counted=1,
                model="Sandy Bridge-EP",
                address=0x849923380,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={
                    "socket": 0,
                    "controller": 0,
                    "channel": 2,
                    "slot": 0,
                    "rank": 0,
                    "label": "CPU_SrcID#0_Ha#0_Chan#2_DIMM#0",
                    "syndrome": 0,
                },
            ),
        ),
    ),
    Log(
        name="intel-snb-ep-serverfault",
        source="https://serverfault.com/questions/682963",
        text=(
            "CPU 0: Machine Check Exception: 0 Bank 5: 8c00004000010090\n"
            "TSC 0 ADDR 4a0d75900 MISC 21405cdc86 PROCESSOR 0:206d7 TIME 1428957562 SOCKET 0 APIC 0\n"
            "EDAC MC0: 1 CE memory read error\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="emory controller",
                error="Memory read error on channel 0",
                rule="corrected",
                cpu=0,
                socket=0,
                bank=5,
                time=1428957562,
                counted=1,
                model="Sandy Bridge-EP",
                address=0x4A0D75900,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={"socket": 0, "channel": 0},
                assumed="polled, not #MC",
            ),
        ),
    ),
    Log(
        name="intel-ivt-sbridge-scrub",
        source="https://github.com/radiasoft/devops/issues/134",
        text=(
            "Feb 23 03:28:16 kernel: mce: [Hardware Error]: Machine check events logged\n"
            "Feb 23 03:28:16 kernel: EDAC sbridge MC1: HANDLING MCE MEMORY ERROR\n"
            "Feb 23 03:28:16 kernel: EDAC sbridge MC1: CPU 1: Machine Check Event: 0 Bank 11: "
            "8c00004f000800c2\n"
            "Feb 23 03:28:16 kernel: EDAC sbridge MC1: TSC 0\n"
            "Feb 23 03:28:16 kernel: EDAC sbridge MC1: ADDR ee30a0000\n"
            "Feb 23 03:28:16 kernel: EDAC sbridge MC1: MISC 900040004001e8c\n"
            "Feb 23 03:28:16 kernel: EDAC sbridge MC1: PROCESSOR 0:306e4 TIME 1519356496 SOCKET 1 APIC 20\n"
            "Feb 23 03:28:16  kernel: EDAC MC1: 1 CE memory scrubbing error on CPU_SrcID#1_Ha#0_Chan#0_DIMM#0 "
            "(channel:0 slot:0 page:0xee30a0 offset:0x0 grain:32 syndrome:0x0 -  area:DRAM err_code:0008:00c2 "
            "socket:1 ha:0 channel_mask:1 rank:0)\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="memory controller",
                error="corrected patrol scrub",
                rule="corrected",
                cpu=1,
                socket=1,
                bank=11,
                time=1519356496,
                counted=1,
                model="Ivy Bridge-EP",
                address=0xEE30A0000,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={
                    "socket": 1,
                    "controller": 0,
                    "channel": 0,
                    "slot": 0,
                    "rank": 0,
                    "label": "CPU_SrcID#1_Ha#0_Chan#0_DIMM#0",
                    "syndrome": 0,
                },
                note="2 by the bank's registers, 0 by the words beside them. 0 is used",
            ),
        ),
    ),
    Log(
        name="intel-ivt-ex-sbridge-overflow",
        source="a kernel bug report, September 2015",
        text=(
            "Sep 24 11:08:02 host kernel: [1281891.129740] EDAC sbridge MC1: CPU 24: Machine Check Event: 0 "
            "Bank 7: cc00014000010092\n"
            "Sep 24 11:08:02 host kernel: [1281891.129747] EDAC sbridge MC1: TSC 0\n"
            "Sep 24 11:08:02 host kernel: [1281891.129749] EDAC sbridge MC1: ADDR 2007e9ea100 EDAC sbridge "
            "MC1: MISC 4430b486\n"
            "Sep 24 11:08:02 host kernel: [1281891.129754] EDAC sbridge MC1: PROCESSOR 0:306e7 TIME 1443085682 "
            "SOCKET 2 APIC 40\n"
            "Sep 24 11:08:02 host kernel: [1281891.130059] EDAC sbridge MC1: CPU 24: Machine Check Event: 0 "
            "Bank 7: 8c00004000010092\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="Home agent",
                error="Memory read error on channel 2",
                rule="corrected",
                cpu=24,
                socket=2,
                bank=7,
                time=1443085682,
                counted=5,
                model="Ivy Bridge-EX",
                address=0x2007E9EA100,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={"socket": 2, "controller": 0, "channel": 2},
            ),
            Seen(
                severity=Severity.CORRECTED,
                unit="Home agent",
                error="Memory read error on channel 2",
                rule="corrected",
                cpu=24,
                bank=7,
                counted=1,
                model="Ivy Bridge-EX",
                address=None,
                kind=AddressKind.PHYSICAL,
                names_a_page=False,
                place={"controller": 0, "channel": 2},
                assumed="of the same log",
            ),
        ),
    ),
    Log(
        name="intel-wsm-ep-timer",
        source="a blog on operations, December 2016",
        text=(
            "CPU 19: Machine Check Exception: 4 Bank 5: be00000000800400\n"
            "2016-12-03 19:08:52    [14874911.999243] [Hardware Error]: TSC 7ebbc5c7e698b4 ADDR 1579aa6 \n"
            "2016-12-03 19:08:52    [14874912.005430] [Hardware Error]: PROCESSOR 0:206c2 TIME 1480763330 "
            "SOCKET 0 APIC 11\n"
            "2016-12-03 19:08:52    [14874912.013203] [Hardware Error]: CPU 7: Machine Check Exception: 4 Bank "
            "5: be00000000800400\n"
            "2016-12-03 19:08:52    [14874912.021686] [Hardware Error]: TSC 7ebbc5c7e698c8 ADDR 1579aa6 \n"
            "2016-12-03 19:08:52    [14874912.027876] [Hardware Error]: PROCESSOR 0:206c2 TIME 1480763330 "
            "SOCKET 0 APIC 10\n"
            "Machine check: Processor context corrupt\n"
        ),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="ank 5",
                error="Internal timer error",
                rule="pcc",
                cpu=19,
                socket=0,
                bank=5,
                time=1480763330,
                model="Westmere-EP",
                address=0x1579AA6,
                kind=AddressKind.UNKNOWN,
                names_a_page=False,
                place={"socket": 0},
                reports=1,
            ),
        ),
    ),
    Log(
        name="intel-nehalem-scrub-ascii",
        source="a blog on operations (input of mcelog --ascii)",
        text=("CPU 6: Machine Check Exception: 0 Bank 8: 88000040000200cf\nTSC 0 MISC 98873a2000043000 \n"),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="emory controller",
                error="Memory scrubbing error, channel not specified",
                rule="corrected",
                cpu=6,
                bank=8,
                assumed="names none",
            ),
        ),
    ),
    Log(
        name="nehalem-scrub-ascii, processor stated",
        source="a blog on operations (input of mcelog --ascii)",
        text=("CPU 6: Machine Check Exception: 0 Bank 8: 88000040000200cf\nTSC 0 MISC 98873a2000043000 \n"),
        stated=KnownProcessor(Vendor.INTEL, 0x106A5, "--cpu"),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="emory controller",
                error="Memory scrubbing error, channel not specified",
                rule="corrected",
                cpu=6,
                bank=8,
                counted=1,
                model="Nehalem-EP",
                place={"controller": 0, "channel": 1, "slot": 0, "syndrome": 0x98873A20},
            ),
        ),
    ),
    Log(
        name="intel-wsm-ex-mcelog-405",
        source="https://github.com/andikleen/mcelog/issues/73",
        text=(
            "Hardware event. This is not a software error.\n"
            "MCE 0\n"
            "CPU 9 BANK 5 \n"
            "MISC 100 \n"
            "TIME 1549963550 Tue Feb 12 17:25:50 2019\n"
            "MCG status:\n"
            "MCi status:\n"
            "Error overflow\n"
            "Uncorrected error\n"
            "Error enabled\n"
            "MCi_MISC register valid\n"
            "Processor context corrupt\n"
            "MCA: Internal unclassified error: 405\n"
            "STATUS fa00000000400405 MCGSTATUS 0\n"
            "MCGCAP 1000c18 APICID 42 SOCKETID 1 \n"
            "CPUID Vendor Intel Family 6 Model 47\n"
        ),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="ank 5",
                error="Internal unclassified error 0x0405",
                rule="pcc",
                cpu=9,
                socket=1,
                bank=5,
                time=1549963550,
                counted=0,
                model="Westmere-EX",
                place={"socket": 1},
            ),
        ),
    ),
    Log(
        name="intel-wsm-ex-rd-uc",
        source="Dell's support archive",
        text=(
            "MCA: MEMORY CONTROLLER RD_CHANNELunspecified_ERR\n"
            "Transaction: Memory read error\n"
            "STATUS b00000000800009f MCGSTATUS 0\n"
            "MCGCAP 1000c18 APICID 80 SOCKETID 2\n"
        ),
        events=(
            Seen(
                severity=Severity.UCNA,
                unit="emory controller",
                error="Memory read error, channel not specified",
                rule="ucna",
                socket=2,
                counted=0,
                place={"socket": 2},
            ),
        ),
    ),
    Log(
        name="intel-bdw-de-mcelog-patrol",
        source="a log tool's parser comments (Broadwell-DE)",
        text=(
            "Hardware event. This is not a software error.\n"
            "MCE 1\n"
            "CPU 0 BANK 9\n"
            "MISC 900004000400a8c ADDR 912c41000\n"
            "TIME 1656046378 Fri Jun 24 12:52:58 2022\n"
            "MCG status:\n"
            "MCi status:\n"
            "Corrected error\n"
            "MCi_MISC register valid\n"
            "MCi_ADDR register valid\n"
            "MCA: MEMORY CONTROLLER MS_CHANNEL0_ERR\n"
            "Transaction: Memory scrubbing error\n"
            "MemCtrl: Corrected patrol scrub error\n"
            "STATUS 8c000045000800c0 MCGSTATUS 0\n"
            "MCGCAP 1000c16 APICID 0 SOCKETID 0\n"
            "PPIN 8c000045000800c0\n"
            "CPUID Vendor Intel Family 6 Model 86\n"
            "Running trigger `dimm-error-trigger'\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="memory controller (iMC) 0, channel 0",
                error="scrubbing error on channel 0: corrected patrol scrub",
                rule="corrected",
                cpu=0,
                socket=0,
                bank=9,
                time=1656046378,
                counted=1,
                model="Broadwell-DE",
                address=0x912C41000,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={"socket": 0, "controller": 0, "channel": 0},
                assumed="PPIN has the form of an MCi_STATUS",
            ),
        ),
    ),
    Log(
        name="intel-skx-mcelog-internal-parity",
        source="a log tool's parser comments (Skylake-SP)",
        text=(
            "Hardware event. This is not a software error.\n"
            "MCE 0\n"
            "CPU 14 BANK 3 TSC 3a4e5b2d79cf56\n"
            "RIP !INEXACT! 10:ffffffff810aa000\n"
            "TIME 1537488718 Fri Sep 21 08:11:58 2018\n"
            "MCG status:RIPV MCIP\n"
            "MCi status:\n"
            "Uncorrected error\n"
            "Error enabled\n"
            "Processor context corrupt\n"
            "MCA: Internal parity error\n"
            "STATUS b200000000400005 MCGSTATUS 5\n"
            "MCGCAP f000c14 APICID 24 SOCKETID 0\n"
            "CPUID Vendor Intel Family 6 Model 85\n"
        ),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="Mid-level cache",
                error="Internal parity error",
                rule="pcc",
                cpu=14,
                socket=0,
                bank=3,
                time=1537488718,
                counted=0,
                model="Skylake-SP",
                place={"socket": 0},
            ),
        ),
    ),
    Log(
        name="intel-bdx-de-zero-status",
        source="https://github.com/mchehab/rasdaemon/issues/155",
        text=(
            "[ 1366.830245] mce: [Hardware Error]: Machine check events logged\n"
            "[ 1366.830251] mce: [Hardware Error]: CPU 0: Machine Check: 0 Bank 9: 0000000000000000\n"
            "[ 1366.838823] mce: [Hardware Error]: TSC 2ac997e3063c3 \n"
            "[ 1366.844468] mce: [Hardware Error]: PROCESSOR 0:50663 TIME 947185249 SOCKET 0 APIC 0 microcode "
            "7000019\n"
        ),
        events=(
            Seen(
                severity=Severity.NONE,
                unit="ank 9",
                error="No valid error",
                rule="not-an-error",
                cpu=0,
                socket=0,
                bank=9,
                time=947185249,
                model="Broadwell-DE",
                place={"socket": 0},
                note="VAL is 0",
            ),
        ),
    ),
    Log(
        name="intel-apei-fake-mca-009f",
        source="https://github.com/andikleen/mcelog/issues/74",
        text=(
            "STATUS b40000000000009f\n"
            "EDAC MC0: 1 UE memory read error on CPU_SrcID#0_MC#0_Chan#0_DIMM#0 (channel:0 slot:0 "
            "page:0xe16677 offset:0x0 grain:32 -  err_code:0000:009f socket:0 imc:0 rank:0 bg:0 ba:3 row:dad3 "
            "col:3c0)\n"
        ),
        events=(
            Seen(
                severity=Severity.SRAO,
                unit="APEI",
                error="Memory error reported by firmware",
                rule="claimed-recoverable",
                address=0xE16677000,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={
                    "socket": 0,
                    "controller": 0,
                    "channel": 0,
                    "slot": 0,
                    "rank": 0,
                    "bank_group": 0,
                    "bank": 3,
                    "row": 0xDAD3,
                    "column": 0x3C0,
                    "label": "CPU_SrcID#0_MC#0_Chan#0_DIMM#0",
                },
                note="APEI",
            ),
        ),
    ),
    Log(
        name="intel-edac-i7core-storm",
        source="https://github.com/openstreetmap/operations/issues/300",
        text=(
            "May  7 06:45:12 host kernel: [21584690.529862] mce: [Hardware Error]: Machine check events "
            "logged\n"
            "May  7 06:45:12 host kernel: [21584690.529877] EDAC MC0: 4 CE error on CPU#0Channel#2_DIMM#0 "
            "(channel:2 slot:0 page:0x0 offset:0x0 grain:8 syndrome:0x0)\n"
            "May  7 06:45:13 host kernel: [21584691.723198] EDAC MC0: 2 CE error on CPU#0Channel#2_DIMM#0 "
            "(channel:2 slot:0 page:0x0 offset:0x0 grain:8 syndrome:0x0)\n"
            "May  7 06:45:17 host kernel: [21584695.897483] EDAC MC0: 6 CE error on CPU#0Channel#2_DIMM#0 "
            "(channel:2 slot:0 page:0x0 offset:0x0 grain:8 syndrome:0x0)\n"
            "May  7 06:45:18 host kernel: [21584696.517048] EDAC MC0: 1 CE error on CPU#0Channel#2_DIMM#0 "
            "(channel:2 slot:0 page:0x0 offset:0x0 grain:8 syndrome:0x0)\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="memory controller",
                error="memory error",
                rule="claimed-corrected",
                place={"controller": 0, "channel": 2, "slot": 0, "label": "CPU#0Channel#2_DIMM#0", "syndrome": 0},
                count=4,
            ),
            Seen(
                severity=Severity.CORRECTED,
                unit="memory controller",
                error="memory error",
                rule="claimed-corrected",
                place={"controller": 0, "channel": 2, "slot": 0, "label": "CPU#0Channel#2_DIMM#0", "syndrome": 0},
                count=2,
            ),
            Seen(
                severity=Severity.CORRECTED,
                unit="memory controller",
                error="memory error",
                rule="claimed-corrected",
                place={"controller": 0, "channel": 2, "slot": 0, "label": "CPU#0Channel#2_DIMM#0", "syndrome": 0},
                count=6,
            ),
            Seen(
                severity=Severity.CORRECTED,
                unit="memory controller",
                error="memory error",
                rule="claimed-corrected",
                place={"controller": 0, "channel": 2, "slot": 0, "label": "CPU#0Channel#2_DIMM#0", "syndrome": 0},
            ),
        ),
    ),
    Log(
        name="mcelog-client-output",
        source="https://github.com/andikleen/mcelog/issues/16",
        text=(
            "Memory errors\n"
            "SOCKET 1 CHANNEL any DIMM any\n"
            "corrected memory errors:\n"
            "        2654 total\n"
            "        100 in 24h\n"
            "uncorrected memory errors:\n"
            "        0 total\n"
            "        0 in 24h\n"
            "\n"
            "SOCKET 1 CHANNEL 3 DIMM 0\n"
            "corrected memory errors:\n"
            "        1651 total\n"
            "        10 in 24h\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="mcelog",
                error="corrected memory errors",
                rule="claimed-corrected",
                socket=1,
                place={"socket": 1},
                count=2654,
                assumed="any",
            ),
            Seen(
                severity=Severity.CORRECTED,
                unit="mcelog",
                error="corrected memory errors",
                rule="claimed-corrected",
                socket=1,
                place={"socket": 1, "channel": 3, "slot": 0},
                count=1651,
            ),
        ),
    ),
)
