"""A machine that runs Xen: switched on until its Dom0 is up, or thawed as it was frozen."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.machine import Machine
from lab.xen.image import Image

UP_S: Final = 300.0
"""Until Dom0's agent answers; 8 to 20 s were seen where nothing else ran."""
ERST_BYTES: Final = 0x10000
DISK_BYTES: Final = 512 << 20
"""For the state of Ringfence, saved guests among it: the file has holes, and grows with what is written."""
EXTRA_BYTES: Final = 32 << 20
"""Of the disk that brings Ringfence: as large for every wheel, or a frozen machine would not know it again."""

CPU_MODELS: Final = {
    "intel": "Nehalem",
    "amd": "EPYC,-monitor,-smap,-smep,+svm,+npt,-xsave,-avx,-avx2,-f16c,-fma",
}
"""The models that Xen's machine-check code runs on under TCG: Nehalem has SER_P and broadcast, no CMCI. Without AVX, as
processes of a thawed machine that had it died (QEMU 7.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What the machine is made of, and how it boots. ``erst``: a store of error records that outlives its reboots."""

    cpu: str = "intel"
    cpus: int = 2
    memory_mib: int = 1536
    dom0_mib: int = 512
    reboots: bool = True
    """Whether it comes up again after Xen's end, where it would else be switched off."""
    erst: bool = True
    kernel_driver: bool = False
    """Whether Dom0's kernel takes the telemetry itself (xen_late_init_mcelog, for /dev/mcelog)."""
    xen: str = ""
    """More for Xen's command line."""


@dataclass(frozen=True, slots=True)
class Files:
    """What a machine is made of, in files. ``private``: memory and disk are read, and written to elsewhere."""

    home: Path
    private: bool = False

    @property
    def state(self) -> Path:
        """The state of a frozen machine's devices."""
        return self.home / "state"


@dataclass(frozen=True, slots=True)
class Frozen:
    """A machine as it was at one moment. Any number of copies go on from there; none changes it."""

    image: Image
    hardware: Hardware
    files: Files


def start(
    machine: Machine, image: Image, hardware: Hardware = Hardware(), *, extra: bytes = b"", tied: bool = True
) -> None:
    """Boot, until Dom0's agent is there. ``extra`` is a cpio archive on the second disk. Raises LabError."""
    machine.home.mkdir(parents=True, exist_ok=True)
    files = Files(machine.home)
    for name, size in (("memory", hardware.memory_mib << 20), ("disk", DISK_BYTES), ("erst", ERST_BYTES)):
        with (machine.home / name).open("wb") as file:
            file.truncate(size)
    _extra(machine.home, extra)
    machine.start(arguments(machine.home, image, hardware, files), tied=tied)
    machine.until("^ready", UP_S, "com2")


def freeze(machine: Machine, image: Image, hardware: Hardware) -> Frozen:
    """Keep a machine as it is now, and switch it off."""
    files = Files(machine.home, private=True)
    (machine.home / "bars").write_text(" ".join(f"{each:#x}" for each in _bars(machine)))
    machine.freeze(files.state)
    return Frozen(image, hardware, files)


def thaw(
    machine: Machine, frozen: Frozen, *, extra: bytes | None = None, again: bool = False, tied: bool = True
) -> None:
    """Go on from a frozen machine. ``again``: the copy can be frozen in its turn. Raises LabError."""
    machine.home.mkdir(parents=True, exist_ok=True)
    files = frozen.files
    copied = ["erst"]
    if again:
        files = Files(machine.home)
        copied += ["memory", "disk"]
    if extra is None:
        copied.append("extra")
    else:
        _extra(machine.home, extra)
    for name in copied:
        source, target = frozen.files.home / name, machine.home / name
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", source, target], check=True)
    given = arguments(machine.home, frozen.image, frozen.hardware, files)
    machine.thaw(given, frozen.files.state, tied=tied)
    _map(machine, [int(each, 16) for each in (frozen.files.home / "bars").read_text().split()])


_ERST_DEVICE: Final = re.compile(r"device +(\d+), function 0:\n[^\n]*PCI device 1b36:0012\n(.*?)\n +id", re.DOTALL)
_BAR: Final = re.compile(r"BAR\d: 32 bit memory at (0x[0-9a-f]+)")
_CONFIG_ADDRESS: Final = 0xCF8
_CONFIG_DATA: Final = 0xCFC
_COMMAND: Final = 0x04
_BARS: Final = 0x10
_MEMORY: Final = 0x2
"""PCI 3.0, 3.2.2.3.2 and 6.1: configuration by two ports; the device answers to its memory."""


def _bars(machine: Machine) -> list[int]:
    """Where the store of error records lies: its number on the bus, then its address registers; nothing without one."""
    found = _ERST_DEVICE.search(machine.monitor("info pci"))
    return [] if found is None else [int(found[1]), *(int(each, 16) for each in _BAR.findall(found[2]))]


def _map(machine: Machine, bars: list[int]) -> None:
    """Put the store of error records back to where it was: QEMU (7.2, hw/acpi/erst.c) does not freeze where it lies."""
    if not bars:
        return
    device, *places = bars
    registers = [(_BARS + 4 * at, place) for at, place in enumerate(places)]
    for register, value in (*registers, (_COMMAND, _MEMORY)):
        machine.monitor(f"o /w {_CONFIG_ADDRESS:#x} {0x8000_0000 | device << 11 | register:#x}")
        machine.monitor(f"o /w {_CONFIG_DATA:#x} {value:#x}")


def _extra(home: Path, archive: bytes) -> None:
    with (home / "extra").open("wb") as file:
        file.write(archive)
        file.truncate(EXTRA_BYTES)


def arguments(home: Path, image: Image, hardware: Hardware, files: Files) -> list[str]:
    """QEMU's command line."""
    driver = "" if hardware.kernel_driver else " initcall_blacklist=xen_late_init_mcelog"
    xen = (
        f"console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all mce_verbosity=verbose noirqbalance"
        f" dom0_mem={hardware.dom0_mib}M,max:{hardware.dom0_mib}M"
        + ("" if hardware.reboots else " noreboot")
        + (f" {hardware.xen}" if hardware.xen else "")
    )
    dom0 = f"console=hvc0 loglevel=7 rdinit=/init panic=0{driver}"
    shared = "off" if files.private else "on"
    given = [
        "-M", "q35,memory-backend=memory", "-accel", "tcg", "-cpu", CPU_MODELS[hardware.cpu],
        "-smp", str(hardware.cpus), "-m", str(hardware.memory_mib),
        "-object", f"memory-backend-file,id=memory,mem-path={files.home / 'memory'},size={hardware.memory_mib}M,"
        f"share={shared}",
        "-kernel", str(image.xen), "-append", xen, "-initrd", f"{image.kernel} {dom0},{image.root}",
    ]  # fmt: skip
    if not hardware.reboots:
        given.append("-no-reboot")
    snapshot = "on" if files.private else "off"
    for bus, (path, snapped) in enumerate(((files.home / "disk", snapshot), (home / "extra", "on"))):
        given += [
            "-drive", f"id=disk{bus},file={path},format=raw,if=none,cache=unsafe,snapshot={snapped},file.locking=off",
            "-device", f"ide-hd,drive=disk{bus},bus=ide.{bus}",
        ]  # fmt: skip
    if hardware.erst:
        given += [
            "-object", f"memory-backend-file,id=erst,mem-path={home / 'erst'},size={ERST_BYTES},share=on",
            "-device", "acpi-erst,memdev=erst",
        ]  # fmt: skip
    return given
