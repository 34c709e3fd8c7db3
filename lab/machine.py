"""One emulated machine: QEMU's process, its serial consoles, its monitor."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from lab.debian import LabError, tool

QEMU: Final = "qemu-system-x86_64"
MONITOR_S: Final = 30.0
"""For an answer of the monitor, which waits for the emulated processors to pause."""
POLL_S: Final = 0.05
FREEZE_S: Final = 60.0
"""Until the state of the devices, and what of the memory is in no shared file, is written or read again."""


_PROCESSOR: Final = re.compile(rb"\x03cpu\0\0\0.\0\0\0\x0c", re.DOTALL)
"""A processor's section in the state that QEMU writes: its number is below 256, the layout's version 12."""
_FLAGS_AT: Final = 16 * 8 + 8 + 8
"""After 16 registers, the instruction pointer and RFLAGS (QEMU 7.2 to 10, target/i386/machine.c)."""
_IN_GUEST: Final = 1 << 21
"""HF_GUEST_MASK (QEMU, target/i386/cpu.h)."""


def _hidden_flags(state: bytes) -> list[int]:
    """What QEMU calls hflags, of each processor in a frozen machine's state. Raises LabError if there is none."""
    found = [match.end() + _FLAGS_AT for match in _PROCESSOR.finditer(state)]
    if not found:
        raise LabError("QEMU's state of a processor is not where it was in its versions 7.2 to 10")
    return [int.from_bytes(state[at : at + 4], "big") for at in found]


