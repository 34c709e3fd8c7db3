"""QEMU's processes on this host: who they are, by their command lines; one pass over /proc.

Source: proc(5) for ``cmdline``, ``stat``, ``fd``; QEMU's qemu-options (``-name``, ``-uuid``, ``-qmp``, ``-chardev``,
``-mon``, ``-m``, ``-smp``). libvirt starts QEMU by the same words (src/qemu/qemu_command.c), and has the monitor of
such a machine for itself.
"""

from __future__ import annotations

import os
import re
import select
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ringfence.hypervisor.kvm.domain_xml import CHANNEL

MOST_PROCESSES: Final = 65_536
MOST_BYTES: Final = 1 << 18
"""Of a command line; a machine of libvirt's has some 10 KiB."""
NO_UUID: Final = "00000000-0000-0000-0000-000000000000"
_PROGRAMS: Final = ("qemu-system-", "qemu-kvm", "kvm")
_LIBVIRT: Final = "/libvirt/qemu/"
"""In the path of a monitor that libvirt has made for itself."""
_KVM_VM: Final = "anon_inode:kvm-vm"
NAME_CHARACTERS: Final = 128
ENDED_S: Final = 20.0
"""For a process that was killed to be gone: the kernel gives back 1 TiB of memory within some ten seconds."""
MOST_MONITORS: Final = 8
"""Of one QEMU: it is started with one or two."""
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class QemuProcess:
    """One QEMU. ``began`` is its start in clock ticks since boot: with ``pid`` it names the process for good.

    ``monitors`` are its QMP unix sockets; ``by_libvirt``: libvirt started it. ``uuid`` is empty without one, and so is
    ``agent_socket``, the host's end of the port of Ringfence's agent.
    """

    pid: int
    began: int
    uuid: str = ""
    name: str = ""
    monitors: tuple[Path, ...] = ()
    by_libvirt: bool = False
    uses_kvm: bool = False
    agent_socket: str = ""

    @property
    def identity(self) -> tuple[int, int]:
        """What no other process has had on this boot."""
        return self.pid, self.began


def processes(root: Path = Path("/proc")) -> tuple[QemuProcess, ...]:
    """All QEMUs that run, by their numbers. What ends meanwhile is left out; without /proc there are none."""
    return tuple(sorted(_processes(root), key=lambda each: each.pid))


def _processes(root: Path) -> Iterator[QemuProcess]:
    try:
        with os.scandir(root) as entries:
            names = [entry.name for entry in entries if entry.name.isdecimal()][:MOST_PROCESSES]
    except OSError:
        return
    for name in names:
        home = root / name
        try:
            with (home / "cmdline").open("rb") as file:
                raw = file.read(MOST_BYTES)
            words = [word.decode("utf-8", "surrogateescape") for word in raw.rstrip(b"\0").split(b"\0")]
            if not words or not os.path.basename(words[0]).startswith(_PROGRAMS):  # noqa: PTH119 (no path is made)
                continue
            began = start_of(home)
        except OSError:
            continue
        if began is not None:
            yield _described(int(name), began, words, home)


def start_of(home: Path) -> int | None:
    """When a process began, field 22 of ``stat``; None if it cannot be told. The name before may hold anything."""
    try:
        return int((home / "stat").read_text(errors="replace").rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def kill(process: QemuProcess) -> bool:
    """End a QEMU by SIGKILL, and wait up to ``ENDED_S`` until it has; False if it is there still, or was another one by
    then. Whatever tree it was found in, it is a process of this kernel that is signalled: its start is looked at anew.
    """
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        # Now that the number is held, it cannot be another process's any more.
        if start_of(Path("/proc") / str(process.pid)) != process.began:
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        return bool(select.select([descriptor], [], [], ENDED_S)[0])
    except OSError:
        return False
    finally:
        os.close(descriptor)


def threads_of(pid: int, proc: Path) -> frozenset[int]:
    """The threads of a process: the kernel signals one of them."""
    try:
        return frozenset(int(each.name) for each in (proc / str(pid) / "task").iterdir())
    except (OSError, ValueError):
        return frozenset({pid})


def _described(pid: int, began: int, words: list[str], home: Path) -> QemuProcess:
    given = list(zip(words, [*words[1:], ""], strict=True))
    values: dict[str, list[str]] = {}
    for option, value in given:
        if option.startswith("-"):
            values.setdefault(option.lstrip("-"), []).append(value)
    monitors = tuple(dict.fromkeys(_monitors(values)))[:MOST_MONITORS]
    return QemuProcess(
        pid=pid,
        began=began,
        uuid=uuid_of(values.get("uuid", [""])[-1]),
        name=plain(_name(values.get("name", [""])[-1])),
        monitors=monitors,
        by_libvirt=any(_LIBVIRT in str(path) for path in monitors) or _has_libvirts_monitor(values),
        uses_kvm=_uses_kvm(home),
        agent_socket=_agent_socket(values),
    )


def uuid_of(said: str) -> str:
    """A UUID in lower case; empty if it is none, or the one that stands for none."""
    lower = said.lower()
    return "" if lower == NO_UUID or _UUID.fullmatch(lower) is None else lower


def plain(said: str, most: int = NAME_CHARACTERS) -> str:
    """What a QEMU says or is called, as it may be shown and written down: it may be anything, and is cut."""
    return "".join(each if each.isprintable() else "?" for each in said[:most])


def _settings(text: str) -> dict[str, str]:
    """QEMU's ``a,b=c``; a doubled comma stands for itself."""
    found: dict[str, str] = {}
    for part in text.replace(",,", "\0").split(","):
        key, equals, value = part.replace("\0", ",").partition("=")
        found.setdefault(key if equals else "", value if equals else key)
    return found


def _name(text: str) -> str:
    said = _settings(text)
    return said.get("guest", said.get("", ""))


def _monitors(values: dict[str, list[str]]) -> Iterator[Path]:
    for text in values.get("qmp", []):
        if text.startswith("unix:"):
            yield Path(_settings(text.removeprefix("unix:")).get("", "").partition(",")[0])
    controls = {
        said.get("chardev", said.get(""))
        for text in values.get("mon", [])
        if (said := _settings(text)).get("mode") == "control"
    }
    for text in values.get("chardev", []):
        said = _settings(text)
        if said.get("id") in controls and "path" in said:
            yield Path(said["path"])


def _agent_socket(values: dict[str, list[str]]) -> str:
    ports = {
        said.get("chardev")
        for text in values.get("device", [])
        if (said := _settings(text)).get("name") == CHANNEL and "chardev" in said
    }
    sockets = (_settings(text) for text in values.get("chardev", []))
    return next((said["path"] for said in sockets if said.get("id") in ports and "path" in said), "")


def _has_libvirts_monitor(values: dict[str, list[str]]) -> bool:
    """libvirt hands the monitor's socket over as an open file (``fd=``), and its masks by ``-object secret``."""
    return any("id=charmonitor" in text for text in values.get("chardev", []))


def _uses_kvm(home: Path) -> bool:
    """Whether it has a virtual machine of /dev/kvm (virt/kvm/kvm_main.c names the file so)."""
    try:
        with os.scandir(home / "fd") as files:
            return any(os.readlink(each.path) == _KVM_VM for each in files)  # noqa: PTH115
    except OSError:
        return False
