"""``ringfence doctor`` on a host with KVM: every finding is provoked, and a sound host has none."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import msgspec
import pytest

from ringfence.hypervisor.kvm.processor import Processor
from ringfence.hypervisor.kvm.qemu_processes import QemuProcess
from ringfence.service.doctor_facts import Facts
from ringfence.service.doctor_findings import Severity
from ringfence.service.doctor_kvm import under_kvm
from ringfence.service.kvm_facts import KvmFacts, kvm_facts
from ringfence.service.sources.host_facts import HostFiles
from tests.service.test_doctor import HEALTH

HALTS = (
    "Ringfence crashes this host's kernel (sysrq c) at an error that cannot be bounded (I.2x), and for a bad page of "
    "the host's own that the kernel neither gives up nor marks (I.2b)"
)
AMD = Processor("AuthenticAMD", frozenset())
WELL = KvmFacts(
    options={"CONFIG_X86_MCE": "y", "CONFIG_MEMORY_FAILURE": "y"},
    recovery="1",
    qemus=(QemuProcess(pid=1, began=1, name="web", by_libvirt=True, uses_kvm=True),),
)


def _facts(
    kvm: KvmFacts | None = WELL,
    qemu: str = "10.0.8",
    *,
    unit: Mapping[str, str] | None = None,
    machine_check: Mapping[str, str] = MappingProxyType({}),
) -> Facts:
    health = msgspec.structs.replace(HEALTH, hypervisor=f"KVM (QEMU {qemu}, libvirt 11.3.0)")
    return Facts(state_dir=Path("/s"), runs="", kvm=kvm, health=health, unit=unit, machine_check=machine_check)


def _said(facts: Facts) -> list[tuple[Severity, str]]:
    return [(each.severity, each.text) for each in under_kvm(facts) if each.text != HALTS]


def test_when_ringfence_itself_ends_the_host_is_said_of_every_one() -> None:
    assert [(each.severity, each.text) for each in under_kvm(_facts())] == [(Severity.NOTE, HALTS)]


def test_a_sound_host_has_nothing_to_be_said_and_another_machine_is_not_asked() -> None:
    assert _said(_facts()) == [] == _said(_facts(None))


STORMY = replace(WELL, processor=AMD, release=(6, 12), thresholds=False)
LONE = QemuProcess(pid=2, began=1, name="lone", uses_kvm=True)


@pytest.mark.parametrize(
    ("facts", "severity", "words"),
    [
        (_facts(replace(WELL, options=None)), Severity.NOTE, "configuration cannot be read"),
        (_facts(replace(WELL, options={**(WELL.options or {}), "CONFIG_X86_MCE": "n"})), Severity.WRONG, "X86_MCE"),
        (_facts(replace(WELL, offlines=False)), Severity.WRONG, "CONFIG_MEMORY_FAILURE"),
        (_facts(replace(WELL, recovery="0")), Severity.WRONG, "panics at poisoned memory"),
        (_facts(unit={"CapabilityBoundingSet": "CAP_SYSLOG"}), Severity.WRONG, "CAP_SYS_ADMIN"),
        (_facts(machine_check={"check_interval": "300"}), Severity.NOTE, "polled every 300 s"),
        (_facts(replace(WELL, processor=AMD), "7.2.22"), Severity.WARNING, "at which they panic"),
        (_facts(replace(WELL, processor=AMD), "9.1.0"), Severity.NOTE, "was not tried"),
        (_facts(replace(WELL, processor=AMD), "10.0.8"), Severity.NOTE, "when it next polls its banks"),
        (_facts(STORMY, ""), Severity.WARNING, "Linux 6.12 stops polling a bank once a storm"),
        (_facts(replace(WELL, qemus=(LONE,))), Severity.WARNING, "without a QMP socket for Ringfence: lone"),
        (_facts(replace(WELL, qemus=(replace(WELL.qemus[0], uses_kvm=False),))), Severity.NOTE, "without KVM: web"),
        (_facts(replace(WELL, huge_pages={1 << 20: 4})), Severity.NOTE, "4 huge pages of 1,024 MiB"),
        (_facts(replace(WELL, ksm_runs=True)), Severity.NOTE, "KSM"),
        (_facts(replace(WELL, without_agent=tuple("abcdefg"))), Severity.NOTE, "a, b, c, d, e and 2 more"),
    ],
)
def test_each_finding_is_said_by_itself(facts: Facts, severity: Severity, words: str) -> None:
    ((found, text),) = _said(facts)
    assert found is severity and words in text


@pytest.mark.parametrize(
    "kvm",
    [
        replace(STORMY, release=(6, 1)),
        replace(STORMY, thresholds=True),
        replace(STORMY, tracks_storms=False),
        replace(STORMY, processor=Processor()),
    ],
)
def test_where_no_storm_silences_a_bank_nothing_is_said_of_it(kvm: KvmFacts) -> None:
    assert _said(_facts(kvm, "")) == []


def test_a_qemu_with_a_socket_for_ringfence_is_known() -> None:
    assert _said(_facts(replace(WELL, qemus=(replace(LONE, monitors=(Path("/run/ringfence-a.qmp"),)),)))) == []


def test_what_is_known_of_a_host_is_read_from_its_files(tmp_path: Path) -> None:
    def put(path: str, data: str | bytes) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data if isinstance(data, bytes) else data.encode())

    assert kvm_facts(HostFiles(tmp_path)) is None
    put("dev/kvm", "")
    put("run/libvirt/libvirt-sock", "")
    put("proc/config.gz", gzip.compress(b"CONFIG_X86_MCE=y\n# CONFIG_KSM is not set\nCONFIG_MEMORY_FAILURE=y\n"))
    put("proc/cpuinfo", "vendor_id\t: AuthenticAMD\n\n")
    put("proc/sys/vm/memory_failure_recovery", "1\n")
    put("proc/sys/kernel/osrelease", "6.12.107+deb13-amd64\n")
    put("sys/devices/system/machinecheck/machinecheck0/cmci_disabled", "0\n")
    put("proc/20/cmdline", b"qemu-system-x86_64\0-name\0guest=web\0")
    put("proc/20/stat", "20 (qemu) S " + " ".join(str(at) for at in range(4, 30)))
    put("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "10\n")
    put("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "3\n")
    put("sys/kernel/mm/ksm/run", "1\n")
    found = kvm_facts(HostFiles(tmp_path))
    assert found is not None and found.options is not None
    assert (found.options["CONFIG_X86_MCE"], found.options["CONFIG_KSM"]) == ("y", "n")
    assert (found.processor.vendor, found.offlines, found.recovery) == ("AuthenticAMD", False, "1")
    assert (found.release, found.thresholds, found.tracks_storms) == ((6, 12), False, True)
    assert (found.without_agent, found.huge_pages, found.ksm_runs) == (("web",), {2048: 7}, True)
    put("proc/config.gz", b"\x1f\x8bnonsense")
    damaged = kvm_facts(HostFiles(tmp_path))
    assert damaged is not None and damaged.options is None
