"""What a Xen machine boots from: the hypervisor, Dom0's kernel, and its root file system, made of Debian's packages."""

from __future__ import annotations

import gzip
import hashlib
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab import cpio, debian
from lab.remote import AGENT


@dataclass(frozen=True, slots=True)
class Choice:
    """A version of Xen as a release of Debian has it."""

    suite: str
    version: str
    python: str

    @property
    def packages(self) -> tuple[str, ...]:
        """What is fetched."""
        xen = (f"xen-hypervisor-{self.version}-amd64", f"xen-utils-{self.version}", "xenstore-utils")
        return (*xen, "linux-image-amd64", "python3", "busybox-static", "e2fsprogs")


TRIXIE: Final = Choice("trixie", "4.20", python="3.13")
BOOKWORM: Final = Choice("bookworm", "4.17", python="3.11")
"""Its Xen does not scan the banks (upstream 532988dccc is missing): the case that must be detected."""

_MODULES: Final = (
    "xen-privcmd", "xenfs", "xen-evtchn", "xen-gntdev", "xen-gntalloc", "xen-blkback", "xen-netback", "loop",
    "crc32c-generic", "ext4", "ahci", "sd_mod",
)  # fmt: skip

_KEEP: Final = (
    "etc/",
    "usr/bin/python3",
    "usr/bin/busybox",
    "usr/lib/",
    "usr/lib64/",
    "usr/sbin/xen",
    "usr/sbin/mke2fs",
)
_UNUSED: Final = ("test", "pydoc_data", "idlelib", "ensurepip", "lib2to3", "tkinter")
_DROP: Final = (
    "usr/lib/modules", "usr/lib/systemd", "usr/lib/udev", "usr/lib/x86_64-linux-gnu/gconv",
    "usr/lib/x86_64-linux-gnu/perl-base", "usr/lib/x86_64-linux-gnu/systemd", "usr/lib/klibc", "usr/lib/dracut",
    "usr/lib/x86_64-linux-gnu/libmvec", "usr/lib/x86_64-linux-gnu/libdb-5", "usr/lib/x86_64-linux-gnu/ossl",
    "usr/lib/x86_64-linux-gnu/engines", "usr/lib/xen-{version}/boot", "etc/init.d", "etc/systemd", "etc/udev",
    "etc/kernel",
    *(f"usr/lib/python{{python}}/{each}" for each in _UNUSED),
)  # fmt: skip


def _dropped(choice: Choice) -> tuple[str, ...]:
    return tuple(each.format(version=choice.version, python=choice.python) for each in _DROP)


_INIT: Final = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/usr/lib/xen-{version}/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /run/xen /var/lib/xen /var/log/xen /var/lib/xenstored /root /tmp
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /run
mkdir -p /run/xen /run/lock
ln -sfn /run /var/run; ln -sfn /run/lock /var/lock
mount -t pstore pstore /sys/fs/pstore 2>/dev/null
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
while read each; do insmod /modules/$each.ko; done < /modules/order
mount -t xenfs xenfs /proc/xen
mkdir -p /var/lib/ringfence
# Which disk is found first is chance: they are known by their size, 512 MiB and 32 MiB.
tries=0
until [ -b /dev/state -a -b /dev/extra ] || [ $tries = 100 ]; do
  for each in /sys/block/sd?; do
    case "$(cat $each/size 2>/dev/null)" in
      1048576) ln -sf ${{each##*/}} /dev/state;;
      65536) ln -sf ${{each##*/}} /dev/extra;;
    esac
  done
  tries=$((tries + 1)); sleep 0.2
done
# By its path: busybox has a mke2fs of its own, which makes no journal.
mount -t ext4 /dev/state /var/lib/ringfence 2>/dev/null ||
  {{ /usr/sbin/mke2fs -q -t ext4 /dev/state && mount -t ext4 /dev/state /var/lib/ringfence; }}
hostname dom0
ip link set lo up
mkdir -p /var/log/xen/console
xenstored && xen-init-dom0 >/dev/null && xenconsoled --log=guest --log-dir=/var/log/xen/console
echo "dom0: starting the agent"
setsid python3 /agent.py /dev/ttyS1 &
# Orphans are its children: it waits for all of them, as an init does.
while true; do wait; sleep 1; done
"""


@dataclass(frozen=True, slots=True)
class Image:
    """Files to boot."""

    xen: Path
    kernel: Path
    root: Path
    guest_kernel: Path
    choice: Choice
    tree: Path
    """The packages, unpacked."""


@debian.alone("files")
def image(choice: Choice = TRIXIE) -> Image:
    """The files of a version, from the cache if they were made of the same packages by the same code before."""
    packages = debian.Release(choice.suite).packages(*choice.packages)
    tree = debian.unpacked(packages)
    recipe = inspect.getsource(sys.modules[__name__]) + AGENT.read_text() + inspect.getsource(cpio)
    key = hashlib.sha256(f"{tree.name}\n{recipe}".encode()).hexdigest()[:16]
    home = debian.cache() / f"xen-{choice.version}-{key}"
    kernel = debian.kernel(tree)
    made = Image(
        xen=home / "xen",
        kernel=tree / "boot" / f"vmlinuz-{kernel}",
        root=home / "dom0.cpio",
        guest_kernel=tree / "boot" / f"vmlinuz-{kernel}",
        choice=choice,
        tree=tree,
    )
    if not home.exists():
        making = home.with_suffix(".making")
        making.mkdir(exist_ok=True)
        (making / "xen").write_bytes(gzip.decompress((tree / "boot" / f"xen-{choice.version}-amd64.gz").read_bytes()))
        modules = f"usr/lib/python{choice.python}"
        debian.compile_python(tree, choice.python, tree / modules, f"/{modules}")
        (making / "dom0.cpio").write_bytes(_dom0(tree, choice).packed())
        making.rename(home)
    return made


_GUEST_INIT: Final = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
echo "guest: up"
while true; do echo "guest: alive $(cut -d' ' -f1 /proc/uptime)"; sleep 5; done
"""


def _guest(tree: Path) -> cpio.Archive:
    root = cpio.Archive()
    for each in ("proc", "sys", "dev", "sbin"):
        root.directory(each)
    root.device("dev/console", 5, 1)
    root.file("bin/busybox", (tree / "usr/bin/busybox").read_bytes(), 0o755)
    root.file("init", _GUEST_INIT.encode(), 0o755)
    return root


def _dom0(tree: Path, choice: Choice) -> cpio.Archive:
    root = cpio.Archive()
    for each in ("proc", "sys", "dev", "run", "tmp", "root", "var/lib/xen", "var/log/xen", "modules"):
        root.directory(each)
    root.device("dev/console", 5, 1)
    for each in ("bin", "sbin", "lib", "lib64"):
        root.link(each, f"usr/{each}")
    root.directory("usr/bin")
    root.directory("usr/sbin")
    root.tree(tree, keep=_KEEP, drop=_dropped(choice))
    loaded = debian.modules(tree, *_MODULES)
    for name, code in loaded:
        root.file(f"modules/{name}.ko", code)
    root.file("modules/order", "".join(f"{name}\n" for name, _ in loaded).encode())
    root.file("agent.py", AGENT.read_bytes())
    root.file("guest/vmlinuz", (tree / "boot" / f"vmlinuz-{debian.kernel(tree)}").read_bytes())
    root.file("guest/root.cpio", _guest(tree).packed())
    root.file("init", _INIT.format(version=choice.version).encode(), 0o755)
    root.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    root.file("etc/group", b"root:x:0:\n")
    root.file("etc/hosts", b"127.0.0.1 localhost dom0\n")
    return root
