"""Who else acts on the same errors, held against the configuration; and pages that are left to them."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from ringfence.decision.policy import DEFAULT
from ringfence.journal import events as ev
from ringfence.journal.store import Journal
from ringfence.service.configuration.sources import PageIsolation, Sources
from ringfence.service.loop import Loop
from ringfence.service.others import Fact, facts_of, kernel_log, last_words, left_to_others
from ringfence.service.sources.host_facts import HostFiles, is_firmware_first, statements, what_runs
from ringfence.service.sources.pstore_room import Room, room
from ringfence.world.situation import Suspect
from tests.contract.backends import BACKENDS
from tests.service.sources.test_host_facts import put
from tests.service.test_trends import err

OTHERS = Sources(page_isolation=PageIsolation.OTHERS)


def facts(root: Path, wanted: Sources, *log: str) -> tuple[Fact, ...]:
    return facts_of(wanted, statements(HostFiles(root, log)))


def clashes(root: Path, wanted: Sources) -> list[str]:
    return [each.text for each in facts(root, wanted) if each.clashes]


def test_who_takes_pages_out_besides_ringfence_clashes_unless_pages_are_left_to_him(tmp_path: Path) -> None:
    put(tmp_path, proc__7__comm="rasdaemon\n", sys__kernel__debug__ras__cec__decay_interval="1\n")
    said = clashes(tmp_path, Sources())
    assert len(said) == 2
    assert said[0].startswith("The kernel counts corrected errors per page itself")
    assert said[1].startswith("rasdaemon takes pages out of use at 50 corrected errors")
    assert clashes(tmp_path, OTHERS) == []
    first = facts(tmp_path, Sources())[0]
    assert 'page-isolation = "others"' in first.advice and first.evidence.startswith("/sys/kernel/debug/ras/cec: ")


def test_pages_that_are_left_to_nobody_are_a_clash(tmp_path: Path) -> None:
    put(tmp_path, proc__cmdline="quiet")
    assert clashes(tmp_path, Sources()) == []
    (said,) = clashes(tmp_path, OTHERS)
    assert "nobody here takes them out" in said


def test_two_readers_of_dev_mcelog_clash(tmp_path: Path) -> None:
    put(tmp_path, proc__7__comm="mcelog\n", etc__mcelog__mcelog__conf="memory-ce-action = off\n")
    (tmp_path / "etc/mcelog/mcelog").mkdir(exist_ok=True)
    (tmp_path / "etc/mcelog/mcelog.conf").write_text("memory-ce-action = off\n")
    assert clashes(tmp_path, Sources(host=True)) == []
    assert clashes(tmp_path, Sources(host=True, mcelog_device=True)) == ["the mcelog daemon runs"]


# --- firmware first ---------------------------------------------------------------------------------------------------


def hest(*sources: bytes) -> bytes:
    """ACPI's table HEST: 36 bytes of header, of which none is looked at, the number of sources, the sources."""
    return bytes(36) + struct.pack("<I", len(sources)) + b"".join(sources)


def exceptions(flags: int, banks: int = 2) -> bytes:
    return struct.pack("<HHHBBIIQQB7x", 0, 3, 0, flags, 1, 1, 1, 0, 0, banks) + bytes(28 * banks)


def corrected(flags: int, banks: int = 0) -> bytes:
    return struct.pack("<HHHBBII28xB3x", 1, 4, 0, flags, 1, 1, 1, banks) + bytes(28 * banks)


def with_hest(root: Path, table: bytes) -> tuple[str, ...]:
    path = root / "sys/firmware/acpi/tables/HEST"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(table)
    return tuple(each.text for each in statements(HostFiles(root)) if each.text.startswith("firmware takes"))


def test_hests_flags_say_which_errors_firmware_takes_first(tmp_path: Path) -> None:
    generic = struct.pack("<HH", 9, 5) + bytes(60)
    assert with_hest(tmp_path, hest(generic, exceptions(0), corrected(1))) == (
        "firmware takes corrected machine checks first",
    )
    assert with_hest(tmp_path, hest(exceptions(1, banks=30), corrected(3, banks=1))) == (
        "firmware takes machine check exceptions first", "firmware takes corrected machine checks first",
    )  # fmt: skip
    assert is_firmware_first(statements(HostFiles(tmp_path)))
    assert with_hest(tmp_path, hest(exceptions(0), corrected(0))) == ()
    assert not is_firmware_first(statements(HostFiles(tmp_path)))


@pytest.mark.parametrize("cut", [0, 30, 40, 45, 79, 107])
def test_a_table_that_is_cut_or_of_later_kinds_says_no_more_than_it_does(tmp_path: Path, cut: int) -> None:
    assert with_hest(tmp_path, hest(exceptions(1), corrected(1))[:cut]) in {
        (), ("firmware takes machine check exceptions first",),
    }  # fmt: skip
    assert with_hest(tmp_path, hest(struct.pack("<HH", 77, 1) + bytes(40), exceptions(1))) == ()


