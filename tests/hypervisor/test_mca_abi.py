"""Hypercall 48 byte for byte: sizes and offsets of Xen's xen/include/public/arch-x86/xen-mca.h (x86_64), and do_mca's
errors in its order (xen/arch/x86/cpu/mcheck/mce.c)."""

from __future__ import annotations

import msgspec
import pytest

from ringfence.hypervisor import mca_abi
from ringfence.hypervisor.mca_abi import (
    Answer,
    Command,
    Fetch,
    FetchFlag,
    LogicalCpu,
    NotifyDomain,
    PhysCpuInfo,
)
from ringfence.hypervisor.model import faults
from ringfence.hypervisor.model.frames import Errno
from ringfence.record.binary.xen_mc_info import MC_INFO_BYTES, McInfo, McInfoBank, McInfoGlobal
from ringfence.world.domain import DomainKind, McaHandler
from ringfence.world.identities import DOM0, DomainId, GuestFrame
from ringfence.world.steps import IsolateFrame
from tests.hypervisor.model.staged import Staged, guest, stage

CPU = LogicalCpu(
    cpunr=1, chipid=2, coreid=3, threadid=4, apicid=5, ncores=6, nthreads=7, family=8, model=9, step=10,
    vendorid="GenuineIntel", brandid="a brand", mcg_cap=0xF000C14, clusterid=11, ncores_active=12, cpuid_level=-1,
    vendor=13, caps=(1, 2, 3, 4, 5, 6, 7), cache_size=14, cache_alignment=15,
)  # fmt: skip


@pytest.mark.parametrize(
    ("blob", "fields"),
    [
        (
            Fetch(flags=6, fetch_id=0x1122334455667788, data=0x99).pack(),
            {0: (4, 1), 4: (4, 0x01ECC003), 8: (4, 6), 16: (8, 0x1122334455667788), 24: (8, 0x99)},
        ),
        (NotifyDomain(domid=7, vcpuid=1, flags=2).pack(), {0: (4, 2), 8: (2, 7), 10: (2, 1), 12: (4, 2)}),
        (PhysCpuInfo(ncpus=3, info=0x1000).pack(), {0: (4, 3), 8: (4, 3), 16: (8, 0x1000)}),
    ],
    ids=["xen_mc_fetch", "xen_mc_notifydomain", "xen_mc_physcpuinfo"],
)
def test_a_struct_xen_mc_has_152_bytes_with_its_fields_where_the_header_puts_them(
    blob: bytes, fields: dict[int, tuple[int, int]]
) -> None:
    assert len(blob) == 152
    for offset, (size, value) in fields.items():
        assert int.from_bytes(blob[offset : offset + size], "little") == value, offset


def test_mcinfo_logical_cpu_has_304_bytes_with_its_fields_where_the_header_puts_them() -> None:
    blob = CPU.pack()
    assert len(blob) == 304
    offsets = {0: 1, 4: 2, 12: 5, 16: 11, 20: 6, 24: 12, 28: 7, 32: 0xFFFFFFFF, 36: 8, 40: 13, 44: 9, 48: 10}
    for offset, value in {**offsets, 132: 1, 156: 7, 160: 14, 164: 15, 168: 1, 176: 0x179, 184: 0xF000C14}.items():
        assert int.from_bytes(blob[offset : offset + 4], "little") == value, offset
    assert (blob[8:10], blob[10:12]) == (b"\3\0", b"\4\0")
    assert blob[52:68] == b"GenuineIntel\0\0\0\0"
    assert blob[68:75] == b"a brand"
    assert LogicalCpu.unpack(blob) == CPU


@pytest.fixture
def staged() -> Staged:
    return stage()


def fetch(
    staged: Staged, flags: int, *, caller: DomainId = DOM0, room: int = MC_INFO_BYTES
) -> tuple[int, Fetch, bytes]:
    argument = Fetch(flags=flags, data=0x1000).pack()
    result, answer, buffer = staged.host.hypercall_mca(caller, argument, room)
    return result, Fetch.unpack(answer), buffer


