"""XenHost on a Xen that the model plays: what it tells, what it does, and what it refuses to."""

from __future__ import annotations

import errno
import os
from itertools import pairwise
from pathlib import Path

import pytest

from ringfence.decision.policy import DEFAULT
from ringfence.errors import HypervisorError
from ringfence.hypervisor.model.domains import DomainSpec
from ringfence.hypervisor.model.faults import CacheCorrected, CacheWriteback
from ringfence.hypervisor.model.host import ModelHost
from ringfence.hypervisor.port import Capability, Ended, Lost, Telemetry
from ringfence.hypervisor.xen.cpu_hotplug import switched
from ringfence.hypervisor.xen.host import XenHost
from ringfence.hypervisor.xen.retiring import ASKED_AT_ONCE, EVERY_MS
from ringfence.hypervisor.xen.serving import EVERY_MS as LOOKED_EVERY_MS
from ringfence.journal import events as ev
from ringfence.journal.store import Journal
from ringfence.service.loop import Loop
from ringfence.service.wiring import model_host
from ringfence.world.domain import DomainKind, DomainState
from ringfence.world.identities import CpuId, DomainId, Frame, GuestFrame, StepId
from ringfence.world.situation import Deed, Destination
from ringfence.world.steps import (
    DestroyDomain,
    MigrateDomain,
    OfflineCpu,
    OfflineFrame,
    OnlineCpu,
    OnlineFrame,
    Order,
    RestoreDomain,
    Result,
    SaveDomain,
    Status,
    Step,
)
from tests.hypervisor.xen.device import ModelOperations, ModelStore, ModelXen, xen_host


class Bench:
    """XenHost, the machine behind it, and a PV guest."""

    def __init__(
        self, state_dir: Path, versions: tuple[int, int] = (0x15, 0x17), elsewhere: There | None = None
    ) -> None:
        self.machine: ModelHost = model_host(DEFAULT, seed=7, personality="xen-4.20")
        self.pv = self.machine.create(
            DomainSpec(name="pv", kind=DomainKind.PV, memory_pages=4096, uuid="11111111-2222-3333-4444-555555555555")
        )
        self.machine.set_dom0_handler(True)
        self.machine.advance(100)
        self.state_dir = state_dir
        self.xen = ModelXen(self.machine, versions)
        self.elsewhere = elsewhere
        self.start()
        self._orders = 0

    def start(self) -> None:
        """A life of the process."""
        self.host: XenHost
        self.store: ModelStore
        self.operations: ModelOperations
        self.host, _, self.store, self.operations = xen_host(self.machine, self.state_dir, self.xen, self.elsewhere)

    def order(self, step: Step) -> tuple[Order, Result]:
        self._orders += 1
        given = Order(StepId(self._orders), step)
        return given, self.host.carry_out(given)

    def ended(self) -> dict[StepId, Result]:
        return {each.ended.order: each.ended.result for each in self.host.arrivals() if isinstance(each, Ended)}

    def done(self, step: Step) -> Result:
        """What a step comes to, as the port tells it."""
        given, result = self.order(step)
        if result.status is not Status.RUNNING:
            return result
        self.machine.advance(60_000)
        return self.ended()[given.id]

    def corrected(self, page: int = 3) -> None:
        address = self.machine.address(self.pv, GuestFrame(page))
        self.machine.inject(CacheCorrected(cpu=self.machine.cpu_of(self.pv), addr=address))
        self.machine.advance(100)

    def telemetry(self) -> list[Telemetry]:
        return [each for each in self.host.arrivals() if isinstance(each, Telemetry)]

    def state(self, name: str = "pv") -> DomainState | None:
        return next((each.state for each in self.host.situation(None).domains if each.name == name), None)

    def frame(self, page: int) -> Frame:
        return Frame(self.machine.address(self.pv, GuestFrame(page)) >> 12)


class There:
    """The other host, as it was looked at."""

    def __init__(self, *, healthy: bool = True, free_pages: int = 1 << 20) -> None:
        self.healthy, self.free_pages, self.words, self.pages_per_s = healthy, free_pages, ("-s", "ssh"), 25_600

    def destination(self) -> Destination:
        return Destination(name="other", healthy=self.healthy, free_pages=self.free_pages)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# --- telemetry