def test_a_firmware_first_host_is_said_to_be_one_with_its_evidence(tmp_path: Path) -> None:
    line = "GHES: APEI firmware first mode is enabled by APEI bit and WHEA _OSC."
    found = facts(tmp_path, Sources(), line)
    assert found[0].text.startswith("Firmware takes errors first on this host")
    assert line in found[0].evidence and not found[0].clashes


def test_a_log_that_may_not_be_read_says_nothing(tmp_path: Path) -> None:
    assert list(kernel_log(tmp_path / "none")) == []


# --- the kernel's last words ------------------------------------------------------------------------------------------


def test_who_erases_last_words_is_said_and_that_their_store_is_full_is_wrong(tmp_path: Path) -> None:
    def said(*, erases: bool = False) -> list[tuple[str, bool]]:
        known = room(tmp_path / "pstore", tmp_path / "backend", tmp_path / "efi")
        assert known is not None
        return [(each.text, each.clashes) for each in last_words(known, erases=erases)]

    (tmp_path / "pstore").mkdir()
    (tmp_path / "backend").write_text("erst\n")
    assert said() == []
    (tmp_path / "pstore" / "dmesg-erst-1").write_bytes(bytes(8 << 10))
    assert said() == [("1 record of 8 KiB lie in pstore (erst); Ringfence has read them and erases nothing", False)]
    assert said(erases=True) == []
    for number in range(2, 8):
        (tmp_path / "pstore" / f"dmesg-erst-{number}").write_bytes(bytes(8 << 10))
    (text, is_wrong), *_ = said(erases=True)
    assert is_wrong and "then the next crash is not recorded" in text


@pytest.mark.parametrize(("free_bytes", "is_full"), [(None, False), (1 << 20, False), (1 << 10, True)])
def test_where_the_kernel_tells_how_much_is_free_that_counts(free_bytes: int | None, is_full: bool) -> None:
    (fact,) = last_words(Room(1, 900, "efi_pstore", free_bytes), erases=False)
    assert fact.clashes is is_full


def test_a_store_that_may_not_be_read_says_nothing(tmp_path: Path) -> None:
    assert room(tmp_path / "none") is None


# --- what runs here ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "text", "is_dom0", "said"),
    [
        ("proc/xen/privcmd", "", True, "it runs on this Xen"),
        ("sys/hypervisor/type", "xen\n", False, "a guest of Xen"),
        ("dev/kvm", "", False, "which nobody uses"),
        ("nothing", "", False, "no hypervisor"),
    ],
)
def test_what_runs_here_is_said_with_its_evidence(
    tmp_path: Path, file: str, text: str, is_dom0: bool, said: str
) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    found = what_runs(HostFiles(tmp_path))
    assert found.is_dom0 is is_dom0 and said in found.in_words
    assert is_dom0 or "nothing is carried out on it" in found.in_words


def test_kvm_is_what_runs_where_libvirt_listens(tmp_path: Path) -> None:
    for path in ("dev/kvm", "run/libvirt/virtqemud-sock"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    found = what_runs(HostFiles(tmp_path))
    assert found.hypervisor == "kvm" and "it runs on this KVM" in found.in_words


def test_kvm_is_what_runs_where_a_process_has_a_guest_of_it(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kvm").touch()
    (tmp_path / "proc/77/fd").mkdir(parents=True)
    (tmp_path / "proc/77/fd/9").symlink_to("/dev/kvm")
    assert what_runs(HostFiles(tmp_path)).hypervisor == "model"
    (tmp_path / "proc/77/fd/12").symlink_to("anon_inode:kvm-vm")
    found = what_runs(HostFiles(tmp_path))
    assert found.hypervisor == "kvm" and "process 77 has a guest" in found.in_words


# --- a page that is left to others ------------------------------------------------------------------------------------


def test_a_page_that_is_left_to_others_is_judged_and_left(tmp_path: Path) -> None:
    world = BACKENDS["model concept"]()
    policy = replace(DEFAULT, trends=replace(DEFAULT.trends, page_count=3))
    with Journal(tmp_path / "j.sqlite", fsync=False) as journal:
        loop = Loop(world.host, journal, policy, pages_left_to=left_to_others(OTHERS))
        err(world, loop, 5)
        stored = [event for _, event in journal.events()]
    trend = next(each for each in stored if isinstance(each, ev.TrendSeen) and each.suspect is Suspect.PAGE)
    assert not any(isinstance(each, ev.Intended) and each.case == trend.case for each in stored)
    (decided,) = [each for each in stored if isinstance(each, ev.Decided) and each.case == trend.case]
    said = [reason.because for reason in decided.reasons]
    assert said[-1] == "the page is left to others on this machine, as the configuration says"