def corrected(staged: Staged, domain: DomainId, page: int = 1) -> None:
    address = staged.host.address(domain, GuestFrame(page))
    staged.host.inject(faults.CacheCorrected(cpu=staged.host.cpu_of(domain), addr=address))
    staged.host.advance(10)


def test_only_dom0_may_call_and_who_else_calls_is_counted_and_changes_nothing(staged: Staged) -> None:
    domain = guest(staged)
    for flags in (FetchFlag.URGENT, FetchFlag.NONURGENT | FetchFlag.ACK):
        assert fetch(staged, flags, caller=domain)[0] == -Errno.EPERM


def test_another_interface_version_is_refused_with_eacces_before_the_command_is_looked_at(staged: Staged) -> None:
    argument = mca_abi.xen_mc(99, b"", version=0x03000001)
    assert staged.host.hypercall_mca(DOM0, argument)[0] == -Errno.EACCES
    assert staged.host.hypercall_mca(DOM0, mca_abi.xen_mc(99, b""))[0] == -Errno.EINVAL


def test_a_struct_that_is_cut_off_is_efault(staged: Staged) -> None:
    assert staged.host.hypercall_mca(DOM0, Fetch(flags=1).pack()[:-1])[0] == -Errno.EFAULT


@pytest.mark.parametrize("flags", [0, 3, 4, 7])
def test_a_fetch_names_exactly_one_class(staged: Staged, flags: int) -> None:
    assert fetch(staged, flags)[0] == -Errno.EINVAL


def test_a_fetch_without_a_buffer_is_einval(staged: Staged) -> None:
    argument = Fetch(flags=FetchFlag.URGENT, data=0).pack()
    assert staged.host.hypercall_mca(DOM0, argument, MC_INFO_BYTES)[0] == -Errno.EINVAL


def test_nothing_to_fetch_is_nodata_with_id_0(staged: Staged) -> None:
    result, answer, buffer = fetch(staged, FetchFlag.URGENT)
    assert (result, answer.flags, answer.fetch_id, buffer) == (0, Answer.NODATA, 0, bytes(MC_INFO_BYTES))


def test_a_fetch_gives_768_bytes_that_read_back_and_the_same_ones_until_they_are_acknowledged() -> None:
    staged = stage(platform="cascade-lake")
    domain = guest(staged)
    staged.seat.answering = lambda record, situation: ()
    for page in (1, 2):
        staged.host.consume(domain, GuestFrame(page))
        staged.host.advance(1)
    result, first, blob = fetch(staged, FetchFlag.URGENT)
    assert (result, first.flags, len(blob)) == (0, Answer.OK, 768)
    entries = McInfo.unpack(blob).entries
    assert isinstance(entries[0], McInfoGlobal)
    assert isinstance(entries[1], McInfoBank)
    assert entries[1].domid == domain
    assert fetch(staged, FetchFlag.URGENT)[1:] == (first, blob)
    wrong = Fetch(flags=FetchFlag.URGENT | FetchFlag.ACK, fetch_id=first.fetch_id + 1)
    assert staged.host.hypercall_mca(DOM0, wrong.pack())[0] == 0
    other_class = Fetch(flags=FetchFlag.NONURGENT | FetchFlag.ACK, fetch_id=first.fetch_id)
    assert staged.host.hypercall_mca(DOM0, other_class.pack())[0] == 0
    assert fetch(staged, FetchFlag.URGENT)[2] == blob
    right = msgspec.structs.replace(wrong, fetch_id=first.fetch_id)
    assert staged.host.hypercall_mca(DOM0, right.pack())[0] == 0
    assert fetch(staged, FetchFlag.URGENT)[1].fetch_id not in {0, first.fetch_id}


def test_a_buffer_that_is_too_small_fails_and_the_record_stays() -> None:
    staged = stage(answering=lambda record, situation: ())
    domain = guest(staged)
    staged.host.consume(domain, GuestFrame(1))
    staged.host.advance(1)
    result, answer, _ = fetch(staged, FetchFlag.URGENT, room=100)
    assert (result, answer.flags, answer.fetch_id) == (-Errno.EFAULT, Answer.FETCHFAILED, 0)
    assert fetch(staged, FetchFlag.URGENT)[0] == 0


