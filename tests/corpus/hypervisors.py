"""Logs of Xen, of ESX and ESXi, of QEMU and of its guests, and what must come out of each."""

from __future__ import annotations

from ringfence.decode.meaning import AddressKind
from ringfence.diagnosis.severity import Severity
from tests.corpus.vectors import Log, Seen

LOGS: tuple[Log, ...] = (
    Log(
        name="xen-mcelog-input",
        source="mcelog's own test input (input/xen)",
        text=(
            "(XEN) MCE: The hardware reports a non fatal, correctable incident occurred on CPU 1.\n"
            "(XEN) Bank 2: d400008000040150 at    182c480179cf0\n"
        ),
        events=(
            Seen(
                severity=Severity.CORRECTED,
                unit="bank 2",
                error="Instruction cache error, level 0",
                rule="corrected",
                cpu=1,
                bank=2,
                address=0x182C480179CF0,
                kind=AddressKind.UNKNOWN,
                names_a_page=False,
                assumed="names none",
            ),
        ),
    ),
    Log(
        name="xen412-boot-bdx-de-cmci",
        source="a boot log of Xen 4.12 (Broadwell-DE)",
        text=(
            "(XEN) mce_intel.c:780: MCA Capability: firstbank 0, extended MCE MSR 0, BCAST, SER, CMCI\n"
            "(XEN) CMCI: threshold 0x2 too large for CPU0 bank 17, using 0x1\n"
            "(XEN) CMCI: threshold 0x2 too large for CPU0 bank 18, using 0x1\n"
            "(XEN) CMCI: threshold 0x2 too large for CPU0 bank 19, using 0x1\n"
            "(XEN) CPU0: Thermal monitoring enabled (TM1)\n"
            "(XEN) CPU0: Intel machine check reporting enabled\n"
        ),
        events=(),
    ),
    Log(
        name="xen-console-format-reference",
        source="xen/arch/x86/cpu/mcheck printk formats (rendered, not captured)",
        text=(
            "(XEN) CPU3: Machine Check Exception:                5\n"
            "(XEN) Bank 5: be00000000800400[               1] at     3fe98d264ebd\n"
            "(XEN) CMCI occurred on CPU 3.\n"
            "(XEN) Bank 7: 8c00004000010090[       144780c86] at         12345000\n"
            "(XEN) POLLED occurred on CPU 3.\n"
            "(XEN) Bank 7: 8c00004000010090[       144780c86] at         12345000\n"
            "(XEN) MCE: clear_bank map 80 on CPU3\n"
            "(XEN) MCE: Fatal error happened on CPUs 8\n"
            "(XEN) MCE: This error page is ownded by DOM 5\n"
            "(XEN) MCE: inject vMCE to d5v0\n"
            "(XEN) MCE: d5v0: guest has not handled previous vMCE yet!\n"
            "(XEN) inject vMCE to DOM5 failed\n"
            "(XEN) MCE: polling routine found correctable error.  Use mcelog to parse above error output.\n"
            "(XEN) CPU3: Temperature above threshold\n"
        ),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="ank 5",
                error="Internal timer error",
                rule="pcc",
                cpu=3,
                bank=5,
                address=0x3FE98D264EBD,
                kind=AddressKind.SEGMENT_OFFSET,
                names_a_page=False,
                assumed="names none",
            ),
            Seen(
                severity=Severity.CORRECTED,
                unit="emory controller",
                error="Memory read error on channel 0",
                rule="corrected",
                cpu=3,
                bank=7,
                address=0x12345000,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={"channel": 0},
                assumed="names none",
            ),
            Seen(
                severity=Severity.CORRECTED,
                unit="emory controller",
                error="Memory read error on channel 0",
                rule="corrected",
                cpu=3,
                bank=7,
                address=0x12345000,
                kind=AddressKind.PHYSICAL,
                names_a_page=True,
                place={"channel": 0},
                assumed="names none",
            ),
            Seen(
                severity=Severity.SRAO,
                unit="memory",
                error="memory error",
                rule="claimed-recoverable",
            ),
        ),
    ),
    Log(
        name="kvm-guest-amd-srar-before-fix",
        source="qemu-devel, August 2023 (W. Roche, J. Allen)",
        text=(
            "qemu-system-x86_64: Guest MCE Memory Error at QEMU addr 0x7f89573ce000 and GUEST addr 0x10b5ce000 "
            "of type BUS_MCEERR_AR injected\n"
            "[   83.562579] mce: [Hardware Error]: CPU 0: Machine Check Exception: 5 Bank 1: a000000000000000\n"
            "[   83.562585] mce: [Hardware Error]: RIP !INEXACT! 10:<ffffffff81e8f6ff> "
            "{pv_native_safe_halt+0xf/0x20}\n"
            "[   83.562592] mce: [Hardware Error]: TSC 3d39402bdc\n"
            "[   83.562593] mce: [Hardware Error]: PROCESSOR 2:800f12 TIME 1693515449 SOCKET 0 APIC 0 "
            "microcode 800126e\n"
            "[   83.562596] mce: [Hardware Error]: Machine check: Uncorrected error without MCA Recovery\n"
            "[   83.562597] Kernel panic - not syncing: Fatal local machine check\n"
        ),
        events=(
            Seen(
                severity=Severity.SRAR,
                unit="guest memory",
                error="the guest consumed the error",
                rule="claimed-consumed",
                address=0x10B5CE000,
                kind=AddressKind.GUEST_PHYSICAL,
                names_a_page=False,
            ),
            Seen(
                severity=Severity.NONE,
                unit="virtual machine check",
                error="broadcast",
                rule="not-an-error",
                cpu=0,
                socket=0,
                bank=1,
                time=1693515449,
                model="Zen (Naples",
                place={"socket": 0},
                note="QEMU",
            ),
        ),
    ),
    Log(
        name="kvm-qemu-ao-largepage",
        source="qemu-devel, November 2024 (W. Roche)",
        text=(
            "qemu-system-x86_64: warning: Memory error: Loosing a large page (size: 2097152) at QEMU addr "
            "0x7fdd7d400000 and GUEST addr 0x11600000\n"
            "qemu-system-x86_64: warning: Guest MCE Memory Error at QEMU addr 0x7fdd7d400000 and GUEST addr "
            "0x11600000 of type BUS_MCEERR_AO injected\n"
            "qemu-system-x86_64: Guest MCE Memory Error at QEMU addr 0x7fc1f5dd6000 and GUEST addr 0x19fd6000 "
            "on lost large page 200000@19e00000 of type BUS_MCEERR_AR injected\n"
        ),
        events=(
            Seen(
                severity=Severity.SRAO,
                unit="guest memory",
                error="the guest had not consumed it",
                rule="claimed-recoverable",
                address=0x11600000,
                kind=AddressKind.GUEST_PHYSICAL,
                names_a_page=False,
            ),
            Seen(
                severity=Severity.SRAR,
                unit="guest memory",
                error="the guest consumed the error",
                rule="claimed-consumed",
                address=0x19FD6000,
                kind=AddressKind.GUEST_PHYSICAL,
                names_a_page=False,
            ),
        ),
    ),
    Log(
        name="intel-kvm-guest-bdx-inject",
        source="linux-edac, November 2020 (mce-inject in a guest)",
        text=(
            "[  236.730682] mce: Triggering MCE exception on CPU 0\n"
            "[  236.731947] mce: [Hardware Error]: CPU 0: Machine Check: 0 Bank 1: b000000000000000\n"
            "[  236.731948] mce: [Hardware Error]: TSC 78418fb4a83f\n"
            "[  236.731949] mce: [Hardware Error]: PROCESSOR 0:406f1 TIME 1605312952 SOCKET 0 APIC 0 microcode "
            "1\n"
            "[  236.731949] mce: [Hardware Error]: Run the above through 'mcelog --ascii'\n"
            "[  236.731950] mce: [Hardware Error]: Machine check: MCIP not set in MCA handler\n"
            "[  236.731950] Kernel panic - not syncing: Fatal machine check\n"
        ),
        events=(
            Seen(
                severity=Severity.UCNA,
                unit="DCU",
                error="No error",
                rule="ucna",
                cpu=0,
                socket=0,
                bank=1,
                time=1605312952,
                model="Broadwell-EP",
                place={"socket": 0},
                note="injects",
            ),
        ),
    ),
    Log(
        name="esxi-ce-poll-masked",
        source="https://knowledge.broadcom.com/external/article?articleNumber=373203",
        text=(
            "cpu##:##)MCA: ##: CE Poll G0 B8 S9c0000####0091 A6619##### M200401c0898##### P6619f37#####/40 "
            "Memory Controller Read Error on Channel 1.\n"
            "cpu53:*****)MCA: 202: CE Intr G0 B19 S************ Ad********** M************ P**********/40 "
            "Memory Controller Read Error on Channel 0.\n"
        ),
        events=(),
        unrecognised=2,
    ),
    Log(
        name="esxi-psod-bank5",
        source="http://kb.vmware.com/selfservice/microsites/search.do?cmd=displayKC&externalId=1005184",
        text=("ALERT: MCE: 171: Machine Check Exception: Bank 5, Status b200001806000e0f\n"),
        events=(
            Seen(
                severity=Severity.FATAL,
                unit="bank 5",
                error="other transaction",
                rule="pcc",
                bank=5,
                assumed="names none",
            ),
        ),
    ),
)
