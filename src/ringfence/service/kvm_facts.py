"""What ``ringfence doctor`` knows of a host with KVM: its kernel, its processor, the QEMUs that run."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ringfence.hypervisor.kvm.domain_xml import CHANNEL
from ringfence.hypervisor.kvm.processor import Processor
from ringfence.hypervisor.kvm.qemu_processes import QemuProcess, processes
from ringfence.service.sources.host_facts import HostFiles, what_runs

OPTIONS: Final = ("CONFIG_X86_MCE", "CONFIG_MEMORY_FAILURE", "CONFIG_MEMORY_HOTPLUG", "CONFIG_KSM")
"""Of the kernel's configuration, those that are looked at."""
MOST_CONFIG_BYTES: Final = 1 << 22
MACHINE_CHECK: Final = "sys/devices/system/machinecheck/machinecheck0"
"""Of the first CPU (Documentation/ABI/testing/sysfs-mce); all have the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KvmFacts:
    """A host with KVM. ``options`` are the kernel's, None where its configuration cannot be read; ``qemus`` run now,
    ``without_agent`` are those that have no port for Ringfence's agent. ``huge_pages`` counts those in use by size in
    KiB; ``recovery`` is vm.memory_failure_recovery. ``release`` is Linux's, as far as it can be told; ``thresholds``:
    the processor counts errors for an interrupt (AMD), ``tracks_storms``: the kernel counts those that come in a row.
    """

    processor: Processor = field(default_factory=Processor)
    options: Mapping[str, str] | None = None
    offlines: bool = True
    recovery: str = ""
    qemus: tuple[QemuProcess, ...] = ()
    without_agent: tuple[str, ...] = ()
    huge_pages: Mapping[int, int] = field(default_factory=dict)
    ksm_runs: bool = False
    release: tuple[int, int] = (0, 0)
    thresholds: bool = True
    tracks_storms: bool = True


def kvm_facts(host: HostFiles) -> KvmFacts | None:
    """The KVM of this machine; None if it runs none. Reads files only."""
    if what_runs(host).hypervisor != "kvm":
        return None
    qemus = processes(host.root / "proc")
    return KvmFacts(
        processor=Processor.of_this_machine(host.root / "proc/cpuinfo"),
        options=_options(host),
        offlines=host.exists("/sys/devices/system/memory/hard_offline_page"),
        recovery=(host.text("/proc/sys/vm/memory_failure_recovery") or "").strip(),
        qemus=qemus,
        without_agent=tuple(each.name or f"process {each.pid}" for each in qemus if not _has_port(host, each)),
        huge_pages=dict(_huge_pages(host.root)),
        ksm_runs=(host.text("/sys/kernel/mm/ksm/run") or "").strip() == "1",
        release=_release(host.text("/proc/sys/kernel/osrelease") or ""),
        thresholds=any((host.root / MACHINE_CHECK).glob("*/*/threshold_limit")),
        tracks_storms=(host.text(f"/{MACHINE_CHECK}/cmci_disabled") or "").strip() == "0",
    )


def _release(text: str) -> tuple[int, int]:
    found = re.match(r"(\d{1,4})\.(\d{1,4})", text)
    return (0, 0) if found is None else (int(found[1]), int(found[2]))


def _options(host: HostFiles) -> Mapping[str, str] | None:
    packed = host.blob("/proc/config.gz")
    try:
        text = gzip.decompress(packed)[:MOST_CONFIG_BYTES].decode("ascii", "replace") if packed is not None else None
    except (OSError, EOFError, zlib.error):
        text = None
    if text is None:
        release = (host.text("/proc/sys/kernel/osrelease") or "").strip()
        text = host.text(f"/boot/config-{release}")
    if text is None:
        return None
    said = dict(line.split("=", 1) for line in text.splitlines() if line.startswith("CONFIG_") and "=" in line)
    return {name: said.get(name, "n") for name in OPTIONS}


def _has_port(host: HostFiles, qemu: QemuProcess) -> bool:
    words = host.blob(f"/proc/{qemu.pid}/cmdline")
    return words is None or CHANNEL.encode() in words


def _huge_pages(root: Path) -> list[tuple[int, int]]:
    """Sizes in KiB, and how many are in use (Documentation/admin-guide/mm/hugetlbpage.rst)."""
    found: list[tuple[int, int]] = []
    for place in sorted((root / "sys/kernel/mm/hugepages").glob("hugepages-*kB")):
        try:
            used = int((place / "nr_hugepages").read_text()) - int((place / "free_hugepages").read_text())
            size = int(place.name.removeprefix("hugepages-").removesuffix("kB"))
        except (OSError, ValueError):
            continue
        if used > 0:
            found.append((size, used))
    return found
