"""Numbers that stay with a machine, over restarts of Ringfence and of the machine."""

from __future__ import annotations

from pathlib import Path

from ringfence.hypervisor.kvm.numbering import NAME, Numbering
from ringfence.world.identities import DomainId


def test_a_machine_keeps_its_number_whatever_process_runs_it(tmp_path: Path) -> None:
    numbering = Numbering(tmp_path, boot=1)
    first = numbering.number("a", (10, 100))
    assert (first.number, first.incarnation) == (1, 0)
    assert numbering.number("b", None).number == 2
    assert numbering.number("a", (11, 200)).incarnation == 1
    assert numbering.number("a", (11, 200)).incarnation == 1
    assert numbering.number("a", None).incarnation == 1
    assert numbering.key_of(DomainId(2)) == "b" and numbering.key_of(DomainId(9)) is None


def test_another_life_names_it_as_before(tmp_path: Path) -> None:
    numbering = Numbering(tmp_path, boot=1)
    numbering.number("a", (10, 100))
    numbering.number("b", (11, 100))
    numbering.keep()
    again = Numbering(tmp_path, boot=1)
    assert again.number("b", (11, 100)).number == 2 and again.number("b", (11, 100)).incarnation == 0
    assert again.number("c", None).number == 3


def test_after_a_reboot_its_memory_is_another(tmp_path: Path) -> None:
    numbering = Numbering(tmp_path, boot=1)
    numbering.number("a", (10, 100))
    numbering.keep()
    again = Numbering(tmp_path, boot=2).number("a", (10, 100))  # the same numbers by chance
    assert (again.number, again.incarnation) == (1, 1)


def test_a_damaged_file_is_as_none(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"\xff{")
    assert Numbering(tmp_path, boot=1).number("a", None).number == 1


def test_dom0_and_the_domain_of_shared_pages_keep_their_numbers(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b'{"next": 32755, "boot": 1, "machines": {}}')
    assert Numbering(tmp_path, boot=1).number("a", None).number == 0x7FF4
