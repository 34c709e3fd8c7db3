"""Hypercall 48, ``do_mca``: what Dom0 can ask about machine checks, with Xen's checks in Xen's order.

Order and errors: Xen xen/arch/x86/cpu/mcheck/mce.c, do_mca. The caller's buffer is handed in, as the model has no guest
memory contents. Injection (msrinject, mceinject, inject_v2) is the world's side of the model, and answers -EINVAL here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ringfence.arch.cpuid import Signature, linux_vendor_number
from ringfence.hypervisor.mca_abi import (
    INTERFACE_VERSION,
    LOGICAL_CPU_BYTES,
    XEN_MC_BYTES,
    Answer,
    Command,
    Fetch,
    FetchFlag,
    LogicalCpu,
    NotifyDomain,
    PhysCpuInfo,
    header,
)
from ringfence.hypervisor.model.frames import Errno
from ringfence.hypervisor.model.life import Life
from ringfence.hypervisor.model.machine import Machine
from ringfence.hypervisor.model.queues import Telemetry
from ringfence.record.binary.xen_mc_info import MC_INFO_BYTES, VCPUID_INVALID
from ringfence.world.domain import McaHandler
from ringfence.world.identities import DOM0, CpuId, DomainId, GuestFrame

Outcome = tuple[int, bytes, bytes]
"""0 or a negative errno, the struct, and the caller's buffer, both as they are afterwards."""

Notifier = Callable[[DomainId, tuple[GuestFrame, ...]], bool]
"""Tells a guest's handler of pages; False if it could not be delivered."""

_EDX_MCE, _EDX_MCA = 1 << 7, 1 << 14
_FIRST_RESERVED = 0x7FF0
"""DOMID_FIRST_RESERVED: from here on a number names no ordinary domain."""

_URGENT, _NONURGENT, _ACK = int(FetchFlag.URGENT), int(FetchFlag.NONURGENT), int(FetchFlag.ACK)
"""As numbers: Dom0 fetches far more often than there is something to fetch."""


