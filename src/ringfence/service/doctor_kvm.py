"""What ``ringfence doctor`` says of a host with KVM: what its kernel and QEMU do with poisoned memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from ringfence.service.doctor_facts import Facts
from ringfence.service.doctor_findings import Finding, note, warning, wrong
from ringfence.service.kvm_facts import MACHINE_CHECK, KvmFacts

_STORMS: Final = (6, 8)
"""The first Linux that counts storms bank by bank (x86/mce: per-bank CMCI storm mitigation)."""
PATIENCE_S: Final = 60
"""Banks that are polled more seldom tell of a trend late."""
NAMED: Final = 5
"""Guests that are named in one sentence; of the others the number."""
_QEMU = re.compile(r"\bQEMU (\d+)\.(\d+)")
_AMD_PANICS: Final = (8, 0)
_AMD_LIVES: Final = (10, 0)
"""A QEMU below the first tells an AMD guest of what it had not consumed as Intel's processors would, and it panics
(seen with 7.2); from the second on it lives (seen with 10.0). Between them it was not tried.
"""


def under_kvm(facts: Facts) -> Iterator[Finding]:
    """All of it; nothing where there is no KVM."""
    kvm = facts.kvm
    if kvm is None:
        return
    yield from _kernel(kvm)
    yield from _rights(facts)
    yield from _when(facts, kvm)
    yield from _storms(kvm)
    yield from _halting()
    yield from _qemu(facts, kvm)
    yield from _memory(kvm)
    yield from _agents(kvm)


def _kernel(kvm: KvmFacts) -> Iterator[Finding]:
    options = kvm.options
    if options is None:
        yield note("the kernel's configuration cannot be read", "What it has is seen by its files alone.")
    if options is not None and options["CONFIG_X86_MCE"] != "y":
        yield wrong(
            "the kernel is built without machine checks (CONFIG_X86_MCE)", "No error of the processor is seen.",
            "Run a full kernel: those for clouds leave it out.", "/boot/config-*, /proc/config.gz",
        )  # fmt: skip
    if not kvm.offlines or (options is not None and options["CONFIG_MEMORY_FAILURE"] != "y"):
        yield wrong(
            "the kernel does not handle poisoned memory (CONFIG_MEMORY_FAILURE)",
            "No page is taken out of use, and a guest that reads a poisoned one takes the host down with it.",
            "Run a full kernel: those for clouds leave it out.", "/sys/devices/system/memory/hard_offline_page",
        )  # fmt: skip
    if kvm.recovery == "0":
        yield wrong(
            "the kernel panics at poisoned memory (vm.memory_failure_recovery is 0)",
            "Every uncorrected error takes the host down, whoever's page it is.",
            "sysctl vm.memory_failure_recovery=1", "/proc/sys/vm/memory_failure_recovery",
        )  # fmt: skip


def _rights(facts: Facts) -> Iterator[Finding]:
    """capabilities(7); fs/proc/page.c, task_mmu.c, drivers/base/memory.c ask for CAP_SYS_ADMIN."""
    bounding = (facts.unit or {}).get("CapabilityBoundingSet")
    if bounding and not bounding.startswith("~") and "CAP_SYS_ADMIN" not in bounding:
        yield wrong(
            "the unit keeps CAP_SYS_ADMIN from the service",
            "The kernel then shows it no page frames and takes no page out of use: whose page was hit is not known.",
            "A drop-in (systemctl edit ringfence) with CapabilityBoundingSet=~", facts.unit_file,
        )  # fmt: skip


def _when(facts: Facts, kvm: KvmFacts) -> Iterator[Finding]:
    said = facts.machine_check.get("check_interval", "")
    interval_s = int(said) if re.fullmatch(r"[0-9]{1,8}", said) else 0
    if interval_s > PATIENCE_S:
        deferred = " On AMD, deferred errors that no interrupt tells of wait as long." if _is_amd(kvm) else ""
        yield note(
            f"banks are polled every {interval_s} s",
            f"Corrected errors without an interrupt are seen so late.{deferred}",
            "echo 10 > /sys/devices/system/machinecheck/machinecheck0/check_interval",
            "/sys/devices/system/machinecheck/machinecheck0/check_interval",
        )  # fmt: skip


def _storms(kvm: KvmFacts) -> Iterator[Finding]:
    """Linux counts corrected errors of a bank that come in a row (mce/threshold.c), unless CMCI is off; at the end of a
    storm it leaves the bank to interrupts, and does not poll it any more.
    """
    if kvm.release >= _STORMS and kvm.tracks_storms and _is_amd(kvm) and not kvm.thresholds:
        yield warning(
            f"Linux {kvm.release[0]}.{kvm.release[1]} stops polling a bank once a storm of corrected errors in it is "
            "over, and this processor has no interrupt for it",
            "Five errors in a row are a storm. Nothing more is heard of that bank until the next boot, deferred errors "
            "included.",
            f"echo 1 > /{MACHINE_CHECK}/cmci_disabled, at each boot, or boot with mce=no_cmci: no storms are counted "
            "then.",
            f"/{MACHINE_CHECK}: no threshold_limit, cmci_disabled=0; seen with Linux 6.12",
        )  # fmt: skip


def _halting() -> Iterator[Finding]:
    yield note(
        "Ringfence crashes this host's kernel (sysrq c) at an error that cannot be bounded (I.2x), and for a bad page "
        "of the host's own that the kernel neither gives up nor marks (I.2b)",
        "All guests end by it, and kdump has its say. A page of the kernel's that it marks and uses on halts nothing.",
        "To see first what it would do, let the policy say dry_run = true; ringfence policy explain has each row.",
    )


def _qemu(facts: Facts, kvm: KvmFacts) -> Iterator[Finding]:
    version = _QEMU.search(facts.health.hypervisor if facts.health is not None else "")
    if version is not None and _is_amd(kvm):
        found = int(version[1]), int(version[2])
        if found >= _AMD_LIVES:
            yield note(
                f"a guest on AMD that QEMU {found[0]}.{found[1]} has told of a poisoned page finds that out when it "
                "next polls its banks",
                "By its kernel's default up to 5 min pass. What touches the page before hears of it at once.",
                "In the guests: echo 10 > /sys/devices/system/machinecheck/machinecheck0/check_interval",
            )  # fmt: skip
        if found < _AMD_PANICS:
            yield warning(
                f"QEMU {found[0]}.{found[1]} tells guests on AMD of poisoned memory in a way at which they panic",
                "A guest that has not even read its poisoned page goes down all the same.",
                "Use QEMU 10, and start the guests anew.", "ringfence status: host",
            )  # fmt: skip
        elif found < _AMD_LIVES:
            yield note(
                f"whether guests on AMD live through what QEMU {found[0]}.{found[1]} tells them was not tried",
                "With 7.2 they panic, with 10.0 they do not.",
            )
    alone = [each for each in kvm.qemus if not each.by_libvirt]
    mute = [each.name or f"process {each.pid}" for each in alone if not _is_heard(facts, each.monitors)]
    if mute:
        yield warning(
            f"QEMU runs without libvirt and without a QMP socket for Ringfence: {_names(mute)}",
            "These guests are not known: a page of theirs is taken for the host's own.",
            "Start them with -qmp unix:/run/ringfence-NAME.qmp,server=on,wait=off, or name a socket of theirs in [kvm] "
            "monitors.",
        )  # fmt: skip
    tied = [each.name or f"process {each.pid}" for each in kvm.qemus if not each.uses_kvm]
    if tied:
        yield note(
            f"QEMU runs guests without KVM: {_names(tied)}", "QEMU tells only guests of KVM of poisoned memory: these "
            "are killed when they touch it.",
        )  # fmt: skip


def _is_heard(facts: Facts, monitors: tuple[object, ...]) -> bool:
    named = facts.configuration.kvm.monitors if facts.configuration is not None else ()
    return any(str(path) in named or "ringfence" in str(path).rpartition("/")[2] for path in monitors)


def _memory(kvm: KvmFacts) -> Iterator[Finding]:
    for size_kib, used in kvm.huge_pages.items():
        yield note(
            f"{used:,} huge pages of {size_kib >> 10:,} MiB are in use",
            f"One bad cell takes {size_kib >> 10:,} MiB from a guest: the kernel cannot split such a page. A page that "
            "is still good is moved as a whole, if another one is free.",
            "Keep some free pages of that size in the pool.", "/sys/kernel/mm/hugepages",
        )  # fmt: skip
    if kvm.ksm_runs:
        yield note(
            "guests share equal pages (KSM)", "One bad page is lost by all that share it.",
            evidence="/sys/kernel/mm/ksm/run",
        )  # fmt: skip


def _agents(kvm: KvmFacts) -> Iterator[Finding]:
    if kvm.without_agent:
        yield note(
            f"guests without a port for Ringfence's agent: {_names(list(kvm.without_agent))}",
            "They cannot be told of a page that is endangered, before it is lost; QEMU tells them when it is.",
            "Give each a virtio-serial port named org.ringfence.guest.0, and run ringfence guest in it.",
        )  # fmt: skip


def _is_amd(kvm: KvmFacts) -> bool:
    return kvm.processor.vendor in {"AuthenticAMD", "HygonGenuine"}


def _names(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
