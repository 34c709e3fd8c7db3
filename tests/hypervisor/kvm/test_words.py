"""Kernel and QEMU in their own words: the log, the monitor, libvirt's description, command lines."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import ANY

import pytest

from ringfence.hypervisor.kvm import guest_memory
from ringfence.hypervisor.kvm.domain_xml import NOTHING_SAID, Details, details
from ringfence.hypervisor.kvm.guest_memory import Stretch
from ringfence.hypervisor.kvm.kernel_words import KernelWords, Story
from ringfence.hypervisor.kvm.processor import Processor
from ringfence.hypervisor.kvm.qemu_processes import QemuProcess, processes

# --- the kernel's log -------------------------------------------------------------------------------------------------


def _story(*lines: str) -> Story:
    words = KernelWords(Path("/nowhere"))
    for line in lines:
        words.heard(line)
    return words.story(0x77B9)


def test_what_became_of_a_page_and_who_was_signalled_is_in_the_log() -> None:
    story = _story(
        "Memory failure: 0x77b9: Sending SIGBUS to CPU 0/KVM:812 due to hardware memory corruption",
        "Memory failure: 0x77b9: recovery action for dirty LRU page: Recovered",
        "Memory failure: 0x1: recovery action for free buddy page: Recovered",
    )
    assert (story.page, story.result, story.signalled) == ("dirty LRU page", "Recovered", (812,))
    assert not story.is_free_page and not story.is_kernel_page


def test_free_pages_and_the_kernel_s_own_are_told_apart() -> None:
    assert _story("Memory failure: 0x77b9: recovery action for free buddy page: Recovered").is_free_page
    assert _story("Memory failure: 0x77b9: recovery action for reserved kernel page: Ignored").is_kernel_page
    assert _story("Memory failure: 0x77b9: recovery action for get hwpoison page: Ignored").is_kernel_page


@pytest.mark.parametrize("words", ["already hardware poisoned", "recovery action for already poisoned page: Failed"])
def test_a_page_that_was_marked_before_its_error_is_told_from_one_that_was_not(words: str) -> None:
    assert _story(f"Memory failure: 0x77b9: {words}") == Story(again=True, at_s=ANY)
    both = _story("Memory failure: 0x77b9: recovery action for slab page: Ignored", f"Memory failure: 0x77b9: {words}")
    assert both.again and both.is_kernel_page


@pytest.mark.parametrize(
    ("said", "qemus"),
    [
        ("Sending SIGBUS to qemu-system-x86:812 due to hardware memory corruption", (812,)),
        ("Killing qemu-kvm:812 due to hardware memory corruption", (812,)),
        ("forcibly killing CPU 0/KVM:812 because of failure to unmap corrupted page", (812,)),
        ("Sending SIGBUS to python3:812 due to hardware memory corruption", ()),
    ],
)
def test_a_qemu_that_the_kernel_ends_is_told_from_another_process(said: str, qemus: tuple[int, ...]) -> None:
    story = _story(f"Memory failure: 0x77b9: {said}")
    assert (story.signalled, story.qemus) == ((812,), qemus)


def test_when_the_kernel_has_signalled_is_by_its_log(tmp_path: Path) -> None:
    log = tmp_path / "kmsg"
    log.write_text("6,1,5500000,-;Memory failure: 0x77b9: Sending SIGBUS to qemu:812 due to hardware memory\n")
    words = KernelWords(log)
    assert not words.is_read
    words.turn()
    assert words.is_read and words.story(0x77B9).signalled_s == 5.5


def test_the_log_s_device_is_read_to_its_end_each_time(tmp_path: Path) -> None:
    log = tmp_path / "kmsg"
    log.write_text("6,1,5,-;Memory failure: 0x77b9: recovery action for clean LRU page: Recovered\n")
    words = KernelWords(log)
    words.turn()
    assert words.story(0x77B9).page == "clean LRU page"
    KernelWords(tmp_path / "none").turn()  # a log that may not be read tells nothing


def test_only_the_kernel_s_own_records_are_believed_and_only_where_it_says_so_itself(tmp_path: Path) -> None:
    log = tmp_path / "kmsg"
    log.write_text(
        "14,1,5,-;Memory failure: 0x77b9: recovery action for free buddy page: Recovered\n"  # written to /dev/kmsg
        "6,2,6,-;usb 1-1: Product: Memory failure: 0x77b9: recovery action for free buddy page: Recovered\n"
        " SUBSYSTEM=Memory failure: 0x77b9: recovery action for free buddy page: Recovered\n"
        "\xff;Memory failure: 0x77b9: recovery action for free buddy page: Recovered\n"
    )
    words = KernelWords(log)
    words.turn()
    assert words.story(0x77B9) == Story()


def test_a_frame_is_found_by_the_thread_that_was_signalled_for_it() -> None:
    words = KernelWords(Path("/nowhere"))
    words.heard("Memory failure: 0x10: Sending SIGBUS to qemu-system-x86:812 due to hardware memory corruption")
    words.heard("Memory failure: 0x11: Sending SIGBUS to other:99 due to hardware memory corruption")
    assert words.newest_of(frozenset({811, 812}), since_s=0) == 0x10
    assert words.newest_of(frozenset({812}), since_s=words.story(0x11).at_s + 1) is None


# --- QEMU's monitor ---------------------------------------------------------------------------------------------------

MTREE = """\
FlatView #0
 AS "I/O", root: io
 Root memory region: io
  0000000000000000-0000000000000007 (prio 0, i/o): dma-chan

