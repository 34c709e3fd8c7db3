"""A Xen that answers hypercalls 35, 36 and 48 byte for byte, with the model's machine behind it: what XenHost is driven
against where there is no Xen. Nothing here uses the structures of the code that it tests.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final
from uuid import UUID

from ringfence.hypervisor.boot import Boot
from ringfence.hypervisor.model.host import ModelHost
from ringfence.hypervisor.xen.guest_store import GuestStore
from ringfence.hypervisor.xen.host import XenHost
from ringfence.hypervisor.xen.numbers import Numbers
from ringfence.hypervisor.xen.parts import Elsewhere, Parts
from ringfence.world.domain import Domain, DomainKind, DomainState
from ringfence.world.identities import DOM0, CpuId, DomainId, Frame, StepId
from ringfence.world.steps import (
    DestroyDomain,
    MigrateDomain,
    OfflineCpu,
    OnlineCpu,
    Order,
    PauseDomain,
    RestartDomain,
    RestoreDomain,
    Result,
    SaveDomain,
    ShutDownDomain,
    Status,
    Step,
    UnpauseDomain,
)
from tests.hypervisor.xen import layouts as at

HERE: Final = 0x7F12_3456_7000
BUFFER_BYTES: Final = 1 << 18

_FLAGS: Final = {
    DomainState.RUNNING: 0x20,
    DomainState.PAUSED: 0x8,
    DomainState.CRASHED: 0x4 | 3 << 16,
    DomainState.SHUT_DOWN: 0x4,
}
"""XEN_DOMINF_running, _paused, _shutdown with its SHUTDOWN_*; who is not in it is not listed."""
_HVM, _XS_DOMAIN = 0x2, 0x80
_EMULATION: Final = {DomainKind.HVM: 0x37F, DomainKind.PVH: 1}


class ModelXen:
    """Hypercalls, as ``privcmd.Gate``. ``versions`` are those of sysctl and domctl; ``refuses`` is answered to all."""

    def __init__(self, host: ModelHost, versions: tuple[int, int] = (0x15, 0x17)) -> None:
        self.host, self.versions = host, versions
        self.memory = bytearray(BUFFER_BYTES)
        self.address = HERE
        self.refuses: int | None = None
        self.refuses_mca: int | None = None
        self.busy_cpu = 0
        self.fetched: Callable[[bytes, bytes], tuple[bytes, bytes]] = lambda struct, buffer: (struct, buffer)
        """What a fetch gives: the struct xen_mc, and the mc_info."""
        self.page_ops: list[tuple[int, int]] = []
        self.xenstore_domains: set[DomainId] = set()
        self.has_shadow = True

    def write(self, offset: int, data: bytes) -> int:
        assert offset + len(data) <= BUFFER_BYTES
        self.memory[offset : offset + len(data)] = data
        return HERE + offset

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.memory[offset : offset + size])

    def call(self, number: int, *arguments: int) -> int:
        if self.refuses is not None:
            raise _error(self.refuses)
        return {35: self._sysctl, 36: self._domctl, 48: self._mca}[number](arguments[0])

    # --- memory as Xen sees it

    def _at(self, address: int, size: int) -> bytes:
        assert HERE <= address <= address + size <= HERE + BUFFER_BYTES, hex(address)
        return self.read(address - HERE, size)

    def _put(self, address: int, data: bytes) -> None:
        assert HERE <= address <= address + len(data) <= HERE + BUFFER_BYTES, hex(address)
        self.memory[address - HERE : address - HERE + len(data)] = data

    # --- each hypercall

    def _sysctl(self, address: int) -> int:
        head = self._at(address, at.SYSCTL[0])
        if at.get(at.SYSCTL, head, "interface_version") != self.versions[0]:
            raise _error(errno.EACCES)
        command = at.get(at.SYSCTL, head, "cmd")
        name = next((name for name, number in at.SYSCTL_COMMANDS.items() if number == command), "")
        body = address + at.SYSCTL[1]["u"][0]
        answers: dict[str, Callable[[int], None]] = {
            "physinfo": self._physinfo,
            "getdomaininfolist": self._list,
            "cpu_hotplug": self._hotplug,
            "page_offline_op": self._page,
        }
        if name not in answers:
            raise _error(errno.ENOSYS)
        answers[name](body)
        return 0

    def _physinfo(self, body: int) -> None:
        free = self.host.situation(None).free_pages
        told = at.put(
            at.PHYSINFO,
            capabilities=0x1A if self.has_shadow else 0xA,
            threads_per_core=2,
            cores_per_socket=4,
            nr_cpus=8,
            total_pages=1 << 22,
            free_pages=free,
        )
        self._put(body, bytes(told))

    def _list(self, body: int) -> None:
        asked = self._at(body, at.GETDOMAININFOLIST[0])
        first = at.get(at.GETDOMAININFOLIST, asked, "first_domain")
        most = at.get(at.GETDOMAININFOLIST, asked, "max_domains")
        buffer = at.get(at.GETDOMAININFOLIST, asked, "buffer")
        known = [each for each in self._domains() if each.id >= first][:most]
        self._put(buffer, b"".join(self._info(each) for each in known))
        where, width = at.GETDOMAININFOLIST[1]["num_domains"]
        self._put(body + where, len(known).to_bytes(width, "little"))

    def _domains(self) -> list[Domain]:
        found = [each for each in self.host.situation(None).domains if each.state in _FLAGS]
        return sorted(found, key=lambda each: each.id)

    def _info(self, each: Domain) -> bytes:
        hvm = _HVM if each.kind in _EMULATION else 0
        store = _XS_DOMAIN if each.id in self.xenstore_domains else 0
        return bytes(
            at.put(
                at.GETDOMAININFO,
                domain=each.id,
                flags=_FLAGS[each.state] | hvm | store,
                tot_pages=each.memory_pages,
                nr_online_vcpus=each.vcpus,
                max_vcpu_id=each.vcpus - 1,
                handle=uuid_of(each).bytes,
                arch_config__emulation_flags=_EMULATION.get(each.kind, 0),
            )
        )

    def _hotplug(self, body: int) -> None:
        asked = self._at(body, at.CPU_HOTPLUG[0])
        cpu, off = CpuId(at.get(at.CPU_HOTPLUG, asked, "cpu")), at.get(at.CPU_HOTPLUG, asked, "op")
        if off and self.busy_cpu:
            self.busy_cpu -= 1
            raise _error(errno.EBUSY)
        if off and cpu == 0:
            raise _error(errno.EINVAL)
        step = OfflineCpu(cpu) if off else OnlineCpu(cpu)
        if self.host.carry_out(Order(StepId(1 << 40), step)).status is not Status.DONE:
            raise _error(errno.EINVAL)

    def _page(self, body: int) -> None:
        asked = self._at(body, at.PAGE_OFFLINE_OP[0])
        command, first = at.get(at.PAGE_OFFLINE_OP, asked, "cmd"), at.get(at.PAGE_OFFLINE_OP, asked, "start")
        assert at.get(at.PAGE_OFFLINE_OP, asked, "end") == first
        self.page_ops.append((command, first))
        frames = self.host._life.frames
        if command == 1:
            done = frames.offline(Frame(first), broken=False, crash_again=True)
        else:
            done = frames.online(Frame(first)) if command == 2 else frames.query(Frame(first))
        if done.crash is not None:
            self.host.carry_out(Order(StepId(1 << 41), DestroyDomain(done.crash)))
        self._put(at.get(at.PAGE_OFFLINE_OP, asked, "status"), int(done.status).to_bytes(4, "little"))
        if done.errno:
            raise _error(-done.errno)

    def _domctl(self, address: int) -> int:
        head = self._at(address, at.DOMCTL[0])
        if at.get(at.DOMCTL, head, "interface_version") != self.versions[1]:
            raise _error(errno.EACCES)
        command, number = at.get(at.DOMCTL, head, "cmd"), DomainId(at.get(at.DOMCTL, head, "domain"))
        known = next((each for each in self._domains() if each.id == number), None)
        if known is None:
            raise _error(errno.ESRCH)
        if command in {3, 4}:
            step: Step = PauseDomain(number) if command == 3 else UnpauseDomain(number)
            if self.host.carry_out(Order(StepId(1 << 42), step)).status is not Status.DONE:
                raise _error(errno.EINVAL)
        elif command == 61:
            self._page_info(head[at.DOMCTL[1]["u"][0] :], number)
        elif command != 5:
            raise _error(errno.ENOSYS)
        return 0

    def _page_info(self, body: bytes, number: DomainId) -> None:
        """XEN_DOMCTL_getpageframeinfo3: PFINFO_XTAB for what is not the domain's."""
        where = at.get(at.GETPAGEFRAMEINFO3, body, "array")
        frame = Frame(int.from_bytes(self._at(where, 8), "little"))
        owner = self.host._life.frames.owner(frame)
        is_its = owner is not None and owner.domain == number
        self._put(where, (0 if is_its else 0xF << 28).to_bytes(8, "little"))

    def _mca(self, address: int) -> int:
        if self.refuses_mca is not None:
            raise _error(self.refuses_mca)
        argument = self._at(address, 152)
        command = int.from_bytes(argument[:4], "little")
        pointer, room = 0, 0
        if command == 1:
            pointer, room = int.from_bytes(argument[24:32], "little"), 768
        elif command == 3:
            pointer, room = int.from_bytes(argument[16:24], "little"), 304 * int.from_bytes(argument[8:12], "little")
        result, after, buffer = self.host.hypercall_mca(DOM0, argument, room)
        if command == 1:
            after, buffer = self.fetched(after, buffer)
        self._put(address, after)
        if pointer and room:
            self._put(pointer, buffer)
        if result < 0:
            raise _error(-result)
        return result