class Machine:
    """A machine with its files in ``home``: ``com1.log`` and ``com2.log`` are what it said, ``qemu.log`` QEMU's words.

    ``tied``: it ends with this process, whatever ends it.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._process: subprocess.Popen[bytes] | None = None

    # --- its life ----------------------------------------------------------------------------------------------------

    def start(self, arguments: Sequence[str], *, tied: bool = True) -> None:
        """Switch it on. Raises LabError if QEMU ends at once."""
        self.home.mkdir(parents=True, exist_ok=True)
        for each in ("com1", "com2", "monitor"):
            (self.home / each).unlink(missing_ok=True)
        command = [tool(QEMU, "qemu-system-x86"), *arguments, "-nodefaults", "-display", "none"]
        for port in ("com1", "com2"):
            command += [
                "-chardev",
                f"socket,id={port},path={self.home / port},server=on,wait=off,logfile={self.home / port}.log",
                "-serial",
                f"chardev:{port}",
            ]
        command += ["-monitor", f"unix:{self.home / 'monitor'},server=on,wait=off"]
        if tied:
            command = [tool("setpriv", "util-linux"), "--pdeathsig", "KILL", *command]
        (self.home / "command").write_text(shlex.join(command) + "\n")
        with (self.home / "qemu.log").open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=not tied
            )
        (self.home / "pid").write_text(str(process.pid))
        self._process = process if tied else None
        for _ in wait(10.0, "QEMU's monitor"):
            if process.poll() is not None:
                raise LabError(f"QEMU ended at once:\n{(self.home / 'qemu.log').read_text()[-2000:]}")
            if (self.home / "monitor").exists() and (self.home / "com2").exists():
                return

    @property
    def pid(self) -> int | None:
        """The process, None if it has ended."""
        with contextlib.suppress(OSError, ValueError):
            number = int((self.home / "pid").read_text())
            if self._process is not None:
                self._process.poll()
            if QEMU.encode() in Path(f"/proc/{number}/cmdline").read_bytes():
                return number
        return None

    def freeze(self, state: Path) -> None:
        """Write the state of processors and devices to a file, and switch it off.

        Memory in a shared file (``memory-backend-file,share=on``) is not written once more: it stays in that file.
        A processor that is in a guest of the machine's own (SVM) is let out of it first: QEMU's emulation does not take
        such a one in again ("vCPU set in guest-mode inconsistent with migrated kernel nested state").
        """
        self.monitor("migrate_set_capability x-ignore-shared on")
        for _ in wait(FREEZE_S, "a moment in which no processor is in a guest"):
            self.monitor("stop")
            self.monitor(f'migrate "exec:cat > {state}"')
            self._migrated()
            if not any(flags & _IN_GUEST for flags in _hidden_flags(state.read_bytes())):
                break
            self.monitor("cont")
        self.stop()

    def thaw(self, arguments: Sequence[str], state: Path, *, tied: bool = True) -> None:
        """Go on where a machine of the same arguments was frozen. Raises LabError if it does not."""
        self.start([*arguments, "-incoming", "defer"], tied=tied)
        self.monitor("migrate_set_capability x-ignore-shared on")
        self.monitor(f'migrate_incoming "exec:cat {state}"')
        self._migrated()
        self.monitor("cont")

    def _migrated(self) -> None:
        for _ in wait(FREEZE_S, "QEMU's migration", lambda: self.monitor("info migrate")):
            said = self.monitor("info migrate")
            if "Migration status: completed" in said:
                return
            if "failed" in said:
                raise LabError(f"QEMU cannot freeze or thaw the machine:\n{said}")

    def stop(self) -> None:
        """Switch it off at once."""
        if (number := self.pid) is not None:
            os.kill(number, signal.SIGKILL)
            for _ in wait(10.0, "QEMU's end"):
                if self.pid is None:
                    break
        if self._process is not None:
            self._process.wait()
        (self.home / "pid").unlink(missing_ok=True)

    # --- what it says ------------------------------------------------------------------------------------------------

    def said(self, port: str = "com1", after: int = 0) -> str:
        """What it printed on a console since byte ``after``."""
        with contextlib.suppress(FileNotFoundError):
            data = (self.home / f"{port}.log").read_bytes()[after:]
            return data.decode("utf-8", "replace").replace("\r", "")
        return ""

    def length(self, port: str = "com1") -> int:
        """How many bytes it has printed."""
        with contextlib.suppress(FileNotFoundError):
            return (self.home / f"{port}.log").stat().st_size
        return 0

    def until(self, pattern: str, timeout_s: float, port: str = "com1", after: int = 0) -> re.Match[str]:
        """Wait until it prints something. Raises LabError with its last words if it does not, or ends."""
        for _ in wait(timeout_s, f"{pattern!r} on {port}", lambda: self.said(port, after)[-3000:]):
            if match := re.search(pattern, self.said(port, after), re.MULTILINE):
                return match
            if self.pid is None:
                raise LabError(f"the machine ended before {pattern!r}:\n{self.said(port, after)[-3000:]}")
        raise AssertionError

    # --- its monitor -------------------------------------------------------------------------------------------------

    def monitor(self, command: str) -> str:
        """One command of QEMU's human monitor, and what it answered."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(MONITOR_S)
            connection.connect(str(self.home / "monitor"))
            _until_prompt(connection)
            connection.sendall(f"{command}\n".encode())
            said = _until_prompt(connection)
        # The monitor's line editing repeats what is typed, with escapes, up to the first line end.
        return said.split("\n", 1)[-1].removesuffix("(qemu) ").strip()

    def machine_check(  # noqa: PLR0913, PLR0917 (one argument a register)
        self, cpu: int, bank: int, status: int, mcg_status: int, addr: int, misc: int, *, broadcast: bool = False
    ) -> str:
        """Have a machine check reported (QEMU's ``mce``)."""
        flag = "-b " if broadcast else ""
        return self.monitor(f"mce {flag}{cpu} {bank} {status:#x} {mcg_status:#x} {addr:#x} {misc:#x}")


def _until_prompt(connection: socket.socket) -> str:
    said = b""
    while not said.endswith(b"(qemu) "):
        more = connection.recv(65536)
        if not more:
            raise LabError(f"QEMU's monitor hung up after {said[-500:]!r}")
        said += more
    return said.decode("utf-8", "replace").replace("\r", "")


def wait(timeout_s: float, what: str, more: object = None) -> Iterator[None]:
    """Go round until ``timeout_s`` have passed, then raise LabError saying for what; ``more()`` adds to it."""
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        yield
        time.sleep(POLL_S)
    words = f":\n{more()}" if callable(more) else ""
    raise LabError(f"{what} did not come within {timeout_s:.0f} s{words}")