FlatView #1
 AS "memory", root: system
 AS "cpu-memory-0", root: system
 Root memory region: system
  0000000000000000-00000000000c2fff (prio 0, ram): pc.ram KVM
  00000000000c3000-00000000000e7fff (prio 0, rom): pc.ram @00000000000c3000 KVM
  0000000000100000-0000000003ffffff (prio 0, ram): pc.ram @0000000000100000 KVM
  00000000b0000000-00000000bfffffff (prio 0, i/o): pcie-mmcfg-mmio
  0000000100000000-00000001ffffffff (prio 0, ram): mem-dimm1
  00000000fffc0000-00000000ffffffff (prio 0, romd): pc.bios

FlatView #2
 AS "other", root: other
  0000000000000000-00000000000c2fff (prio 0, ram): not.it
"""
HOST: dict[str, str] = {
    "info mtree -f": MTREE,
    "gpa2hva 0x0": "Host virtual address for 0x0 (pc.ram) is 0x7f0000000000\r\n",
    "gpa2hva 0x100000000": "Host virtual address for 0x100000000 (mem-dimm1) is 0x7e0000000000\r\n",
    "gpa2hva 0xfffc0000": "Memory at address 0xfffc0000 is not RAM\r\n",
    "info registers": "\r\nCPU#0\r\nCR0=80050033 CR2=00000000 CR3=01234000 CR4=000006f0\r\n",
}


def test_the_guest_s_map_is_read_from_the_view_of_its_cpus() -> None:
    memory = guest_memory.read(HOST.__getitem__)
    assert memory.stretches == (
        Stretch(0, 0xC3000, 0x7F00_0000_0000),
        Stretch(0xC3000, 0x25000, 0x7F00_000C_3000),
        Stretch(0x100000, 0x3F00000, 0x7F00_0010_0000),
        Stretch(1 << 32, 1 << 32, 0x7E00_0000_0000),
    )
    assert memory.guest_address(0x7F00_0012_3456) == 0x123456
    assert memory.guest_address(0x7E00_0000_1000) == 0x1_0000_1000
    assert memory.guest_address(0x7D00_0000_0000) is None
    assert memory.host_address(0x1_0000_1000) == 0x7E00_0000_1000


def test_words_that_are_not_known_are_no_map() -> None:
    assert guest_memory.read(lambda _: "unknown command").stretches == ()


def test_whether_a_guest_has_machine_checks_on_is_cr4_mce() -> None:
    assert guest_memory.mca_enabled(HOST.__getitem__)
    assert not guest_memory.mca_enabled(lambda _: "CR0=00000010 CR2=00000000 CR3=00000000 CR4=00000000")
    assert not guest_memory.mca_enabled(lambda _: "")


# --- libvirt's description --------------------------------------------------------------------------------------------


def test_what_bears_on_memory_and_moving_is_in_the_description() -> None:
    xml = """<domain type='kvm'><memoryBacking><hugepages><page size='1' unit='GiB'/></hugepages>
    <source type='memfd'/></memoryBacking><launchSecurity type='sev'/><devices><hostdev mode='subsystem' type='pci'/>
    <channel type='unix'><source mode='bind' path='/run/a'/><target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel><channel type='unix'><source mode='bind' path='/run/b'/>
    <target type='virtio' name='org.ringfence.guest.0'/></channel></devices></domain>"""
    assert details(xml) == Details(
        huge_page_kib=1 << 20, backing="memfd", security="sev", passed_through=True, agent_socket="/run/b"
    )
    assert details("<domain><memoryBacking><hugepages/></memoryBacking></domain>").huge_page_kib == -1


def test_a_description_that_is_none_says_nothing() -> None:
    for text in ("", "<domain", "<!DOCTYPE d [<!ENTITY a 'aaaa'>]><domain><launchSecurity type='sev'/></domain>"):
        assert details(text) == NOTHING_SAID


# --- processes --------------------------------------------------------------------------------------------------------


def _process(root: Path, pid: int, *words: str, kvm: bool = False) -> None:
    home = root / str(pid)
    (home / "fd").mkdir(parents=True)
    (home / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in words))
    (home / "stat").write_text(f"{pid} (qemu) evil) (x) S 1 " + " ".join(str(at) for at in range(5, 30)))
    if kvm:
        (home / "fd/9").symlink_to("anon_inode:kvm-vm")


def test_qemus_are_known_by_their_command_lines(tmp_path: Path) -> None:
    _process(tmp_path, 1, "/sbin/init")
    _process(
        tmp_path, 20, "/usr/bin/qemu-system-x86_64", "-name", "guest=web,debug-threads=on", "-uuid",
        "AAAAAAAA-2222-3333-4444-555555555555", "-chardev", "socket,id=charmonitor,fd=23,server=on,wait=off", "-mon",
        "chardev=charmonitor,id=monitor,mode=control", kvm=True,
    )  # fmt: skip
    _process(
        tmp_path, 30, "qemu-system-x86_64", "-name", "plain,,1", "-qmp", "unix:/run/ringfence-a.qmp,server=on,wait=off",
        "-chardev", "socket,id=m,path=/run/m.sock,server=on", "-mon", "chardev=m,mode=control", "-chardev",
        "socket,id=rf,path=/run/agent.sock,server=on", "-device",
        "virtserialport,chardev=rf,name=org.ringfence.guest.0",
    )  # fmt: skip
    assert processes(tmp_path) == (
        QemuProcess(
            pid=20, began=22, uuid="aaaaaaaa-2222-3333-4444-555555555555", name="web", by_libvirt=True, uses_kvm=True
        ),
        QemuProcess(
            pid=30, began=22, name="plain,1", monitors=(Path("/run/ringfence-a.qmp"), Path("/run/m.sock")),
            agent_socket="/run/agent.sock",
        ),
    )  # fmt: skip


def test_without_proc_there_are_no_processes(tmp_path: Path) -> None:
    assert processes(tmp_path / "none") == ()


def test_what_the_processor_does_with_bad_data_is_claimed_only_where_something_says_so(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text("processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu succor svm\n\nprocessor\t: 1\n")
    amd = Processor.of_this_machine(path)
    assert not amd.is_intel and amd.poisons(False)[0] is True
    intel = Processor("GenuineIntel", frozenset({"fpu"}))
    assert intel.is_intel and intel.poisons(False) == (None, "") and intel.poisons(True)[0] is True
    assert Processor.of_this_machine(tmp_path / "none") == Processor()
