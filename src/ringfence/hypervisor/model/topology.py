"""Sockets, cores and threads, their APIC ids, and who shares what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ringfence.quick import quick
from ringfence.world.identities import CpuId, SocketId


@quick
@dataclass(frozen=True, slots=True)
class Place:
    """Where a logical CPU is. ``core`` counts within its socket, ``thread`` within its core."""

    cpu: CpuId
    socket: SocketId
    core: int
    thread: int
    apicid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """The shape of a machine: all sockets alike. Raises ValueError for a count below one.

    Logical CPUs are counted by thread, then core, then socket: the threads of core 0 of socket 0 come first, as Xen
    counts them (CPU 0 and 1 share a core). The APIC id is the same order with each level rounded up to a power of two
    (SDM vol. 3A 10.9.3, CPUID leaf 0Bh: shift widths). The last-level cache is shared by the socket.
    """

    sockets: int = 1
    cores: int = 4
    threads: int = 2

    def __post_init__(self) -> None:
        if min(self.sockets, self.cores, self.threads) < 1:
            raise ValueError(f"a machine has at least one socket, core and thread, not {self}")

    @property
    def cpu_count(self) -> int:
        """How many logical CPUs there are."""
        return self.sockets * self.cores * self.threads

    @property
    def cpus(self) -> tuple[CpuId, ...]:
        """All logical CPUs."""
        return tuple(CpuId(number) for number in range(self.cpu_count))

    def place(self, cpu: CpuId) -> Place:
        """Where a CPU is. Raises ValueError if there is none of this number."""
        if not 0 <= cpu < self.cpu_count:
            raise ValueError(f"no CPU {cpu}: the machine has {self.cpu_count}")
        core_of_all, thread = divmod(cpu, self.threads)
        socket, core = divmod(core_of_all, self.cores)
        thread_bits, core_bits = (self.threads - 1).bit_length(), (self.cores - 1).bit_length()
        apicid = (socket << core_bits | core) << thread_bits | thread
        return Place(cpu, SocketId(socket), core, thread, apicid)

    def of_socket(self, socket: SocketId) -> tuple[CpuId, ...]:
        """The CPUs of a socket: those that share its last-level cache and memory controllers."""
        first = socket * self.cores * self.threads
        return _cpus(range(first, first + self.cores * self.threads))

    def of_core(self, cpu: CpuId) -> tuple[CpuId, ...]:
        """The CPUs that share ``cpu``'s core and its caches, itself among them."""
        first = cpu - cpu % self.threads
        return _cpus(range(first, first + self.threads))


def _cpus(numbers: Iterable[int]) -> tuple[CpuId, ...]:
    return tuple(CpuId(number) for number in numbers)