def test_a_record_has_a_wall_clock_time_and_says_whose_it_is(bench: Bench) -> None:
    bench.corrected()
    (telemetry,) = bench.telemetry()
    (record,) = telemetry.records
    assert record.time is not None
    assert any("Xen's telemetry has none" in each for each in record.assumptions)


def test_the_same_entry_keeps_its_token_in_the_next_life(bench: Bench) -> None:
    bench.corrected()
    (before,) = bench.telemetry()
    bench.start()
    (after,) = bench.telemetry()
    assert after.token == before.token


def test_an_entry_that_xen_uses_again_for_the_very_same_bytes_is_another_error(bench: Bench) -> None:
    """Xen has thirty entries; a bank that says the same again is told in one that was acknowledged before."""
    bench.corrected()
    (first,) = bench.telemetry()
    kept: list[tuple[bytes, bytes]] = []

    def keep(struct: bytes, buffer: bytes) -> tuple[bytes, bytes]:
        kept.append((struct, buffer))
        return struct, buffer

    bench.xen.fetched = keep
    bench.host.arrivals()
    (nonurgent,) = [each for each in kept if not int.from_bytes(each[0][8:12], "little") & 2]
    bench.xen.fetched = lambda struct, buffer: nonurgent
    tokens = []
    for _ in range(4):
        found = [each for each in bench.host.arrivals() if isinstance(each, Telemetry) and not each.urgent]
        assert found == [each for each in bench.host.arrivals() if isinstance(each, Telemetry) and not each.urgent]
        tokens.append(found[0].token)
        bench.host.acknowledge(found[0].token)
    assert tokens[0] == first.token
    assert all(one != other for one, other in pairwise(tokens))


def test_tokens_fit_into_what_a_snapshot_can_hold(bench: Bench) -> None:
    """Xen's cookies are addresses of its own: 0xffff83..."""
    cookie = (0xFFFF_83FF_1234_5670).to_bytes(8, "little")
    bench.xen.fetched = lambda struct, buffer: (struct[:16] + cookie + struct[24:], buffer)
    bench.corrected()
    (telemetry,) = bench.telemetry()
    assert 0 < telemetry.token < 1 << 63


def test_a_queue_that_was_full_is_a_loss_that_nobody_can_count(bench: Bench) -> None:
    for page in range(24):
        bench.corrected(page)
    lost: list[Lost] = []
    records = 0
    while arrivals := bench.host.arrivals():
        for each in arrivals:
            if isinstance(each, Ended):
                continue
            lost += [each] if isinstance(each, Lost) else []
            records += isinstance(each, Telemetry)
            bench.host.acknowledge(each.token)
    assert records == 20
    (loss,) = lost
    assert (loss.count, loss.exact) == (0, False)
    assert "the queue was full" in loss.why


def test_what_did_not_fill_the_queue_is_no_loss(bench: Bench) -> None:
    for page in range(19):
        bench.corrected(page)
    seen: list[type] = []
    while arrivals := bench.host.arrivals():
        seen += [type(each) for each in arrivals]
        for each in arrivals:
            if not isinstance(each, Ended):
                bench.host.acknowledge(each.token)
    assert seen == [Telemetry] * 19


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"\x01\0\0\0\0\0\0\0" + b"\x01\0\x02\0".ljust(760, b"\0"), "claims 2 bytes"),
        (bytes(768), "it names no bank"),
    ],
    ids=["broken", "empty"],
)
def test_a_record_that_cannot_be_read_is_lost_visibly_and_is_not_in_the_way(bench: Bench, raw: bytes, why: str) -> None:
    bench.corrected()
    bench.xen.fetched = lambda struct, buffer: (struct, raw)
    (lost,) = [each for each in bench.host.arrivals() if isinstance(each, Lost)]
    assert why in lost.why
    bench.host.acknowledge(lost.token)
    assert bench.host.arrivals() == ()


