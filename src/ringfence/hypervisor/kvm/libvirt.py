"""libvirt, by its C library: what is called of it, and its errors as values.

Source: libvirt-domain.h, libvirt-host.h, libvirt-qemu.h, virterror.h (libvirt 9.0; the ABI of libvirt.so.0 has been
kept since 2005, by the library's own symbol versions). Why not its Python binding, nor virsh:
docs/decisions/0019-kvm-by-libvirt-qmp-and-pagemap.md.

Every call may block for as long as libvirtd likes: none is made in the writer's thread. A connection is used by one
thread; ctypes gives up the interpreter's lock meanwhile.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, byref, c_char_p, c_int, c_uint, c_ulong, c_ulonglong, c_ushort, c_void_p
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from functools import cache
from typing import Final

from ringfence.errors import HypervisorError

LIBRARY: Final = "libvirt.so.0"
QEMU_LIBRARY: Final = "libvirt-qemu.so.0"
ADVICE: Final = "See that libvirtd (or virtqemud) runs and that Ringfence may connect: [kvm] libvirt names the place."
_UUID_BYTES: Final = 37
"""VIR_UUID_STRING_BUFLEN: 36 characters and the NUL."""
KEEPALIVE_S: Final = 5
KEEPALIVE_COUNT: Final = 3
"""A libvirtd that answers nothing for 20 s is taken to be gone: calls that wait for it then fail."""
TICK_MS: Final = 10_000
"""How often libvirt's event loop comes round at the least: it would wait for ever where it watches nothing. What it is
given to watch while it waits wakes it (libvirt src/util/vireventglib.c: GLib's main context is woken by a new source).
"""
FAULT_S: Final = 1.0
"""Whatever is wrong with it, it is not asked again without a pause."""


class State(IntEnum):
    """virDomainState."""

    NOSTATE = 0
    RUNNING = 1
    BLOCKED = 2
    PAUSED = 3
    SHUTDOWN = 4
    SHUTOFF = 5
    CRASHED = 6
    PMSUSPENDED = 7


class Shutoff(IntEnum):
    """virDomainShutoffReason."""

    UNKNOWN = 0
    SHUTDOWN = 1
    DESTROYED = 2
    CRASHED = 3
    MIGRATED = 4
    SAVED = 5
    FAILED = 6
    FROM_SNAPSHOT = 7
    DAEMON = 8


class Migrate(IntFlag):
    """virDomainMigrateFlags, those that are used."""

    LIVE = 1 << 0
    PEER2PEER = 1 << 1
    PERSIST_DEST = 1 << 3
    ABORT_ON_ERROR = 1 << 12


class Start(IntFlag):
    """virDomainCreateFlags, those that are used."""

    FORCE_BOOT = 1 << 3


class Event(IntEnum):
    """virDomainEventID, those that are heard."""

    LIFECYCLE = 0
    MEMORY_FAILURE = 25


class Recipient(IntEnum):
    """virDomainEventMemoryFailureRecipientType: whose memory failed."""

    HYPERVISOR = 0
    GUEST = 1


class Action(IntEnum):
    """virDomainEventMemoryFailureActionType: what QEMU did."""

    IGNORE = 0
    INJECT = 1
    FATAL = 2
    RESET = 3


class FailureFlag(IntFlag):
    """virDomainMemoryFailureFlags."""

    ACTION_REQUIRED = 1 << 0
    RECURSIVE = 1 << 1


class Job(IntEnum):
    """virDomainJobType."""

    NONE = 0
    BOUNDED = 1
    UNBOUNDED = 2
    COMPLETED = 3
    FAILED = 4
    CANCELLED = 5


_JOBS: Final = frozenset(map(int, Job))


class Code(IntEnum):
    """virErrorNumber, those that are told apart."""

    NO_SUPPORT = 3
    OPERATION_DENIED = 29
    NO_DOMAIN = 42
    AUTH_FAILED = 45
    OPERATION_INVALID = 55
    CONFIG_UNSUPPORTED = 67
    ARGUMENT_UNSUPPORTED = 74
    MIGRATE_UNSAFE = 81
    OPERATION_UNSUPPORTED = 84
    ACCESS_DENIED = 88


REFUSALS: Final = frozenset(Code)
"""Errors by which libvirt says that it has not begun."""


class LibvirtError(Exception):
    """A call of libvirt failed. ``code`` is virErrorNumber; the text is libvirt's own."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code

    @property
    def is_refusal(self) -> bool:
        """Whether nothing was begun: by the code, or because QEMU does not take poisoned memory along (QEMU
        migration/migration.c, "hardware poisoned memory"), which libvirt hands on as an internal error.
        """
        return self.code in REFUSALS or "poisoned memory" in str(self)


class _Info(ctypes.Structure):
    """virDomainInfo; memory in KiB."""

    _fields_ = (
        ("state", ctypes.c_ubyte), ("maxMem", c_ulong), ("memory", c_ulong), ("nrVirtCpu", c_ushort),
        ("cpuTime", c_ulonglong),
    )  # fmt: skip


class _JobInfo(ctypes.Structure):
    """virDomainJobInfo; times in ms, sizes in bytes."""

    _fields_ = (
        ("type", c_int),
        *((name, c_ulonglong) for name in (
            "timeElapsed", "timeRemaining", "dataTotal", "dataProcessed", "dataRemaining", "memTotal", "memProcessed",
            "memRemaining", "fileTotal", "fileProcessed", "fileRemaining",
        )),
    )  # fmt: skip


_LIFECYCLE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int, c_void_p)
_FAILURE = CFUNCTYPE(None, c_void_p, c_void_p, c_int, c_int, c_uint, c_void_p)
_CLOSED = CFUNCTYPE(None, c_void_p, c_int, c_void_p)
_ERROR = CFUNCTYPE(None, c_void_p, c_void_p)
_TIMEOUT = CFUNCTYPE(None, c_int, c_void_p)