class McaHypercall:
    """The hypercall's implementation. ``notify`` is None where XEN_MC_notifydomain was never built."""

    def __init__(self, machine: Machine, life: Life, telemetry: Telemetry, notify: Notifier | None) -> None:
        self._machine = machine
        self._life = life
        self._telemetry = telemetry
        self._notify = notify

    def __call__(self, caller: DomainId, argument: bytes, buffer_bytes: int) -> Outcome:
        """The hypercall. Nothing has changed if it fails, but for a failed fetch's flags."""
        nothing = bytes(buffer_bytes)
        if caller != DOM0:
            self._count_refused(caller)
            return -Errno.EPERM, argument, nothing
        if len(argument) < XEN_MC_BYTES:
            return -Errno.EFAULT, argument, nothing
        command, version = header(argument)
        if version != INTERFACE_VERSION:
            return -Errno.EACCES, argument, nothing
        match command:
            case Command.FETCH:
                return self._fetch(argument, buffer_bytes)
            case Command.NOTIFYDOMAIN if self._notify is not None:
                return self._notifydomain(self._notify, argument, nothing)
            case Command.PHYSCPUINFO:
                return self._physcpuinfo(argument, buffer_bytes)
            case _:
                return -Errno.EINVAL, argument, nothing

    def cpus(self) -> tuple[LogicalCpu, ...]:
        """What XEN_MC_physcpuinfo tells: every CPU that is online."""
        return tuple(self._logical(cpu) for cpu in self._life.scheduler.online)

    # --- each command --------------------------------------------------------------------------------------------

    def _fetch(self, argument: bytes, buffer_bytes: int) -> Outcome:
        wanted = Fetch.unpack(argument)
        buffer = bytes(buffer_bytes)
        urgent = bool(wanted.flags & _URGENT)
        if urgent is bool(wanted.flags & _NONURGENT):
            return -Errno.EINVAL, argument, buffer
        if wanted.flags & _ACK:
            self._telemetry.acknowledge(wanted.fetch_id, urgent=urgent)
            return 0, argument, buffer
        if not wanted.data:
            return -Errno.EINVAL, argument, buffer
        entry = self._telemetry.oldest(urgent=urgent)
        if entry is None:
            return 0, Fetch(flags=Answer.NODATA, data=wanted.data).pack(), buffer
        if buffer_bytes < MC_INFO_BYTES:
            return -Errno.EFAULT, Fetch(flags=Answer.FETCHFAILED, data=wanted.data).pack(), buffer
        content = entry.raw + buffer[MC_INFO_BYTES:]
        return 0, Fetch(flags=Answer.OK, fetch_id=entry.id, data=wanted.data).pack(), content

    def _notifydomain(self, notify: Notifier, argument: bytes, buffer: bytes) -> Outcome:
        """Tells a guest of the pages that it has lost and was not told of, as the header meant it (Usecase 4).

        CANNOTHANDLE without a handler; NOMATCH if there is nothing to tell; NOTDELIVERED if it could not be told.
        """
        wanted = NotifyDomain.unpack(argument)
        if wanted.domid == DOM0 or wanted.domid >= _FIRST_RESERVED:
            return -Errno.EINVAL, argument, buffer
        domain = self._life.living(DomainId(wanted.domid))
        if domain is None:
            return -Errno.ESRCH, argument, buffer
        if wanted.vcpuid != VCPUID_INVALID and wanted.vcpuid >= len(domain.vcpus):
            return -Errno.EINVAL, argument, buffer
        broken = (frame for frame in self._life.frames.bad_frames(domain.id) if self._life.frames.is_broken(frame))
        owners = [self._life.frames.owner(frame) for frame in broken]
        pages = {owner.guest_frame for owner in owners if owner is not None and owner.guest_frame is not None}
        untold = tuple(sorted(pages - domain.told))
        if domain.handler is McaHandler.NONE:
            flags = Answer.CANNOTHANDLE
        elif not untold:
            flags = Answer.NOMATCH
        else:
            flags = Answer.OK if notify(domain.id, untold) else Answer.NOTDELIVERED
        return 0, replace(wanted, flags=flags).pack(), buffer

    def _physcpuinfo(self, argument: bytes, buffer_bytes: int) -> Outcome:
        wanted = PhysCpuInfo.unpack(argument)
        buffer = bytes(buffer_bytes)
        known = self.cpus()
        if not wanted.info:
            return 0, replace(wanted, ncpus=len(known)).pack(), buffer
        if wanted.ncpus == 0 or wanted.ncpus > 0x7FFF_FFFF:
            return -Errno.EINVAL, argument, buffer
        given = known[: wanted.ncpus]
        content = b"".join(cpu.pack() for cpu in given)
        answer = replace(wanted, ncpus=len(given)).pack()
        if len(given) * LOGICAL_CPU_BYTES > buffer_bytes:
            return -Errno.EFAULT, answer, buffer
        return 0, answer, content + buffer[len(content) :]

    # --- within --------------------------------------------------------------------------------------------------

    def _logical(self, cpu: CpuId) -> LogicalCpu:
        settings = self._machine.settings
        place = settings.topology.place(cpu)
        signature: Signature = settings.platform.signature
        return LogicalCpu(
            cpunr=cpu,
            chipid=place.socket,
            coreid=place.core,
            threadid=place.thread,
            apicid=place.apicid,
            ncores=settings.topology.cores,
            ncores_active=settings.topology.cores,
            nthreads=settings.topology.threads,
            family=signature.family,
            model=signature.model,
            step=signature.stepping,
            vendor=linux_vendor_number(settings.platform.vendor),
            vendorid=settings.platform.vendor_string,
            brandid=settings.platform.brand,
            caps=(_EDX_MCE | _EDX_MCA, 0, 0, 0, 0, 0, 0),
            mcg_cap=settings.platform.mcg_cap,
        )

    def _count_refused(self, caller: DomainId) -> None:
        domain = self._life.get(caller)
        if domain is not None:
            domain.refused_calls += 1
