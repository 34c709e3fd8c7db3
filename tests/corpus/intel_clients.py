"""Logs of Intel client processors, and of those before Nehalem, and what must come out of each."""

from __future__ import annotations

from ringfence.arch.cpuid import Vendor
from ringfence.decode.decoder import KnownProcessor
from ringfence.decode.meaning import AddressKind
from ringfence.diagnosis.severity import Severity
from tests.corpus.vectors import Log, Seen

LOGS: tuple[Log, ...] = (
    Log(
        name="intel-icl-client-display-hang",
        source='intel-gfx, "drm/i915/icl: Disable DIP on MST ports"',
        text=(
            "[  870.948739] mce: [Hardware Error]: CPU 0: Machine Check Exception: 5 Bank 6: ba00000011000402\n"
            "[  871.019212] mce: [Hardware Error]: RIP !INEXACT! 10:<ffffffff81aca652> {poll_idle+0x92/0xb0}\n"
            "[  871.019212] mce: [Hardware Error]: TSC 135a261fe61\n"
            "[  871.019212] mce: [Hardware Error]: PROCESSOR 0:706e5 TIME 1591739604 SOCKET 0 APIC 0 microcode "
            "20\n"
            "[  871.019212] mce: [Hardware Error]: Run the above through 'mcelog --ascii'\n"
            "[  871.019212] mce: [Hardware Error]: Machine check: Processor context corrupt\n"
            "[  871.019212] Kernel panic - not syncing: Fatal machine check\n"
        ),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="ank 6",
                error="Internal unclassified error 0x0402",
                rule="pcc",
                cpu=0,
                socket=0,
                bank=6,
                time=1591739604,
                model="Ice Lake-L",
                place={"socket": 0},
            ),
        ),
    ),
    Log(
        name="intel-kbl-boot-llc",
        source="Ask Ubuntu, 2019 (transcribed from a screen)",
        text=(
            "40110a\n"
            "[ 0.149517] mce: [Hardware Error]: TSC 0 ADDR fef1ffc0 MISC 7880010086\n"
            "[ 0.149520] mce: [Hardware Error]: PROCESSOR 0:906e9 TIME 1567293075 SOCKET 0\n"
            " APIC 0 microcode b4\n"
            "[ 0.149524] mce: [Hardware Error]: CPU 0: Machine Check: 0 Bank 7: ee20000000\n"
            "40110a\n"
            "[ 0.149525] mce: [Hardware Error]: TSC 0 ADDR fef1ce40 MISC 47880010086\n"
            "[ 0.149528] mce: [Hardware Error]: PROCESSOR 0:906e9 TIME 1567293075 SOCKET 0\n"
            " APIC 0 microcode b4\n"
        ),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="ache (bank 7)",
                error="Generic cache error, level 2",
                rule="pcc",
                cpu=0,
                socket=0,
                bank=7,
                time=1567293075,
                model="Kaby Lake",
                address=0xFEF1CE40,
                kind=AddressKind.PHYSICAL,
                names_a_page=False,
                place={"socket": 0},
                note="found in the bank later",
            ),
        ),
        unrecognised=1,
    ),
    Log(
        name="intel-cfl-bank7",
        source="a forum, December 2020",
        text=(
            "Dec 09 14:40:48 host kernel: mce: [Hardware Error]: Machine check events logged\n"
            "Dec 09 14:40:48 host kernel: mce: [Hardware Error]: CPU 0: Machine Check: 0 Bank 7: "
            "ae00000000801136\n"
            "Dec 09 14:40:48 host kernel: mce: [Hardware Error]: TSC 0 ADDR 8be6c800 MISC 70e0000086 \n"
            "Dec 09 14:40:48 host kernel: mce: [Hardware Error]: PROCESSOR 0:906eb TIME 1607550045 SOCKET 0 "
            "APIC 0 microcode ca\n"
        ),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="ache (bank 7)",
                error="Data cache error, level 2, data read",
                rule="pcc",
                cpu=0,
                socket=0,
                bank=7,
                time=1607550045,
                model="Coffee Lake",
                address=0x8BE6C800,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={"socket": 0},
                note="found in the bank later",
                assumed="as with SER_P",
            ),
        ),
    ),
    Log(
        name="intel-cml-internal-parity",
        source="libvirt-users, May 2023",
        text=(
            "May 14 08:09:09 host kernel: mce: [Hardware Error]: Machine check events logged\n"
            "May 14 08:09:09 host kernel: mce: [Hardware Error]: CPU 0: Machine Check: 0 Bank 0: "
            "9000004000010005\n"
            "May 14 08:09:09 host kernel: mce: [Hardware Error]: TSC 95596a63008b\n"
            "May 14 08:09:09 host kernel: mce: [Hardware Error]: PROCESSOR 0:a0653 TIME 1684022949 SOCKET 0 "
            "APIC 0 microcode f6\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="Instruction fetch unit",
                error="Internal parity error",
                rule="corrected",
                cpu=0,
                socket=0,
                bank=0,
                time=1684022949,
                counted=1,
                model="Comet Lake",
                place={"socket": 0},
            ),
        ),
    ),
    Log(
        name="intel-hsw-client-dcache",
        source="Ubuntu forum, March 2015",
        text=(
            "[ 3873.846119] mce: [Hardware Error]: CPU 2: Machine Check Exception: 5 Bank 1: bf80000000000124\n"
            "[ 3873.846160] mce: [Hardware Error]: RIP !INEXACT! 33:<00007f32309fcb67>\n"
            "[ 3873.846188] mce: [Hardware Error]: TSC c55c2ce1665 ADDR 399f140 MISC 86\n"
            "[ 3873.846217] mce: [Hardware Error]: PROCESSOR 0:306c3 TIME 1427271378 SOCKET 0 APIC 4 microcode "
            "19\n"
            "[ 3873.846253] mce: [Hardware Error]: Run the above through 'mcelog --ascii'\n"
            "[ 3873.846280] mce: [Hardware Error]: Machine check: Processor context corrupt\n"
            "[ 3873.846309] Kernel panic - not syncing: Fatal Machine check\n"
        ),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="DCU",
                error="Data cache error, level 0, write",
                rule="pcc",
                cpu=2,
                socket=0,
                bank=1,
                time=1427271378,
                model="Haswell",
                address=0x399F140,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={"socket": 0},
                assumed="as with SER_P",
            ),
        ),
    ),
    Log(
        name="intel-ivb-client-bank3",
        source="Ubuntu forum, July 2014",
        text=(
            "[ 3933.364188] mce: [Hardware Error]: CPU 0: Machine Check Exception: 4 Bank 3: fe00000000200135\n"
            "[ 3933.364191] mce: [Hardware Error]: TSC a0255fbd7f0 ADDR 42dd14480 MISC d62285\n"
            "[ 3933.364194] mce: [Hardware Error]: PROCESSOR 0:306a9 TIME 1398357146 SOCKET 0 APIC 0 microcode "
            "15\n"
            "[ 3933.364195] mce: [Hardware Error]: Run the above through 'mcelog --ascii'\n"
            "[ 3933.364196] mce: [Hardware Error]: Machine check: Processor context corrupt\n"
        ),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="MLC",
                error="Data cache error, level 1, data read",
                rule="pcc",
                cpu=0,
                socket=0,
                bank=3,
                time=1398357146,
                model="Ivy Bridge",
                address=0x42DD14480,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={"socket": 0},
                assumed="as with SER_P",
            ),
        ),
    ),
    Log(
        name="intel-yonah-bus-rob-timeout",
        source="https://martin.hinner.info/p6microcode/wiki/mce",
        text=(
            "Jan 11 14:29:53 host kernel: [    0.161089] mce: [Hardware Error]: CPU 0: Machine Check: 0 Bank "
            "0: f200084000000800\n"
        ),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="bank 0",
                error="Bus or interconnect error, level 0",
                rule="pcc",
                cpu=0,
                bank=0,
                note="found in the bank later",
                assumed="names none",
            ),
        ),
    ),
    Log(
        name="yonah-bus-rob-timeout, processor stated",
        source="https://martin.hinner.info/p6microcode/wiki/mce",
        text=(
            "Jan 11 14:29:53 host kernel: [    0.161089] mce: [Hardware Error]: CPU 0: Machine Check: 0 Bank "
            "0: f200084000000800\n"
        ),
        stated=KnownProcessor(Vendor.INTEL, 0x6E8, "--cpu"),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="bank 0",
                error="no micro-instruction retired for too long (ROB time-out)",
                rule="pcc",
                cpu=0,
                bank=0,
                model="Yonah",
                note="found in the bank later",
            ),
        ),
    ),
    Log(
        name="intel-p6m-l2-ifetch",
        source="https://martin.hinner.info/p6microcode/wiki/mce",
        text=("CPU 0: Machine Check: 0 Bank 4: b200000000040151\n"),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="bank 4",
                error="Instruction cache error, level 1, instruction fetch",
                rule="pcc",
                cpu=0,
                bank=4,
                note="found in the bank later",
                assumed="names none",
            ),
        ),
    ),
    Log(
        name="intel-p3m-resume-nonfatal",
        source="LKML, 2003/2004 (suspend)",
        text=(
            "MCE: The hardware reports a non fatal, correctable incident occurred on CPU 0.\n"
            "Bank 1: e200000000000005\n"
            "MCE: The hardware reports a non fatal, correctable incident occurred on CPU 0.\n"
            "Bank 1: f200000000000111\n"
            "MCE: The hardware reports a non fatal, correctable incident occurred on CPU 0.\n"
            "Bank 1: e200000000000175\n"
        ),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="ank 1",
                error="Internal parity error",
                rule="pcc",
                cpu=0,
                bank=1,
                note="a resume",
            ),
            Seen(
                severity=Severity.FATAL,
                unit="bank 1",
                error="Instruction cache error, level 1, read",
                rule="pcc",
                cpu=0,
                bank=1,
                note="a resume",
            ),
            Seen(
                severity=Severity.FATAL,
                unit="bank 1",
                error="Data cache error, level 1, eviction",
                rule="pcc",
                cpu=0,
                bank=1,
                note="a resume",
            ),
        ),
    ),
    Log(
        name="p3m-resume-nonfatal, processor stated",
        source="LKML, 2003/2004 (suspend)",
        text=(
            "MCE: The hardware reports a non fatal, correctable incident occurred on CPU 0.\n"
            "Bank 1: e200000000000005\n"
            "MCE: The hardware reports a non fatal, correctable incident occurred on CPU 0.\n"
            "Bank 1: f200000000000111\n"
            "MCE: The hardware reports a non fatal, correctable incident occurred on CPU 0.\n"
            "Bank 1: e200000000000175\n"
        ),
        stated=KnownProcessor(Vendor.INTEL, 0x6B1, "--cpu"),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="ank 1",
                error="Internal parity error",
                rule="pcc",
                cpu=0,
                bank=1,
                model="Pentium III",
                note="leave rubbish in the banks",
            ),
            Seen(
                severity=Severity.FATAL,
                unit="bank 1",
                error="Instruction cache error, level 1, read",
                rule="pcc",
                cpu=0,
                bank=1,
                model="Pentium III",
                note="leave rubbish in the banks",
            ),
            Seen(
                severity=Severity.FATAL,
                unit="bank 1",
                error="Data cache error, level 1, eviction",
                rule="pcc",
                cpu=0,
                bank=1,
                model="Pentium III",
                note="leave rubbish in the banks",
            ),
        ),
    ),
    Log(
        name="intel-skl-nuc-haos-llc-overflow",
        source="https://github.com/home-assistant/operating-system/issues/2989",
        text=(
            "Dec 13 13:46:08 host kernel: mce: [Hardware Error]: CPU 2: Machine Check: 0 Bank 6: "
            "cc59dec000041152\n"
            "Dec 13 13:46:08 host kernel: mce: [Hardware Error]: TSC 0 ADDR 1422ff800 MISC 13020004086 \n"
            "Dec 13 13:46:08 host kernel: mce: [Hardware Error]: PROCESSOR 0:406e3 TIME 1702475168 SOCKET 0 "
            "APIC 1 microcode d6\n"
            "Dec 13 13:46:08 host kernel: mce: [Hardware Error]: CPU 3: Machine Check: 0 Bank 6: "
            "cc400b0000041136\n"
            "Dec 13 13:46:08 host kernel: mce: [Hardware Error]: TSC 0 ADDR 1422b1900 MISC 3021004086 \n"
            "Dec 13 13:46:08 host kernel: mce: [Hardware Error]: PROCESSOR 0:406e3 TIME 1702475168 SOCKET 0 "
            "APIC 3 microcode d6\n"
            "Dec 13 13:46:08 host kernel: mce: [Hardware Error]: CPU 1: Machine Check: 0 Bank 6: "
            "cc400b4000041152\n"
            "Dec 13 13:46:08 host kernel: mce: [Hardware Error]: TSC 0 ADDR 1422b1900 MISC 3021004086 \n"
            "Dec 13 13:46:08 host kernel: mce: [Hardware Error]: PROCESSOR 0:406e3 TIME 1702475168 SOCKET 0 "
            "APIC 2 microcode d6\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="ache (bank 6)",
                error="Instruction cache error, level 2",
                rule="corrected",
                cpu=2,
                socket=0,
                bank=6,
                time=1702475168,
                counted=26491,
                model="Skylake-L",
                address=0x1422FF800,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={"socket": 0},
                assumed="as with SER_P",
            ),
            Seen(
                severity=Severity.CORRECTED,
                unit="ache (bank 6)",
                error="Data cache error, level 2",
                rule="corrected",
                cpu=3,
                socket=0,
                bank=6,
                time=1702475168,
                counted=44,
                model="Skylake-L",
                address=0x1422B1900,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={"socket": 0},
                assumed="as with SER_P",
            ),
            Seen(
                severity=Severity.CORRECTED,
                unit="ache (bank 6)",
                error="Instruction cache error, level 2",
                rule="corrected",
                cpu=1,
                socket=0,
                bank=6,
                time=1702475168,
                counted=45,
                model="Skylake-L",
                address=0x1422B1900,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={"socket": 0},
                assumed="as with SER_P",
            ),
        ),
    ),
    Log(
        name="intel-snb-laptop-thermal-mcelog",
        source="a Linux forum, June 2011",
        text=(
            "Jun 20 19:29:52 host mcelog: HARDWARE ERROR. This is *NOT* a software problem!\n"
            "Jun 20 19:29:52 host mcelog: MCE 0\n"
            "Jun 20 19:29:52 host mcelog: CPU 7 THERMAL EVENT TSC 581128f91ab \n"
            "Jun 20 19:29:52 host mcelog: TIME 1308623392 Mon Jun 20 19:29:52 2011\n"
            "Jun 20 19:29:52 host mcelog: Processor 7 below trip temperature. Throttling disabled\n"
            "Jun 20 19:29:52 host mcelog: STATUS c000000088260c00 MCGSTATUS 0\n"
            "Jun 20 19:29:52 host mcelog: MCGCAP c09 APICID 7 SOCKETID 0 \n"
            "Jun 20 19:29:52 host mcelog: CPUID Vendor Intel Family 6 Model 42\n"
        ),
        events=(
            Seen(
                severity=Severity.NONE,
                unit="Thermal monitor",
                error="below its trip temperature",
                rule="not-an-error",
                cpu=7,
                socket=0,
                bank=128,
                time=1308623392,
                model="Sandy Bridge",
                place={"socket": 0},
                note="thermal event",
            ),
        ),
    ),
)