_PROTOTYPES: Final[tuple[tuple[str, object, tuple[object, ...]], ...]] = (
    ("virInitialize", c_int, ()),
    ("virGetLastErrorCode", c_int, ()),
    ("virGetLastErrorMessage", c_char_p, ()),
    ("virResetLastError", None, ()),
    ("virSetErrorFunc", None, (c_void_p, _ERROR)),
    ("virEventRegisterDefaultImpl", c_int, ()),
    ("virEventRunDefaultImpl", c_int, ()),
    ("virEventAddTimeout", c_int, (c_int, _TIMEOUT, c_void_p, c_void_p)),
    ("virConnectOpen", c_void_p, (c_char_p,)),
    ("virConnectClose", c_int, (c_void_p,)),
    ("virConnectIsAlive", c_int, (c_void_p,)),
    ("virConnectSetKeepAlive", c_int, (c_void_p, c_int, c_uint)),
    ("virConnectGetVersion", c_int, (c_void_p, POINTER(c_ulong))),
    ("virConnectGetLibVersion", c_int, (c_void_p, POINTER(c_ulong))),
    ("virConnectGetHostname", c_void_p, (c_void_p,)),
    ("virConnectListAllDomains", c_int, (c_void_p, POINTER(POINTER(c_void_p)), c_uint)),
    ("virConnectDomainEventRegisterAny", c_int, (c_void_p, c_void_p, c_int, c_void_p, c_void_p, c_void_p)),
    ("virConnectDomainEventDeregisterAny", c_int, (c_void_p, c_int)),
    ("virConnectRegisterCloseCallback", c_int, (c_void_p, _CLOSED, c_void_p, c_void_p)),
    ("virConnectUnregisterCloseCallback", c_int, (c_void_p, _CLOSED)),
    ("virNodeGetFreeMemory", c_ulonglong, (c_void_p,)),
    ("virDomainLookupByUUIDString", c_void_p, (c_void_p, c_char_p)),
    ("virDomainFree", c_int, (c_void_p,)),
    ("virDomainGetName", c_char_p, (c_void_p,)),
    ("virDomainGetUUIDString", c_int, (c_void_p, c_char_p)),
    ("virDomainGetID", c_uint, (c_void_p,)),
    ("virDomainGetState", c_int, (c_void_p, POINTER(c_int), POINTER(c_int), c_uint)),
    ("virDomainGetInfo", c_int, (c_void_p, POINTER(_Info))),
    ("virDomainGetXMLDesc", c_void_p, (c_void_p, c_uint)),
    ("virDomainHasManagedSaveImage", c_int, (c_void_p, c_uint)),
    ("virDomainGetJobInfo", c_int, (c_void_p, POINTER(_JobInfo))),
    ("virDomainSuspend", c_int, (c_void_p,)),
    ("virDomainResume", c_int, (c_void_p,)),
    ("virDomainShutdown", c_int, (c_void_p,)),
    ("virDomainReset", c_int, (c_void_p, c_uint)),
    ("virDomainDestroy", c_int, (c_void_p,)),
    ("virDomainCreateWithFlags", c_int, (c_void_p, c_uint)),
    ("virDomainManagedSave", c_int, (c_void_p, c_uint)),
    ("virDomainMigrateToURI3", c_int, (c_void_p, c_char_p, c_void_p, c_uint, c_uint)),
    ("virDomainIsPersistent", c_int, (c_void_p,)),
)


