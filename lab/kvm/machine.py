"""A machine that is a KVM host: switched on until its agent is up, or thawed as it was frozen."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.kvm.image import Image
from lab.machine import Machine

UP_S: Final = 180.0
"""Until the agent answers; 8 s were seen where nothing else ran."""
CPU_MODEL: Final = "EPYC,family=21,model=2,stepping=0,+svm,+npt,-monitor"
"""TCG emulates its SVM with NPT: its KVM runs real guests. It calls itself a Piledriver (family 15h), whose bank 4 is
the northbridge and logs deferred DRAM errors at system addresses: a Zen would need the registers of scalable MCA for
that, which QEMU does not have."""
KERNEL: Final = "console=ttyS0,115200 loglevel=7 panic=0 rdinit=/init mitigations=off tsc=reliable ras=cec_disable"
"""``ras=cec_disable``: as ``ringfence doctor`` advises, or the kernel itself would act on corrected errors."""
EXTRA_BYTES: Final = 32 << 20
"""Of the disk that brings Ringfence: as large for every wheel, or a frozen machine would not know it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What the machine is made of."""

    cpus: int = 1
    """One: kernels under TCG with a thread a processor run into half-patched code of their own (static keys)."""
    memory_mib: int = 2048
    kernel: str = ""
    """More for the kernel's command line."""


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
    """Boot, until the agent is there. ``extra`` is a cpio archive for the host's root. Raises LabError."""
    machine.home.mkdir(parents=True, exist_ok=True)
    files = Files(machine.home)
    with (machine.home / "memory").open("wb") as file:
        file.truncate(hardware.memory_mib << 20)
    _copied(image.data, machine.home / "disk")
    _extra(machine.home, extra)
    machine.start(arguments(machine.home, image, hardware, files), tied=tied)
    machine.until("^ready", UP_S, "com2")


def freeze(machine: Machine, image: Image, hardware: Hardware = Hardware()) -> Frozen:
    """Keep a machine as it is now, and switch it off."""
    files = Files(machine.home, private=True)
    machine.freeze(files.state)
    return Frozen(image, hardware, files)


def thaw(
    machine: Machine, frozen: Frozen, *, extra: bytes | None = None, again: bool = False, tied: bool = True
) -> None:
    """Go on from a frozen machine. ``again``: the copy can be frozen in its turn. Raises LabError."""
    machine.home.mkdir(parents=True, exist_ok=True)
    files = frozen.files
    if again:
        files = Files(machine.home)
        for name in ("memory", "disk"):
            _copied(frozen.files.home / name, machine.home / name)
    if extra is None:
        _copied(frozen.files.home / "extra", machine.home / "extra")
    else:
        _extra(machine.home, extra)
    given = arguments(machine.home, frozen.image, frozen.hardware, files)
    machine.thaw(given, frozen.files.state, tied=tied)


def _copied(source: Path, target: Path) -> None:
    """A copy that has the holes of what it was made of."""
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", source, target], check=True)


def _extra(home: Path, archive: bytes) -> None:
    with (home / "extra").open("wb") as file:
        file.write(archive)
        file.truncate(EXTRA_BYTES)


def arguments(home: Path, image: Image, hardware: Hardware, files: Files) -> list[str]:
    """QEMU's command line."""
    shared, snapshot = ("off", "on") if files.private else ("on", "off")
    return [
        "-M", "q35,memory-backend=memory", "-accel", "tcg,tb-size=512", "-cpu", CPU_MODEL,
        "-smp", str(hardware.cpus), "-m", str(hardware.memory_mib),
        "-object", f"memory-backend-file,id=memory,mem-path={files.home / 'memory'},size={hardware.memory_mib}M,"
        f"share={shared}",
        "-kernel", str(image.kernel), "-initrd", str(image.first),
        "-append", f"{KERNEL} {hardware.kernel}".strip(),
        "-drive", f"file={image.root},format=raw,if=virtio,readonly=on,file.locking=off",
        "-drive", f"file={files.home / 'disk'},format=raw,if=virtio,snapshot={snapshot},file.locking=off",
        "-drive", f"file={home / 'extra'},format=raw,if=virtio,readonly=on",
    ]  # fmt: skip