def test_a_dom0_without_the_hypercall_is_told_what_to_boot(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.xen.refuses_mca = errno.ENOSYS
    with pytest.raises(HypervisorError, match="does not answer hypercall 48") as caught:
        bench.start()
    assert "dom0=pvh" in caught.value.advice


@pytest.mark.parametrize("versions", [(0x15, 0x15), (0x15, 0x16), (0x16, 0x17), (0x16, 0x18)])
def test_other_releases_speak_other_versions_and_say_the_same(tmp_path: Path, versions: tuple[int, int]) -> None:
    bench = Bench(tmp_path, versions)
    assert bench.state() is DomainState.RUNNING


# --- pages


def test_a_pending_page_is_followed_until_its_owner_has_let_it_go(bench: Bench) -> None:
    given, result = bench.order(OfflineFrame(bench.frame(9)))
    assert result.status is Status.PENDING
    assert bench.ended() == {}
    bench.machine.advance(EVERY_MS)
    assert bench.ended() == {}
    bench.machine.carry_out(Order(StepId(1 << 43), DestroyDomain(bench.pv)))
    bench.machine.advance(EVERY_MS)
    assert bench.ended()[given.id] == Result(Status.DONE, "its owner has let it go: it is out of use")
    bench.machine.advance(EVERY_MS)
    assert bench.ended() == {}


def test_a_pending_page_that_somebody_puts_back_is_said_to_be_in_use(bench: Bench) -> None:
    frame = bench.frame(9)
    given, _ = bench.order(OfflineFrame(frame))
    assert bench.done(OnlineFrame(frame)).status is Status.DONE
    bench.machine.advance(EVERY_MS)
    assert bench.ended()[given.id].status is Status.FAILED


def test_the_next_life_follows_a_page_on_by_probing_it(bench: Bench) -> None:
    given, _ = bench.order(OfflineFrame(bench.frame(9)))
    bench.start()
    assert bench.host.probe(given).status is Status.PENDING
    bench.machine.carry_out(Order(StepId(1 << 43), DestroyDomain(bench.pv)))
    bench.machine.advance(EVERY_MS)
    assert bench.ended()[given.id].status is Status.DONE


def test_following_many_pages_asks_for_a_few_at_a_time(bench: Bench) -> None:
    for page in range(200):
        bench.order(OfflineFrame(bench.frame(page)))
    bench.xen.page_ops.clear()
    asked: set[int] = set()
    for _ in range(5):
        bench.machine.advance(EVERY_MS)
        bench.xen.page_ops.clear()
        bench.host.arrivals()
        bench.host.arrivals()
        assert len(bench.xen.page_ops) <= ASKED_AT_ONCE
        asked |= {frame for _, frame in bench.xen.page_ops}
    assert asked == {bench.frame(page) for page in range(200)}


def test_a_broken_page_is_never_asked_for_again_for_that_crashes_its_owner(bench: Bench) -> None:
    frame = bench.frame(9)
    bench.machine._life.frames.mark_broken(frame)
    assert bench.done(OfflineFrame(frame)).status is Status.PENDING
    assert (1, frame) not in bench.xen.page_ops
    assert bench.state() is DomainState.RUNNING


def test_the_journal_tells_when_a_page_has_left_use_and_a_restart_does_not_forget_it(bench: Bench) -> None:
    path = bench.state_dir / "journal.sqlite"
    with Journal(path) as journal:
        loop = Loop(bench.host, journal, DEFAULT)
        _, result = loop.instruct_step(OfflineFrame(bench.frame(9)), "offline-page", "a person")
        assert result.status is Status.PENDING
        ((order, (_, frame, pages)),) = loop.state.pending.items()
        assert (frame, pages) == (bench.frame(9), 1)
    bench.start()
    with Journal(path) as journal:
        loop = Loop(bench.host, journal, DEFAULT)
        assert list(loop.state.pending) == [order]
        bench.machine.carry_out(Order(StepId(1 << 43), DestroyDomain(bench.pv)))
        bench.machine.advance(EVERY_MS)
        loop.turn()
        ends = [each for _, each in journal.events() if isinstance(each, ev.Carried) and each.order == order]
        assert [each.status for each in ends] == [Status.PENDING, Status.DONE]
        assert (dict(loop.state.pending), loop.state.strays) == ({}, 0)
    bench.start()
    with Journal(path) as journal:
        assert Loop(bench.host, journal, DEFAULT).state.pending == {}


# --- CPUs


def test_a_cpu_leaves_use_and_comes_back_and_xens_own_list_is_asked(bench: Bench) -> None:
    assert bench.done(OfflineCpu(CpuId(3))).status is Status.DONE
    assert bench.done(OnlineCpu(CpuId(3))).status is Status.DONE


def test_a_cpu_that_a_person_takes_out_of_use_ends_its_case_when_it_is_out(bench: Bench) -> None:
    with Journal(bench.state_dir / "journal.sqlite") as journal:
        loop = Loop(bench.host, journal, DEFAULT)
        case, result = loop.instruct_step(OfflineCpu(CpuId(3)), "offline-cpu", "a person")
        assert result.status is Status.RUNNING
        bench.machine.advance(1_000)
        loop.turn()
        (closed,) = [each for _, each in journal.events() if isinstance(each, ev.Closed)]
        assert closed.case == case
        assert [(each.state, each.row) for each in closed.outcome] == [("operated", "II.3")]


def test_a_cpu_that_is_said_to_be_out_of_use_and_is_not_is_a_failure(bench: Bench) -> None:
    given, _ = bench.order(OfflineCpu(CpuId(3)))
    bench.machine.carry_out(Order(StepId(1 << 43), OnlineCpu(CpuId(3))))
    assert bench.ended()[given.id] == Result(Status.FAILED, "CPU 3 is in use all the same")


def test_cpu_0_is_not_even_asked_for(bench: Bench) -> None:
    assert bench.order(OfflineCpu(CpuId(0)))[1].status is Status.REFUSED


def test_a_busy_cpu_is_tried_again_for_a_while_and_then_given_up(bench: Bench) -> None:
    bench.xen.busy_cpu = 1
    assert switched(bench.xen, CpuId(2), online=False) is None
    bench.xen.busy_cpu = 1 << 30
    assert switched(bench.xen, CpuId(3), online=False, tried_for_s=0.0) == (
        "CPU 3: a vCPU or the scheduler keeps it: it is busy"
    )


# --- saves


def disks(bench: Bench, **modes: tuple[str, str]) -> None:
    """Disks of the guest, by device: what lies behind, and "r" or "w"."""
    for name, (place, mode) in modes.items():
        backend = f"/local/domain/0/backend/vbd/{bench.pv}/{name}"
        bench.store.more[f"/libxl/{bench.pv}/device/vbd/{name}/backend"] = backend
        bench.store.more[f"{backend}/params"] = place
        bench.store.more[f"{backend}/mode"] = mode


def test_a_saved_domain_is_shown_as_saved_and_can_be_restored(bench: Bench) -> None:
    assert bench.done(SaveDomain(bench.pv)).status is Status.DONE
    known = bench.host.situation(None).domain(bench.pv)
    assert known is not None
    assert (known.name, known.state, known.memory_pages) == ("pv", DomainState.SAVED, 4096)
    assert known.checkpoint is not None
    assert known.checkpoint.disks_of_same_moment
    assert bench.done(RestoreDomain(bench.pv)).status is Status.DONE
    assert bench.state() is DomainState.RUNNING
    assert [words[0] for words in bench.operations.words] == ["save", "restore"]
    assert bench.operations.words[-1][2] == "", "nobody was in its place"


def test_the_next_life_knows_what_was_saved(bench: Bench) -> None:
    bench.done(SaveDomain(bench.pv))
    bench.start()
    assert bench.state() is DomainState.SAVED


def test_what_ran_on_with_a_disk_is_not_put_back(bench: Bench, tmp_path: Path) -> None:
    """Concept, last sentence: old memory under newer disks corrupts their file systems."""
    disk = tmp_path / "disk.img"
    disk.write_bytes(b"x")
    os.utime(disk, (1, 1))
    disks(bench, **{"51712": (str(disk), "w")})
    bench.done(SaveDomain(bench.pv))
    assert bench.done(RestoreDomain(bench.pv)).status is Status.DONE
    assert bench.state() is DomainState.RUNNING
    known = bench.host.situation(None).domain(bench.pv)
    assert known is not None
    assert known.checkpoint is not None
    assert not known.checkpoint.disks_of_same_moment
    refused = bench.done(RestoreDomain(bench.pv))
    assert refused.status is Status.REFUSED
    assert "it has run since it was saved" in refused.because
    bench.start()
    assert "it has run since" in bench.done(RestoreDomain(bench.pv)).because


def test_what_ran_on_with_disks_that_it_cannot_write_is_put_back(bench: Bench) -> None:
    disks(bench, **{"51712": ("/dev/null", "r")})
    bench.done(SaveDomain(bench.pv))
    bench.done(RestoreDomain(bench.pv))
    assert bench.state() is DomainState.RUNNING
    assert bench.done(RestoreDomain(bench.pv)).status is Status.DONE
    assert bench.operations.words[-1][2] == str(bench.pv), "it makes room for what it was"


def test_a_disk_that_somebody_wrote_to_meanwhile_forbids_the_restore(bench: Bench, tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(b"x")
    os.utime(disk, (1, 1))
    disks(bench, **{"51712": (f"aio:{disk}", "w")})
    bench.done(SaveDomain(bench.pv))
    disk.write_bytes(b"y")
    os.utime(disk, (1 << 32, 1 << 32))
    assert bench.done(RestoreDomain(bench.pv)).because == "disk 51712: it was written to since the save"


@pytest.mark.parametrize(
    ("place", "why"),
    [("", "is not told"), ("/dev/zero", "neither a file nor a block device"), ("/not/there", "No such file")],
)
def test_a_disk_of_which_nothing_can_be_proven_forbids_the_restore(bench: Bench, place: str, why: str) -> None:
    disks(bench, **{"51712": (place, "w")})
    bench.done(SaveDomain(bench.pv))
    assert why in bench.done(RestoreDomain(bench.pv)).because


def test_while_the_xenstore_is_silent_nobody_is_saved_who_could_not_be_restored(bench: Bench) -> None:
    bench.store.is_silent = True
    result = bench.done(SaveDomain(bench.pv))
    assert result.status is Status.FAILED
    assert "the xenstore does not say which disks it has" in result.because
    bench.store.is_silent = False
    assert bench.state() is DomainState.RUNNING
    assert bench.done(SaveDomain(bench.pv)).status is Status.DONE
    assert bench.done(RestoreDomain(bench.pv)).status is Status.DONE


def test_a_domain_whose_disks_cannot_be_told_is_saved_and_not_restored(bench: Bench) -> None:
    bench.store.more[f"/libxl/{bench.pv}/device/vbd/51712/frontend"] = "without a back end"
    assert bench.done(SaveDomain(bench.pv)).status is Status.DONE
    assert "could not be told" in bench.done(RestoreDomain(bench.pv)).because


def test_a_paused_pv_guest_is_not_saved_for_it_would_have_to_run(bench: Bench) -> None:
    from ringfence.world.steps import PauseDomain  # noqa: PLC0415 (of this test alone)

    assert bench.done(PauseDomain(bench.pv)).status is Status.DONE
    refused = bench.order(SaveDomain(bench.pv))[1]
    assert refused.status is Status.REFUSED
    assert bench.state() is DomainState.PAUSED


def test_a_save_that_failed_leaves_nothing_to_restore(bench: Bench) -> None:
    bench.machine._xen.carrier.fail_next(SaveDomain, "no room", 1)
    assert bench.order(SaveDomain(bench.pv))[1].status is not Status.DONE
    assert bench.order(RestoreDomain(bench.pv))[1].because == "Ringfence has made no save of it"


# --- migration


def test_a_pv_guest_stays_where_xen_cannot_follow_what_it_writes(tmp_path: Path) -> None:
    """Debian's Xen is built without shadow paging: xl would begin to move it, and fail."""
    bench = Bench(tmp_path, elsewhere=There())
    bench.xen.has_shadow = False
    bench.start()
    known = bench.host.situation(None).domain(bench.pv)
    assert known is not None
    assert not known.may_migrate
    result = bench.done(MigrateDomain(bench.pv, "other"))
    assert result == Result(Status.REFUSED, "this Xen was built without shadow paging: no PV guest can be moved")
    assert not bench.operations.words


def test_without_another_host_it_cannot_migrate_and_says_so(bench: Bench) -> None:
    assert Capability.MIGRATE not in bench.host.capabilities
    assert bench.host.situation(None).destination is None
    assert bench.order(MigrateDomain(bench.pv, "other"))[1].status is Status.REFUSED


@pytest.mark.parametrize(
    ("there", "why"),
    [
        (There(healthy=False), "does not answer as it should"),
        (There(free_pages=4095), "has room for 4,095 pages"),
    ],
)
def test_a_destination_is_looked_at_before_anything_is_sent(tmp_path: Path, there: There, why: str) -> None:
    bench = Bench(tmp_path, elsewhere=there)
    assert why in bench.order(MigrateDomain(bench.pv, "other"))[1].because
    assert bench.operations.words == []


def test_a_guest_is_sent_by_xl_with_the_operators_shell(tmp_path: Path) -> None:
    bench = Bench(tmp_path, elsewhere=There())
    assert Capability.MIGRATE in bench.host.capabilities
    bench.order(MigrateDomain(bench.pv, "other"))
    assert bench.operations.words == [("migrate", "-s", "ssh", str(bench.pv), "other")]


def test_a_guest_with_a_device_of_this_host_stays(tmp_path: Path) -> None:
    bench = Bench(tmp_path, elsewhere=There())
    bench.store.more[f"/local/domain/0/backend/pci/{bench.pv}/0"] = ""
    bench.machine.advance(LOOKED_EVERY_MS)
    known = bench.host.situation(None).domain(bench.pv)
    assert known is not None
    assert not known.may_migrate
    assert "passed through" in bench.order(MigrateDomain(bench.pv, "other"))[1].because


# --- who serves whom


def test_driver_domains_and_stub_domains_are_known_by_whom_they_serve(bench: Bench) -> None:
    driver, stub = (
        bench.machine.create(DomainSpec(name=name, kind=DomainKind.PV, memory_pages=64)) for name in ("driver", "stub")
    )
    bench.store.more[f"/local/domain/{driver}/backend/vif/{bench.pv}/0"] = ""
    bench.store.more[f"/local/domain/{driver}/backend/vif/4711/0"] = "of nobody who is here"
    bench.store.more[f"/local/domain/{driver}/backend/vif/; rm/0"] = "hostile"
    bench.store.more[f"/local/domain/{stub}/target"] = str(bench.pv)
    domains = {each.id: each for each in bench.host.situation(None).domains}
    assert domains[driver].serves == {bench.pv}
    assert domains[stub].serves == {bench.pv}
    assert domains[bench.pv].serves == frozenset()


def test_the_domain_of_the_xenstore_serves_everybody(bench: Bench) -> None:
    store = bench.machine.create(DomainSpec(name="xenstore", kind=DomainKind.PV, memory_pages=64))
    bench.xen.xenstore_domains.add(store)
    known = bench.host.situation(None).domain(store)
    assert known is not None
    assert known.serves == {bench.pv}


def test_the_xenstore_is_not_asked_anew_for_every_situation(bench: Bench) -> None:
    bench.host.situation(None)
    asked = bench.store.asked
    for _ in range(50):
        bench.host.situation(None)
    assert bench.store.asked == asked


# --- what Xen did


def test_a_pv_guest_that_xen_crashed_is_told_as_xens_own_deed(bench: Bench) -> None:
    bench.machine.inject(CacheWriteback(cpu=CpuId(0), addr=bench.machine.address(bench.pv, GuestFrame(5))))
    bench.machine.advance(60_000)
    (record, *_) = [record for each in bench.telemetry() for record in each.records]
    situation = bench.host.situation(record)
    assert Deed.KILLED_DOMAIN in {each.deed for each in situation.already_done}
    assert bench.state() is DomainState.CRASHED


def test_a_number_that_is_nobodys_is_refused(bench: Bench) -> None:
    assert bench.order(SaveDomain(DomainId(99)))[1].status is Status.REFUSED