def _silent(_user: object, _error: object) -> None:
    """libvirt would print each error to standard error; it comes back by the call that failed."""


def _tick(_timer: int, _opaque: object) -> None:
    """Lets the event loop of libvirt come round even where it has nothing to watch."""


@cache
def _library() -> ctypes.CDLL:
    """The library, set up once a process. Raises HypervisorError if it is not installed."""
    try:
        lib = ctypes.CDLL(LIBRARY)
        for name, result, arguments in _PROTOTYPES:
            function = getattr(lib, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise HypervisorError(f"libvirt's library cannot be used: {error}", advice="Install libvirt0 (6.9 or later), or"
                              " set [kvm] libvirt = \"\" and name QMP sockets.") from error  # fmt: skip
    if lib.virInitialize() < 0 or lib.virEventRegisterDefaultImpl() < 0:
        raise HypervisorError("libvirt's library cannot be set up", advice=ADVICE)
    silent, tick = _ERROR(_silent), _TIMEOUT(_tick)
    _FOR_GOOD.extend((silent, tick))
    lib.virSetErrorFunc(None, silent)
    lib.virEventAddTimeout(TICK_MS, tick, None, None)
    threading.Thread(target=_run_events, args=(lib,), name="libvirt", daemon=True).start()
    return lib


def _run_events(lib: ctypes.CDLL) -> None:
    while True:
        if lib.virEventRunDefaultImpl() < 0:
            time.sleep(FAULT_S)


@cache
def _qemu_library() -> ctypes.CDLL | None:
    try:
        lib = ctypes.CDLL(QEMU_LIBRARY)
        lib.virDomainQemuMonitorCommand.restype = c_int
        lib.virDomainQemuMonitorCommand.argtypes = (c_void_p, c_char_p, POINTER(c_void_p), c_uint)
    except (OSError, AttributeError):
        return None
    return lib


_libc = ctypes.CDLL(None)
_libc.free.argtypes = (c_void_p,)
_libc.free.restype = None


def _error(lib: ctypes.CDLL) -> LibvirtError:
    message = lib.virGetLastErrorMessage() or b"no reason was given"
    return LibvirtError(message.decode("utf-8", "backslashreplace"), lib.virGetLastErrorCode())


def _checked(lib: ctypes.CDLL, result: int) -> int:
    if result < 0:
        raise _error(lib)
    return result


def _taken(lib: ctypes.CDLL, text: int | None) -> str:
    """A text that libvirt made for the caller, who has to free it."""
    if not text:
        raise _error(lib)
    try:
        return (ctypes.cast(text, c_char_p).value or b"").decode("utf-8", "backslashreplace")
    finally:
        _libc.free(text)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job on a domain is: ``type`` is its kind; bytes of memory, and milliseconds since it began."""

    type: Job
    elapsed_ms: int
    memory_total_bytes: int
    memory_left_bytes: int


class LibvirtDomain:
    """A domain of a connection. Every method raises LibvirtError."""

    def __init__(self, lib: ctypes.CDLL, handle: int) -> None:
        self._lib, self._handle = lib, handle

    def _call(self, name: str, *arguments: object) -> int:
        return _checked(self._lib, getattr(self._lib, name)(self._handle, *arguments))

    def free(self) -> None:
        """Let the handle go; nothing else is done with it afterwards."""
        self._lib.virDomainFree(self._handle)

    @property
    def name(self) -> str:
        """Its name."""
        return (self._lib.virDomainGetName(self._handle) or b"").decode("utf-8", "backslashreplace")

    @property
    def uuid(self) -> str:
        """Its UUID, in lower case with hyphens."""
        buffer = ctypes.create_string_buffer(_UUID_BYTES)
        self._call("virDomainGetUUIDString", buffer)
        return buffer.value.decode("ascii")

    @property
    def state(self) -> tuple[int, int]:
        """virDomainState, and the reason for it (Shutoff where it is shut off)."""
        state, reason = c_int(), c_int()
        self._call("virDomainGetState", byref(state), byref(reason), 0)
        return state.value, reason.value

    @property
    def size(self) -> tuple[int, int]:
        """Memory in KiB that it may have at most, and virtual CPUs."""
        info = _Info()
        self._call("virDomainGetInfo", byref(info))
        return info.maxMem, info.nrVirtCpu

    @property
    def xml(self) -> str:
        """Its description as it is now."""
        return _taken(self._lib, self._lib.virDomainGetXMLDesc(self._handle, 0))

    @property
    def is_saved(self) -> bool:
        """Whether a managed save is kept of it, from which its next start goes on."""
        return bool(self._call("virDomainHasManagedSaveImage", 0))

    @property
    def is_persistent(self) -> bool:
        """Whether its definition stays when it ends."""
        return bool(self._call("virDomainIsPersistent"))

    @property
    def progress(self) -> Progress:
        """How far the job on it is."""
        info = _JobInfo()
        self._call("virDomainGetJobInfo", byref(info))
        known = Job(info.type) if info.type in _JOBS else Job.UNBOUNDED
        return Progress(known, info.timeElapsed, info.memTotal, info.memRemaining)

    def suspend(self) -> None:
        """Stop its virtual CPUs; done when it returns."""
        self._call("virDomainSuspend")

    def resume(self) -> None:
        """Let them run again."""
        self._call("virDomainResume")

    def shut_down(self) -> None:
        """Ask it to shut down; returns when it is asked."""
        self._call("virDomainShutdown")

    def reset(self) -> None:
        """Press its reset button."""
        self._call("virDomainReset", 0)

    def destroy(self) -> None:
        """End it at once."""
        self._call("virDomainDestroy")

    def start(self, *, anew: bool = False) -> None:
        """Start it, from its managed save if there is one; ``anew``: from its disks, and the save is thrown away."""
        self._call("virDomainCreateWithFlags", int(Start.FORCE_BOOT) if anew else 0)

    def save(self) -> None:
        """Managed save; returns when it is written and the domain has ended."""
        self._call("virDomainManagedSave", 0)

    def migrate(self, uri: str) -> None:
        """Live migration, peer to peer; returns when it runs there and no more here."""
        flags = Migrate.LIVE | Migrate.PEER2PEER | Migrate.PERSIST_DEST | Migrate.ABORT_ON_ERROR
        self._call("virDomainMigrateToURI3", uri.encode(), None, 0, int(flags))

    def monitor(self, command: str) -> str:
        """What QEMU's human monitor answers. libvirt marks the domain as tainted (custom-monitor) from then on."""
        lib = _qemu_library()
        if lib is None:
            raise LibvirtError(f"{QEMU_LIBRARY} is not installed", Code.NO_SUPPORT)
        answer = c_void_p()
        _checked(self._lib, lib.virDomainQemuMonitorCommand(self._handle, command.encode(), byref(answer), 1))
        return _taken(self._lib, answer.value)


class Connection:
    """A connection to libvirt. Raises HypervisorError if it cannot be opened; its methods raise LibvirtError."""

    def __init__(self, uri: str) -> None:
        self._lib = _library()
        self._events: list[int] = []
        self._closed: object | None = None
        handle = self._lib.virConnectOpen(uri.encode())
        if not handle:
            raise HypervisorError(f"{uri}: {_error(self._lib)}", advice=ADVICE)
        self._handle: int = handle
        self._lib.virConnectSetKeepAlive(handle, KEEPALIVE_S, KEEPALIVE_COUNT)

    def close(self) -> int:
        """Let it go; how many references are left (0, or its socket and its place at libvirtd would stay, and events
        would come twice). What is still registered holds one each (libvirt src/libvirt-host.c, virConnectClose).
        """
        for event in self._events:
            self._lib.virConnectDomainEventDeregisterAny(self._handle, event)
        if self._closed is not None:
            self._lib.virConnectUnregisterCloseCallback(self._handle, self._closed)
        self._events.clear()
        self._closed = None
        return self._lib.virConnectClose(self._handle)  # type: ignore[no-any-return]  # a foreign function

    @property
    def is_alive(self) -> bool:
        """Whether libvirtd is still at its other end."""
        return self._lib.virConnectIsAlive(self._handle) == 1  # type: ignore[no-any-return]  # a foreign function

    @property
    def versions(self) -> tuple[str, str]:
        """QEMU's version and libvirt's."""
        qemu, libvirt = c_ulong(), c_ulong()
        _checked(self._lib, self._lib.virConnectGetVersion(self._handle, byref(qemu)))
        _checked(self._lib, self._lib.virConnectGetLibVersion(self._handle, byref(libvirt)))
        return _version(qemu.value), _version(libvirt.value)

    @property
    def hostname(self) -> str:
        """The name of the host that libvirtd runs on."""
        return _taken(self._lib, self._lib.virConnectGetHostname(self._handle))

    @property
    def free_memory_bytes(self) -> int:
        """What the host has free."""
        found: int = self._lib.virNodeGetFreeMemory(self._handle)
        if not found:
            raise _error(self._lib)
        return found

    @contextmanager
    def domains(self) -> Iterator[tuple[LibvirtDomain, ...]]:
        """All domains that run or are defined here, for as long as the block lasts."""
        array = POINTER(c_void_p)()
        count = _checked(self._lib, self._lib.virConnectListAllDomains(self._handle, byref(array), 0))
        found = tuple(LibvirtDomain(self._lib, handle) for at in range(count) if (handle := array[at]) is not None)
        try:
            yield found
        finally:
            for each in found:
                each.free()
            _libc.free(array)

    @contextmanager
    def domain(self, uuid: str) -> Iterator[LibvirtDomain]:
        """One domain, for as long as the block lasts."""
        handle = self._lib.virDomainLookupByUUIDString(self._handle, uuid.encode())
        if not handle:
            raise _error(self._lib)
        found = LibvirtDomain(self._lib, handle)
        try:
            yield found
        finally:
            found.free()

    def on_lifecycle(self, heard: Callable[[], None]) -> None:
        """Call when a domain starts, stops, or is suspended; in libvirt's own thread."""

        def told(_conn: object, _domain: object, _event: int, _detail: int, _opaque: object) -> int:
            heard()
            return 0

        self._register(Event.LIFECYCLE, _LIFECYCLE(told))

    def on_memory_failure(self, heard: Callable[[str, int, int, int], None]) -> None:
        """Call with UUID, recipient, action and flags when QEMU was told of poisoned memory; in libvirt's thread."""

        def told(_conn: object, domain: int, recipient: int, action: int, flags: int, _opaque: object) -> None:
            heard(LibvirtDomain(self._lib, domain).uuid, recipient, action, flags)

        self._register(Event.MEMORY_FAILURE, _FAILURE(told))

    def on_close(self, heard: Callable[[], None]) -> None:
        """Call when the connection has ended, by whosever doing; in libvirt's own thread."""

        def told(_conn: object, _reason: int, _opaque: object) -> None:
            heard()

        callback = _CLOSED(told)
        _KEPT.append(callback)
        _checked(self._lib, self._lib.virConnectRegisterCloseCallback(self._handle, callback, None, None))
        self._closed = callback

    def _register(self, event: Event, callback: object) -> None:
        _KEPT.append(callback)
        pointer = ctypes.cast(callback, c_void_p)  # type: ignore[arg-type]  # a CFUNCTYPE instance
        number = _checked(
            self._lib,
            self._lib.virConnectDomainEventRegisterAny(self._handle, None, int(event), pointer, None, None),
        )
        self._events.append(number)


_FOR_GOOD: Final[list[object]] = []
"""Functions of the library as a whole."""
_KEPT: Final[deque[object]] = deque(maxlen=96)
"""Functions that C may still be calling in its own thread, a moment after they were taken back: three a connection."""


def _version(number: int) -> str:
    """libvirt's numbers: major * 1,000,000 + minor * 1,000 + release (virGetVersion)."""
    return f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"


@contextmanager
def connected(uri: str) -> Iterator[Connection]:
    """A connection for as long as the block lasts. Raises HypervisorError."""
    found = Connection(uri)
    try:
        yield found
    finally:
        found.close()