def uuid_of(domain: Domain) -> UUID:
    """A domain's UUID; the model's own domains need none."""
    return UUID(domain.uuid) if domain.uuid else UUID(int=0x5EED << 64 | domain.id)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class Bell:
    """VIRQ_MCA that nobody rings."""

    file = -1

    def take(self) -> bool:
        return False


class ModelStore:
    """The xenstore: what libxl writes there of the model's domains, and what a test puts in (``more``)."""

    def __init__(self, host: ModelHost) -> None:
        self.host = host
        self.more: dict[str, str] = {}
        self.asked = 0
        self.is_silent = False

    def _all(self) -> dict[str, str]:
        found: dict[str, str] = {}
        if self.is_silent:
            return found
        for each in self.host.situation(None).domains:
            found[f"/local/domain/{each.id}/name"] = each.name
            found[f"/libxl/{each.id}/device/console/0"] = ""
        return {**found, **self.more}

    def read(self, path: str) -> str | None:
        self.asked += 1
        return self._all().get(path)

    def directory(self, path: str) -> tuple[str, ...]:
        self.asked += 1
        below = (name[len(path) + 1 :].split("/")[0] for name in self._all() if name.startswith(f"{path}/"))
        return tuple(dict.fromkeys(below))


class ModelOperations:
    """What ``xl`` would do, done by the model; a save leaves a file, as xl's does."""

    def __init__(self, host: ModelHost) -> None:
        self.host = host
        self.words: list[tuple[str, ...]] = []
        self._running: dict[StepId, Order] = {}
        self._files: dict[StepId, Path] = {}
        self._saved: dict[Path, DomainId] = {}

    def _do(self, order: StepId, step: Step) -> Result:
        given = Order(order, step)
        result = self.host.carry_out(given)
        if result.status is Status.REFUSED:
            return Result(Status.FAILED, result.because)
        self._running[order] = given
        return Result(Status.RUNNING)

    def begin(self, order: StepId, words: Sequence[str]) -> Result:
        self.words.append(tuple(words))
        number = DomainId(int(next(word for word in words if word.isdecimal())))
        step: dict[str, Step] = {
            "destroy": DestroyDomain(number),
            "shutdown": ShutDownDomain(number),
            "migrate": MigrateDomain(number, words[-1]),
        }
        return self._do(order, step[words[0]])

    def save(self, order: StepId, domain: DomainId, file: Path) -> Result:
        self.words.append(("save", str(domain)))
        self._files[order] = file
        self._saved[file] = domain
        return self._do(order, SaveDomain(domain))

    def restore(self, order: StepId, file: Path, instead_of: DomainId | None) -> Result:
        self.words.append(("restore", file.name, "" if instead_of is None else str(instead_of)))
        return self._do(order, RestoreDomain(self._saved[file]))

    def restart(self, order: StepId, domain: Domain) -> Result:
        return self._do(order, RestartDomain(domain.id))

    def cpu(self, order: StepId, cpu: int, *, online: bool) -> Result:
        return self._do(order, OnlineCpu(CpuId(cpu)) if online else OfflineCpu(CpuId(cpu)))

    def ended(self) -> tuple[tuple[StepId, Result], ...]:
        looked = [(order, self.probe(order)) for order in list(self._running)]
        found = tuple((order, result) for order, result in looked if result.status is not Status.RUNNING)
        for order, _ in found:
            del self._running[order]
        return found

    def watch(self, order: StepId) -> None:
        pass

    @property
    def is_busy(self) -> bool:
        return bool(self._running)

    def probe(self, order: StepId) -> Result:
        result = self.host.probe(Order(order, SaveDomain(DOM0)))
        if result.status is Status.DONE and order in self._files:
            self._files[order].write_bytes(b"LibxlFmt")
        return result


class ModelBoot(Boot, frozen=True, kw_only=True):
    """A boot whose clock is the model's."""

    clock: Callable[[], int]

    def now_ms(self) -> int:
        return self.clock()


def xen_host(
    host: ModelHost,
    state_dir: Path,
    gate: ModelXen | None = None,
    elsewhere: Elsewhere | None = None,
    guests: tuple[GuestStore, Numbers] | None = None,
) -> tuple[XenHost, ModelXen, ModelStore, ModelOperations]:
    """XenHost on a Xen that the model plays, with the parts that a test looks into."""
    gate = gate or ModelXen(host)
    store, operations = ModelStore(host), ModelOperations(host)
    parts = Parts(gate=gate, channel=Bell(), store=store, operations=operations, elsewhere=elsewhere)
    if guests is not None:
        parts = replace(parts, guests=guests[0], numbers=guests[1])
    boot = ModelBoot(number=1, id="a boot", base_ms=0, clock=host.now_ms)
    return XenHost(boot, state_dir, parts, "4.20.3"), gate, store, operations
