"""Logs of AMD processors before Scalable MCA, K7 to family 15h, and what must come out of each."""

from __future__ import annotations

from ringfence.arch.cpuid import Vendor
from ringfence.decode.decoder import KnownProcessor
from ringfence.decode.meaning import AddressKind
from ringfence.diagnosis.severity import Severity
from tests.corpus.vectors import Log, Seen

LOGS: tuple[Log, ...] = (
    Log(
        name="amd-f15h-l3-ecc",
        source="a blog, 2020",
        text=(
            "Message from syslogd@host at May 13 18:01:09 ...\n"
            " kernel:[Hardware Error]: MC4 Error (node 2): L3 data cache ECC error.\n"
            " kernel:[Hardware Error]: Error Status: Corrected error, no action required.\n"
            " kernel:[Hardware Error]: CPU:16 (15:2:0) MC4_STATUS[-|CE|MiscV|-|AddrV|-|Poison|CECC]: "
            "0x9c0a4d20011c010b\n"
            " kernel:[Hardware Error]: MC4_ADDR: 0x0000000000011244\n"
            " kernel:[Hardware Error]: cache level: L3/GEN, tx: GEN, mem-tx: GEN\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="northbridge",
                error="L3 data cache ECC error",
                rule="corrected",
                cpu=16,
                bank=4,
                model="Piledriver",
                address=0x11244,
                kind=AddressKind.UNKNOWN,
                names_a_page=False,
                note="subcache",
                place={"node": 2},
            ),
        ),
    ),
    Log(
        name="amd-opteron64core-nb",
        source="https://newbetuts.com/502269-hardware-error-messages-from-syslogd",
        text=(
            "Message from syslogd@host at Nov  7 21:00:02 ...\n"
            " kernel:[Hardware Error]: MC4_STATUS[Over|CE|MiscV|-|AddrV|-|-|CECC]: 0xdc10410040080a13    \n"
            " kernel:[Hardware Error]: Northbridge Error (node 4): DRAM ECC error detected on the NB.\n"
            " kernel:[Hardware Error]: cache level: L3/GEN, mem/io: MEM, mem-tx: RD, part-proc: RES (no "
            "timeout)\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="northbridge",
                error="DRAM ECC error",
                rule="corrected",
                bank=4,
                address=None,
                kind=AddressKind.PHYSICAL,
                names_a_page=False,
                place={"node": 4, "syndrome": 0x4020},
            ),
        ),
    ),
    Log(
        name="amd-k8-mcelog-output",
        source="https://www.aslab.com/support/kb/123.html",
        text=(
            "MCE 0\n"
            "CPU 1 4 northbridge TSC 511338368e676\n"
            "ADDR 46a9f888\n"
            "Northbridge ECC error\n"
            "ECC syndrome = e3\n"
            "bit46 = corrected ecc error\n"
            "bus error 'local node response, request didn't time out\n"
            "generic read mem transaction\n"
            "memory access, level generic'\n"
            "STATUS 9471c00000000a13 MCGSTATUS 0\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="northbridge",
                error="DRAM ECC error",
                rule="corrected",
                cpu=1,
                bank=4,
                address=0x46A9F888,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={"syndrome": 0xE3},
            ),
        ),
    ),
    Log(
        name="amd-k8-edac",
        source="https://www.aslab.com/support/kb/123.html",
        text=(
            "EDAC k8 MC1: extended error code: ECC error\n"
            "EDAC k8 MC1: general bus error: participating processor(local node response), time-out(no "
            "timeout) memory transaction type(generic read), mem or i/o(mem access), cache level(generic)\n"
            'EDAC MC1: CE page 0xcc9db, offset 0xd38, grain 8, syndrome 0x80, row 0, channel 1, label "": '
            "k8_edac\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="EDAC",
                error="memory error",
                rule="claimed-corrected",
                address=0xCC9DBD38,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={"controller": 1, "channel": 1, "csrow": 0, "syndrome": 0x80},
            ),
        ),
    ),
    Log(
        name="amd-k8-hdparm-070f0f",
        source="LKML, 2005",
        text=(
            "CPU 0: Machine Check Exception: 4 Bank 4: b200000000070f0f\n"
            "TSC 1cb2201501c\n"
            "Kernel panic - not syncing : Machine check\n"
        ),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="bank 4",
                error="timed out",
                rule="pcc",
                cpu=0,
                bank=4,
                assumed="names none",
            ),
        ),
    ),
    Log(
        name="k8-hdparm-070f0f, processor stated",
        source="LKML, 2005",
        text=(
            "CPU 0: Machine Check Exception: 4 Bank 4: b200000000070f0f\n"
            "TSC 1cb2201501c\n"
            "Kernel panic - not syncing : Machine check\n"
        ),
        stated=KnownProcessor(Vendor.AMD, 0xF48, "--cpu"),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="northbridge",
                error="watchdog timeout",
                rule="pcc",
                cpu=0,
                bank=4,
                model="K8",
            ),
        ),
    ),
    Log(
        name="amd-k8-m2n4-dc",
        source="Ubuntu forum 414200 (2007)",
        text=(
            "HARDWARE ERROR\n"
            "CPU0: Machine Check Exception: 4 Bank 0: b653c00000000135\n"
            "TSC 21d496f208 ADDR 5bcf78\n"
            "This is not a software problem!\n"
            "Run through mcelog --ascii to decode and contact your hardware vendor\n"
            "Kernel panic - not syncing: Machine check\n"
        ),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="bank 0",
                error="Data cache error, level 1, data read",
                rule="pcc",
                cpu=0,
                bank=0,
                address=0x5BCF78,
                kind=AddressKind.UNKNOWN,
                names_a_page=False,
                assumed="names none",
            ),
        ),
    ),
    Log(
        name="k8-m2n4-dc, processor stated",
        source="Ubuntu forum 414200 (2007)",
        text=(
            "HARDWARE ERROR\n"
            "CPU0: Machine Check Exception: 4 Bank 0: b653c00000000135\n"
            "TSC 21d496f208 ADDR 5bcf78\n"
            "This is not a software problem!\n"
            "Run through mcelog --ascii to decode and contact your hardware vendor\n"
            "Kernel panic - not syncing: Machine check\n"
        ),
        stated=KnownProcessor(Vendor.AMD, 0xF48, "--cpu"),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="data cache",
                error="data cache data or tag error",
                rule="pcc",
                cpu=0,
                bank=0,
                model="K8",
                address=0x5BCF78,
                kind=AddressKind.PHYSICAL,
                names_a_page=False,
                note="contradict each other",
            ),
        ),
    ),
    Log(
        name="amd-f15h-serverfault-nb",
        source="a question on serverfault.com (AMD family 15h)",
        text=(
            "kernel:[ 723.595042] [Hardware Error]: Northbridge Error (node 0): DRAM ECC error detected on the "
            "NB.\n"
            "kernel:[ 723.595062] [Hardware Error]: cache level: L3/GEN, mem/io: MEM, mem-tx: RD, part-proc: "
            "SRC (no timeout)\n"
            "MC4_STATUS 0x9c0240006b080813\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="northbridge",
                error="DRAM ECC error",
                rule="corrected",
                bank=4,
                address=None,
                kind=AddressKind.PHYSICAL,
                names_a_page=False,
                place={"node": 0, "syndrome": 0x6B04},
            ),
        ),
    ),
    Log(
        name="amd-openvz-bank4-i386",
        source="https://wiki.openvz.org/Machine_check_exception",
        text=(
            "Jul  9 12:19:41 host kernel: CPU 0: Machine Check Exception: 0000000000000004\n"
            "Jul  9 12:19:41 host kernel: Bank 4: b604a00100000813 at 000000007e4f2f68\n"
            "Jul  9 12:19:41 host kernel: Kernel panic: CPU context corrupt\n"
        ),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="bank 4",
                error="read, memory",
                rule="pcc",
                cpu=0,
                bank=4,
                address=0x7E4F2F68,
                kind=AddressKind.UNKNOWN,
                names_a_page=False,
                assumed="names none",
            ),
        ),
    ),
    Log(
        name="openvz-bank4-i386, processor stated",
        source="https://wiki.openvz.org/Machine_check_exception",
        text=(
            "Jul  9 12:19:41 host kernel: CPU 0: Machine Check Exception: 0000000000000004\n"
            "Jul  9 12:19:41 host kernel: Bank 4: b604a00100000813 at 000000007e4f2f68\n"
            "Jul  9 12:19:41 host kernel: Kernel panic: CPU context corrupt\n"
        ),
        stated=KnownProcessor(Vendor.AMD, 0xF48, "--cpu"),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="northbridge",
                error="DRAM ECC error",
                rule="pcc",
                cpu=0,
                bank=4,
                model="K8",
                address=0x7E4F2F68,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={"core": 0},
            ),
        ),
    ),
    Log(
        name="amd-k7-nonfatal-coyote",
        source="LKML, December 2004",
        text=(
            "Dec 29 23:43:09 host kernel: MCE: The hardware reports a non fatal, correctable incident occurred "
            "on CPU 0.\n"
            "Dec 29 23:43:09 host kernel: Bank 2: d40040000000017a\n"
            "Dec 29 23:43:24 host kernel: MCE: The hardware reports a non fatal, correctable incident occurred "
            "on CPU 0.\n"
            "Dec 29 23:43:24 host kernel: Bank 1: d400400000000152\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="bank 2",
                error="Generic cache error, level 2, eviction",
                rule="corrected",
                cpu=0,
                bank=2,
                address=None,
                kind=AddressKind.UNKNOWN,
                names_a_page=False,
                assumed="names none",
            ),
            Seen(
                severity=Severity.CORRECTED,
                unit="bank 1",
                error="Instruction cache error, level 2, instruction fetch",
                rule="corrected",
                cpu=0,
                bank=1,
                address=None,
                kind=AddressKind.UNKNOWN,
                names_a_page=False,
                assumed="names none",
            ),
        ),
    ),
    Log(
        name="k7-nonfatal, processor stated",
        source="LKML, December 2004",
        text=(
            "Dec 29 23:43:09 host kernel: MCE: The hardware reports a non fatal, correctable incident occurred "
            "on CPU 0.\n"
            "Dec 29 23:43:09 host kernel: Bank 2: d40040000000017a\n"
            "Dec 29 23:43:24 host kernel: MCE: The hardware reports a non fatal, correctable incident occurred "
            "on CPU 0.\n"
            "Dec 29 23:43:24 host kernel: Bank 1: d400400000000152\n"
        ),
        stated=KnownProcessor(Vendor.AMD, 0x662, "--cpu"),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="bus unit",
                error="eviction",
                rule="corrected",
                cpu=0,
                bank=2,
                model="K7",
                address=None,
                kind=AddressKind.UNKNOWN,
                names_a_page=False,
            ),
            Seen(
                severity=Severity.CORRECTED,
                unit="instruction cache",
                error="instruction fetch",
                rule="corrected",
                cpu=0,
                bank=1,
                model="K7",
                address=None,
                kind=AddressKind.UNKNOWN,
                names_a_page=False,
            ),
        ),
    ),
    Log(
        name="amd-k7-parsemce-2002",
        source="LKML, June 2002",
        text=(
            "MCE: The hardware reports a non fatal, correctable incident occured on CPU 0.\nBank 0: 9409c00000000136\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="bank 0",
                error="Data cache error, level 2, data read",
                rule="corrected",
                cpu=0,
                bank=0,
                address=None,
                kind=AddressKind.UNKNOWN,
                names_a_page=False,
                assumed="names none",
            ),
        ),
    ),
    Log(
        name="k7-parsemce-2002, processor stated",
        source="LKML, June 2002",
        text=(
            "MCE: The hardware reports a non fatal, correctable incident occured on CPU 0.\nBank 0: 9409c00000000136\n"
        ),
        stated=KnownProcessor(Vendor.AMD, 0x662, "--cpu"),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="data cache",
                error="data read",
                rule="corrected",
                cpu=0,
                bank=0,
                model="K7",
                address=None,
                kind=AddressKind.UNKNOWN,
                names_a_page=False,
                note="errors in bank 0 that are none",
            ),
        ),
    ),
)