def test_physcpuinfo_first_tells_how_many_then_all_of_them(staged: Staged) -> None:
    result, answer, _ = staged.host.hypercall_mca(DOM0, PhysCpuInfo().pack())
    assert (result, PhysCpuInfo.unpack(answer).ncpus) == (0, 8)
    _, answer, buffer = staged.host.hypercall_mca(DOM0, PhysCpuInfo(ncpus=99, info=1).pack(), 8 * 304)
    cpus = [LogicalCpu.unpack(buffer[at : at + 304]) for at in range(0, len(buffer), 304)]
    assert PhysCpuInfo.unpack(answer).ncpus == 8
    assert [cpu.cpunr for cpu in cpus] == list(range(8))
    assert {(cpu.vendorid, cpu.family, cpu.model) for cpu in cpus} == {("GenuineIntel", 6, 0x55)}
    assert {cpu.mcg_cap for cpu in cpus} == {staged.host.settings.machine.platform.mcg_cap}


def test_physcpuinfo_with_an_array_of_none_is_einval(staged: Staged) -> None:
    assert staged.host.hypercall_mca(DOM0, PhysCpuInfo(ncpus=0, info=1).pack(), 304)[0] == -Errno.EINVAL


# --- notifydomain, as its header meant it ---------------------------------------------------------------------------


def notify(staged: Staged, domid: int, vcpuid: int = 0xFFFF) -> tuple[int, int]:
    result, answer, _ = staged.host.hypercall_mca(DOM0, NotifyDomain(domid=domid, vcpuid=vcpuid).pack())
    return result, NotifyDomain.unpack(answer).flags


def lose(staged: Staged, domain: DomainId, page: int) -> None:
    frame = staged.host.address(domain, GuestFrame(page)) >> 12
    assert staged.do(IsolateFrame(frame)).succeeded  # type: ignore[arg-type]


def test_notifydomain_tells_a_guest_with_a_handler_its_lost_pages_once(staged: Staged) -> None:
    domain = guest(staged, DomainKind.PV, handler=McaHandler.TRAP)
    assert notify(staged, domain) == (0, Answer.NOMATCH)
    lose(staged, domain, 3)
    assert notify(staged, domain) == (0, Answer.OK)
    assert notify(staged, domain) == (0, Answer.NOMATCH)


def test_notifydomain_says_that_a_guest_without_a_handler_cannot_handle_it(staged: Staged) -> None:
    domain = guest(staged)
    lose(staged, domain, 3)
    assert notify(staged, domain) == (0, Answer.CANNOTHANDLE)


@pytest.mark.parametrize(
    ("domid", "vcpuid", "errno"),
    [(0, 0xFFFF, Errno.EINVAL), (0x7FF1, 0xFFFF, Errno.EINVAL), (77, 0xFFFF, Errno.ESRCH), (1, 9, Errno.EINVAL)],
)
def test_ii_4_notifydomain_refuses_who_is_no_guest_or_has_no_such_vcpu(
    staged: Staged, domid: int, vcpuid: int, errno: Errno
) -> None:
    assert guest(staged, DomainKind.PV, handler=McaHandler.TRAP) == 1
    assert notify(staged, domid, vcpuid)[0] == -errno


@pytest.mark.parametrize("personality", ["xen-4.17", "xen-4.20.0", "xen-4.20"])
def test_no_release_of_xen_ever_built_notifydomain(personality: str) -> None:
    staged = stage(personality)
    domain = guest(staged, DomainKind.PV, handler=McaHandler.TRAP)
    assert notify(staged, domain)[0] == -Errno.EINVAL


@pytest.mark.parametrize("command", [Command.MSRINJECT, Command.MCEINJECT, Command.INJECT_V2])
def test_injection_by_hypercall_is_not_offered(staged: Staged, command: Command) -> None:
    assert staged.host.hypercall_mca(DOM0, mca_abi.xen_mc(command, b""))[0] == -Errno.EINVAL
