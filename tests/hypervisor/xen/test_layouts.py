"""What goes to Xen and comes from it stands where the public headers of 4.17 to 4.22 have it."""

from __future__ import annotations

import errno

import pytest

from ringfence.errors import HypervisorError
from ringfence.hypervisor.xen.domctl import Command as DomctlCommand
from ringfence.hypervisor.xen.domctl import Domctl
from ringfence.hypervisor.xen.sysctl import Command as SysctlCommand
from ringfence.hypervisor.xen.sysctl import DomainFlag, PageCommand, Sysctl
from ringfence.world.identities import CpuId, DomainId, Frame
from tests.hypervisor.xen import layouts as at

HERE = 0x7000_0000


class Paper:
    """Takes down what is asked, and answers with what it was told to."""

    def __init__(self, versions: tuple[int, int] = (0x15, 0x17)) -> None:
        self.address = HERE
        self.memory = bytearray(1 << 18)
        self.asked: list[tuple[int, bytes]] = []
        self.answers: list[tuple[int, bytes]] = []
        self.versions = {35: versions[0], 36: versions[1]}

    def write(self, offset: int, data: bytes) -> int:
        self.memory[offset : offset + len(data)] = data
        return HERE + offset

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.memory[offset : offset + size])

    def call(self, number: int, *arguments: int) -> int:
        layout = at.SYSCTL if number == 35 else at.DOMCTL
        head = self.read(arguments[0] - HERE, layout[0])
        if at.get(layout, head, "interface_version") != self.versions[number]:
            raise OSError(errno.EACCES, "no")
        self.asked.append((number, head))
        for where, data in self.answers:
            self.memory[where - HERE : where - HERE + len(data)] = data
        return 0


@pytest.mark.parametrize(("release", "versions"), at.VERSIONS.items())
def test_the_interface_of_each_release_is_found_by_asking(release: str, versions: tuple[int, int]) -> None:
    paper = Paper(versions)
    assert (Sysctl(paper).version, Domctl(paper).version) == versions, release


def test_an_interface_that_is_not_known_is_refused_with_what_to_do() -> None:
    for kind in (Sysctl, Domctl):
        with pytest.raises(HypervisorError, match="speaks another version") as caught:
            kind(Paper((0x99, 0x99)))
        assert caught.value.advice


def test_the_numbers_of_the_commands_are_the_headers() -> None:
    for name, number in at.SYSCTL_COMMANDS.items():
        assert getattr(SysctlCommand, name.upper()) == number
    for name, number in at.DOMCTL_COMMANDS.items():
        assert getattr(DomctlCommand, name.upper()) == number


def body(paper: Paper, layout: tuple[int, at.Layout]) -> bytes:
    number, head = paper.asked[-1]
    outer = at.SYSCTL if number == 35 else at.DOMCTL
    return head[outer[1]["u"][0] :][: layout[0]]


def test_physinfo_is_read_where_it_stands() -> None:
    paper = Paper()
    sysctl = Sysctl(paper)
    told = at.put(
        at.PHYSINFO, threads_per_core=2, cores_per_socket=9, nr_cpus=36, total_pages=0x1122334455, free_pages=0x99887766
    )
    paper.answers = [(HERE + 8, bytes(told))]
    found = sysctl.physinfo()
    assert (found.threads_per_core, found.cores_per_socket, found.cpus) == (2, 9, 36)
    assert (found.total_pages, found.free_pages) == (0x1122334455, 0x99887766)


