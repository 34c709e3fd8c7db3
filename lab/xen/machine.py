"""A machine that runs Xen: switched on, with its Dom0 up, and what a test does to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.machine import Machine
from lab.xen.image import Image

UP_S: Final = 120.0
"""Until Dom0's agent answers; 8 to 20 s were seen where nothing else ran."""

CPU_MODELS: Final = {
    "intel": "Nehalem",
    "amd": "EPYC,-monitor,-smap,-smep,+svm,+npt",
}
"""The models that Xen's machine-check code runs on under TCG: Nehalem has SER_P and broadcast, no CMCI."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What the machine is made of. ``erst``: a file of the machine's own that keeps its last words over a reset."""

    cpu: str = "intel"
    cpus: int = 2
    memory_mib: int = 1536
    dom0_mib: int = 512
    reboots: bool = False
    erst: bool = False
    kernel_driver: bool = False
    """Whether Dom0's kernel takes the telemetry itself (xen_late_init_mcelog, for /dev/mcelog)."""
    more: Sequence[str] = ()


def start(
    machine: Machine, image: Image, hardware: Hardware = Hardware(), *, extra: bytes = b"", tied: bool = True
) -> None:
    """Boot, until Dom0's agent is there. ``extra`` is another cpio archive for Dom0's root. Raises LabError."""
    root = image.root
    if extra:
        machine.home.mkdir(parents=True, exist_ok=True)
        root = machine.home / "root.cpio"
        root.write_bytes(image.root.read_bytes() + extra)
    machine.start(arguments(machine.home, image, hardware, root), tied=tied)
    machine.until("^ready", UP_S, "com2")


def arguments(home: Path, image: Image, hardware: Hardware, root: Path) -> list[str]:
    """QEMU's command line."""
    driver = "" if hardware.kernel_driver else " initcall_blacklist=xen_late_init_mcelog"
    xen = (
        f"console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all mce_verbosity=verbose noirqbalance"
        f" dom0_mem={hardware.dom0_mib}M,max:{hardware.dom0_mib}M" + ("" if hardware.reboots else " noreboot")
    )
    dom0 = f"console=hvc0 loglevel=7 rdinit=/init panic=0{driver}"
    given = [
        "-M", "q35", "-accel", "tcg", "-cpu", CPU_MODELS[hardware.cpu], "-smp", str(hardware.cpus),
        "-m", str(hardware.memory_mib),
        "-kernel", str(image.xen), "-append", xen, "-initrd", f"{image.kernel} {dom0},{root}",
    ]  # fmt: skip
    if not hardware.reboots:
        given.append("-no-reboot")
    if hardware.erst:
        kept = home / "erst"
        given += [
            "-object", f"memory-backend-file,id=erst,mem-path={kept},size=0x10000,share=on",
            "-device", "acpi-erst,memdev=erst",
        ]  # fmt: skip
    return [*given, *hardware.more]
