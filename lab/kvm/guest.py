"""Runs in a guest as its first process: memory that is known by address, and words about what becomes of it.

On the port ``org.ringfence.lab.0`` a request is a line, and so is its answer, in JSON. Python's own library alone.
"""

from __future__ import annotations

import base64
import ctypes
import json
import mmap
import os
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PORT = "/dev/virtio-ports/org.ringfence.lab.0"
PAGE = 4096
PAGES = 64
"""Of a process that holds memory and does nothing with it until it is told to."""
SLAB, BUDDY, HUGE, POISONED = 7, 10, 22, 19
"""Bits of /proc/kpageflags (include/uapi/linux/kernel-page-flags.h)."""


class Holder:
    """A process whose pages are known by their guest-physical addresses."""

    def __init__(self) -> None:
        told, self._tell = os.pipe()
        self._told, tell = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._tell)
            os.close(self._told)
            hold(told, tell)
        os.close(told)
        os.close(tell)
        self.pages: list[int] = json.loads(self._answer())

    def touch(self, index: int) -> str:
        """Have it read and write a page; says how that ended."""
        os.write(self._tell, b"%d\n" % index)
        return self._answer() or "gone"

    def _answer(self) -> str:
        said = b""
        while not said.endswith(b"\n"):
            more = os.read(self._told, 65536)
            if not more:
                break
            said += more
        return said.decode().strip()


def hold(told: int, tell: int) -> None:
    """What the process does, for ever."""
    memory = mmap.mmap(-1, PAGES * PAGE)
    for index in range(PAGES):
        memory[index * PAGE : index * PAGE + 8] = b"ringfenc"
    os.write(tell, json.dumps([addresses(memory, index) for index in range(PAGES)]).encode() + b"\n")
    while line := os.read(told, 16):
        at = int(line) * PAGE
        kept = bytes(memory[at : at + 8])
        memory[at + 8 : at + 16] = b"!" * 8
        os.write(tell, b"kept\n" if kept == b"ringfenc" else b"lost\n")
    os._exit(0)


def addresses(memory: mmap.mmap, index: int) -> int:
    """The physical address of a page of this process (Documentation/admin-guide/mm/pagemap.rst)."""
    at = ctypes.addressof(ctypes.c_char.from_buffer(memory, index * PAGE))
    with Path("/proc/self/pagemap").open("rb") as file:
        file.seek(at // PAGE * 8)
        entry = int.from_bytes(file.read(8), "little")
    return (entry & (1 << 55) - 1) * PAGE


def pages(bit: int, most: int = 16) -> Iterator[int]:
    """Addresses of pages with a flag, spread over the memory."""
    flags = b""
    with Path("/proc/kpageflags").open("rb", buffering=0) as file:
        while more := file.read(1 << 16):  # Multiples of eight bytes: the kernel refuses anything else.
            flags += more
    found = [index for index, (value,) in enumerate(struct.iter_unpack("<Q", flags)) if value >> bit & 1]
    for index in found[:: max(1, len(found) // most)][:most]:
        yield index * PAGE


def answer(asked: list[str], holder: Holder) -> Any:
    """What is asked."""
    match asked:
        case ["pages"]:
            return holder.pages
        case ["free"]:
            return list(pages(BUDDY))
        case ["kernel"]:
            return list(pages(SLAB))
        case ["poisoned"]:
            return list(pages(POISONED, 1000))
        case ["touch", index]:
            return holder.touch(int(index))
        case ["holder"]:
            ended, status = os.waitpid(holder.pid, os.WNOHANG)
            return signal.Signals(os.WTERMSIG(status)).name if ended and os.WIFSIGNALED(status) else "alive"
        case ["panic"]:
            Path("/proc/sysrq-trigger").write_text("c")
        case ["put", path, piece]:
            with Path(path).open("ab") as file:
                return file.write(base64.b64decode(piece))
        case ["spawn", *words]:
            with Path("/tmp/spawned").open("ab") as out:
                return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out).pid
        case ["uptime"]:
            return Path("/proc/uptime").read_text().split()[0]
        case ["said"]:
            return subprocess.run(["/bin/dmesg"], capture_output=True, text=True, check=False).stdout[-8000:]
    return "?"


def main() -> None:
    """Answer for ever; the console hears what matters."""
    holder = Holder()
    print("guest: up", flush=True)
    port = os.open(PORT, os.O_RDWR)
    held = b""
    while True:
        more = os.read(port, 4096)
        if not more:  # Nobody is connected on the host's side.
            time.sleep(0.5)
            continue
        *lines, held = (held + more).split(b"\n")
        for line in lines:
            try:
                said = answer(line.decode().split(), holder)
            except Exception as error:
                said = f"{type(error).__name__}: {error}"
            os.write(port, json.dumps(said).encode() + b"\n")


if __name__ == "__main__":
    main()
