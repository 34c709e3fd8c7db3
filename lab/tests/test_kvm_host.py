"""Real KVM: pages of the host itself, a guest's end by its own banks, and orders that are refused before they begin."""

from __future__ import annotations

import re
from typing import Final

from lab.kvm import host as kvm
from lab.kvm import victims
from lab.kvm.warm import GUEST
from lab.service import SERVICE_S, STATE_DIR, rows
from lab.tests.kvm_lab import KvmLab

OPERATION_S: Final = 120.0


def test_a_corrected_error_in_a_page_of_the_host_is_counted_and_nothing_is_done(kvm_lab: KvmLab) -> None:
    """I.2a: a process of the host has the page; one error is no trend, and the process notices nothing."""
    process = victims.holder(kvm_lab.host)
    last = kvm_lab.service.last
    kvm.corrected(kvm_lab.machine, process.own[5])
    found = kvm_lab.service.until("reports sighting", last)
    assert rows(found, "Received") == ["I.2a"]
    assert not [each for each in found if each["kind"] in {"Decided", "Intended"}]
    assert victims.lives(kvm_lab.host, process.pid)


def test_an_error_in_the_page_cache_costs_nobody_anything(kvm_lab: KvmLab) -> None:
    """I.2b: of a file's clean page: the kernel drops it, and who reads it next gets it from the disk."""
    process = victims.holder(kvm_lab.host)
    last = kvm_lab.service.last
    kvm.deferred(kvm_lab.machine, process.cached[3])
    found = kvm_lab.service.until_all(lambda each: bool(rows(each, "Closed")), "a case is closed", last)
    assert any("I.2b" in each["row"] for each in found)
    assert not [each for each in found if each["kind"] == "Closed" and GUEST in each["text"]]
    assert "clean LRU page: Recovered" in kvm_lab.host.must("dmesg | grep 'recovery action'")
    assert victims.lives(kvm_lab.host, process.pid)
    assert kvm_lab.host.must("tr -d c </data/cached | wc -c; wc -c </data/cached").split() == ["0", "65536"]


def test_a_fatal_error_in_a_guest_ends_that_guest_alone(kvm_lab: KvmLab) -> None:
    """II.2: a machine check with the context of its processor corrupt, in its own banks; the host goes on."""
    last = kvm_lab.service.last
    status = f"{kvm.FATAL:#x} 0x4 0x1000 {kvm.MISC_PHYSICAL:#x}"
    kvm.monitor(kvm_lab.host, GUEST, f"mce 0 {kvm.BANK} {status}")
    found = kvm_lab.service.until(f"{GUEST} is crashed", last)
    why = kvm_lab.host.must(["virsh", "-c", kvm.URI, "domstate", "--reason", GUEST])
    assert why.strip() == "crashed (panicked)"
    assert not rows(found, "Intended")
    assert not rows(found, "Received")


def test_a_guest_with_a_poisoned_page_is_not_saved(kvm_lab: KvmLab) -> None:
    """B.6, II.2: QEMU refuses to write hardware poisoned memory to a file; that is said, and the guest runs on."""
    last = kvm_lab.service.last
    _, frame = kvm_lab.page(36)
    kvm.deferred(kvm_lab.machine, frame)
    kvm_lab.service.until_all(lambda each: bool(rows(each, "Closed")), "a case is closed", last)
    last = kvm_lab.service.last
    kvm_lab.service.ask("do", "save", GUEST)
    kvm_lab.service.until("poison", last, OPERATION_S)
    assert kvm_lab.state(GUEST) == "running"


def test_a_guest_is_not_moved_to_a_host_that_is_not_well(kvm_lab: KvmLab) -> None:
    """II.2, II.4: the other libvirtd has gone; nothing is begun, seen before or not, and that is said."""
    kvm_lab.host.must("kill -9 $(cat /run/b/libvirt/libvirtd.pid)")
    last = kvm_lab.service.last
    kvm_lab.host.run(["ringfence", "do", "migrate", GUEST, "--state-dir", STATE_DIR], timeout_s=SERVICE_S)
    said = re.compile("the other host is not well|no healthy host to migrate it to")
    kvm_lab.service.until_all(
        lambda each: any(said.search(one["text"]) for one in each), "it is said", last, OPERATION_S
    )
    assert kvm_lab.state(GUEST) == "running"