def test_domains_are_read_where_they_stand() -> None:
    paper = Paper()
    sysctl = Sysctl(paper)
    handle = bytes(range(16))
    infos = b"".join(
        at.put(
            at.GETDOMAININFO, domain=number, flags=0x2 | 0x4 | 3 << 16, tot_pages=0x0102030405, nr_online_vcpus=7,
            max_vcpu_id=8, handle=handle, gpaddr_bits=48, arch_config__emulation_flags=1,
        )
        for number in (0, 5)
    )  # fmt: skip
    buffer_at = at.GETDOMAININFOLIST[1]["buffer"][0]
    count_at = at.GETDOMAININFOLIST[1]["num_domains"][0]
    paper.answers = [(HERE + 8 + count_at, (2).to_bytes(4, "little")), (HERE + 4096, infos)]
    found = list(sysctl.domains(5))
    assert at.get(at.GETDOMAININFOLIST, body(paper, at.GETDOMAININFOLIST), "first_domain") == 5
    assert int.from_bytes(body(paper, at.GETDOMAININFOLIST)[buffer_at : buffer_at + 8], "little") == HERE + 4096
    assert [each.domain for each in found] == [0, 5]
    for each in found:
        assert (each.pages, each.vcpus, each.handle, each.emulation) == (0x0102030405, 7, handle, 1)
        assert DomainFlag.HVM_GUEST in each.flags
        assert each.shutdown == 3


def test_a_page_is_asked_for_where_the_header_has_it() -> None:
    paper = Paper()
    sysctl = Sysctl(paper)
    paper.answers = [(HERE + 4096, (0x0007_1004).to_bytes(4, "little"))]
    assert sysctl.page(PageCommand.OFFLINE, Frame(0xFFFF_FFFE)) == 0x0007_1004
    asked = body(paper, at.PAGE_OFFLINE_OP)
    wanted = {"cmd": 1, "start": 0xFFFF_FFFE, "end": 0xFFFF_FFFE, "status": HERE + 4096}
    assert {name: at.get(at.PAGE_OFFLINE_OP, asked, name) for name in wanted} == wanted


def test_the_console_is_read_and_nothing_is_taken_out_of_it() -> None:
    paper = Paper()
    sysctl = Sysctl(paper)
    count_at = at.READCONSOLE[1]["count"][0]
    paper.answers = [(HERE + 8 + count_at, (9).to_bytes(4, "little")), (HERE + 4096, b"(XEN) \xff\n\n---")]
    assert sysctl.console() == "(XEN) \\xff\n\n"
    asked = body(paper, at.READCONSOLE)
    wanted = {"clear": 0, "incremental": 0, "index": 0, "buffer": HERE + 4096}
    assert {name: at.get(at.READCONSOLE, asked, name) for name in wanted} == wanted
    assert at.get(at.READCONSOLE, asked, "count") <= (1 << 18) - 4096


@pytest.mark.parametrize(("online", "op"), [(True, 0), (False, 1)])
def test_a_cpu_is_asked_for_where_the_header_has_it(online: bool, op: int) -> None:
    paper = Paper()
    Sysctl(paper).cpu(CpuId(300), online=online)
    asked = body(paper, at.CPU_HOTPLUG)
    assert (at.get(at.CPU_HOTPLUG, asked, "cpu"), at.get(at.CPU_HOTPLUG, asked, "op")) == (300, op)


def test_a_domain_is_named_where_the_header_has_it() -> None:
    paper = Paper()
    domctl = Domctl(paper)
    for what, command in ((domctl.pause, 3), (domctl.unpause, 4)):
        what(DomainId(0x7FEF))
        head = paper.asked[-1][1]
        assert (at.get(at.DOMCTL, head, "cmd"), at.get(at.DOMCTL, head, "domain")) == (command, 0x7FEF)


@pytest.mark.parametrize(("answer", "owns"), [(0, True), (0x1 << 28, True), (0xF << 28, False)])
def test_whose_a_page_is_stands_in_the_upper_bits_of_its_answer(answer: int, owns: bool) -> None:
    paper = Paper()
    domctl = Domctl(paper)
    paper.answers = [(HERE + 4096, answer.to_bytes(8, "little"))]
    assert domctl.owns(DomainId(3), Frame(0x123456789)) is owns
    asked = body(paper, at.GETPAGEFRAMEINFO3)
    array = at.get(at.GETPAGEFRAMEINFO3, asked, "array")
    assert (at.get(at.GETPAGEFRAMEINFO3, asked, "num"), array) == (1, HERE + 4096)
