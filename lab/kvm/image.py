"""What a KVM host boots from: Debian's kernel, a read-only root file system made of Debian's packages, and a guest."""

from __future__ import annotations

import hashlib
import inspect
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab import cpio, debian
from lab.remote import AGENT

SUITE: Final = "trixie"
PYTHON: Final = "3.13"
"""Of Debian 13."""
PACKAGES: Final = (
    "linux-image-amd64", "qemu-system-x86", "libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-clients",
    "python3-libvirt", "python3", "rasdaemon", "busybox-static", "kmod", "e2fsprogs", "util-linux",
)  # fmt: skip
"""Full packages: the kernel for clouds has neither X86_MCE nor MEMORY_FAILURE, and QEMU before 10 ends an AMD guest at
any error that asks for no action."""

ROOT_MIB: Final = 1024
DATA_MIB: Final = 768
"""Sparse: the journal, saved guests and logs are there."""

_FIRST: Final = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4", "overlay")
"""To mount the root with."""
_MODULES: Final = (
    "kvm_amd", "virtio_console", "virtio_balloon", "hwpoison-inject", "mce-inject", "loop", "vhost_vsock",
)  # fmt: skip
_GUEST_MODULES: Final = ("virtio_pci", "virtio_console", "virtio_balloon", "pvpanic-mmio")

_KEEP: Final = ("etc/", "usr/bin/", "usr/sbin/", "usr/lib/", "usr/lib64/", "usr/share/qemu", "usr/share/seabios",
                "usr/share/libvirt", "var/lib/")  # fmt: skip
_DROP: Final = (
    "usr/lib/modules", "usr/lib/systemd", "usr/lib/udev", "usr/lib/klibc", "usr/lib/dracut", "usr/lib/ipxe",
    "usr/lib/x86_64-linux-gnu/gconv", "usr/lib/x86_64-linux-gnu/perl", "usr/lib/python3.13/test",
    "usr/share/qemu/skiboot",
    "usr/lib/python3.13/pydoc_data", "usr/lib/python3.13/idlelib", "usr/lib/python3.13/ensurepip", "etc/init.d",
    "etc/systemd", "etc/udev", "etc/kernel", "etc/initramfs-tools", "usr/share/qemu/openbios", "usr/share/qemu/hppa",
    "usr/share/qemu/u-boot", "usr/share/qemu/palcode", "usr/share/qemu/linux-user", "usr/share/qemu/npcm",
    "usr/share/qemu/slof", "usr/bin/perl", "usr/share/qemu/efi-",
)  # fmt: skip
_GUEST_KEEP: Final = ("usr/bin/python3", "usr/lib/", "usr/lib64/")
_GUEST_LIBRARIES: Final = (
    "libc.so", "libm.so", "libz.so", "libexpat.so", "libgcc_s", "ld-linux", "libcrypto.so", "libffi.so", "libssl.so",
    "libzstd.so", "libbz2.so", "liblzma.so",
)  # fmt: skip

_FIRST_INIT: Final = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs devtmpfs /dev
while read each; do insmod /modules/$each.ko; done < /modules/order
mkdir -p /ro /rw /new
mount -t tmpfs -o size=512m rw /rw && mkdir /rw/upper /rw/work
mount -t ext4 -o ro,noload /dev/vda /ro || echo "lab: no root"
mount -t overlay -o lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work root /new
umount /dev /proc
exec switch_root /new /sbin/init
"""

_START: Final = """\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm /dev/hugepages /data /root
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t hugetlbfs hugetlbfs /dev/hugepages
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mount -t pstore pstore /sys/fs/pstore 2>/dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t ext4 /dev/vdb /data
mkdir -p /data/libvirt /data/ringfence /data/log /var/lib/libvirt /var/lib/ringfence /var/log/libvirt
mkdir -p /run/lock /run/lab /run/libvirt
mount --bind /data/libvirt /var/lib/libvirt
mount --bind /data/ringfence /var/lib/ringfence
mount --bind /data/log /var/log/libvirt
while read each; do insmod /modules/$each.ko; done < /modules/order
cd / && cpio -idu < /dev/vdc 2>/dev/null
hostname kvm1
ip link set lo up
echo "host: starting the agent"
"""

_INITTAB: Final = """\
::sysinit:/etc/lab-start
::respawn:/usr/bin/python3 /agent.py /dev/ttyS1
::ctrlaltdel:/bin/busybox reboot
"""

_GUEST_INIT: Final = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read each; do insmod /modules/$each.ko; done < /modules/order
mkdir -p /dev/virtio-ports
for each in /sys/class/virtio-ports/*; do
  ln -s /dev/$(basename $each) /dev/virtio-ports/$(cat $each/name)
done
exec python3 -S -B /guest.py
"""

LIBVIRTD: Final = """\
auth_unix_ro = "none"
auth_unix_rw = "none"
host_uuid = "{uuid}"
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
"""
QEMU_CONF: Final = """\
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
stdio_handler = "file"
namespaces = []
remember_owner = 0
migration_port_min = {port}
migration_port_max = {last_port}
"""
"""What libvirt needs where there is no systemd, no virtlogd and no security module."""


@dataclass(frozen=True, slots=True)
class Image:
    """Files to boot: ``root`` and ``data`` are disks, ``root`` is never written to, ``data`` is to be copied first."""

    tree: Path
    """The packages, unpacked."""
    kernel: Path
    first: Path
    root: Path
    data: Path


GUEST: Final = Path(__file__).with_name("guest.py")


@debian.alone("files")
def image() -> Image:
    """The files, from the cache if they were made of the same packages by the same code before."""
    tree = debian.unpacked(debian.Release(SUITE).packages(*PACKAGES))
    recipe = inspect.getsource(sys.modules[__name__]) + AGENT.read_text() + inspect.getsource(cpio) + GUEST.read_text()
    key = hashlib.sha256(f"{tree.name}\n{recipe}".encode()).hexdigest()[:16]
    home = debian.cache() / f"kvm-{key}"
    made = Image(
        tree=tree,
        kernel=tree / "boot" / f"vmlinuz-{debian.kernel(tree)}",
        first=home / "first.cpio",
        root=home / "root.ext4",
        data=home / "data.ext4",
    )
    if not home.exists():
        making = home.with_suffix(".making")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        (making / "first.cpio").write_bytes(_first(tree).packed())
        _file_system(making / "root.ext4", ROOT_MIB, _root(tree, making / "root"))
        shutil.rmtree(making / "root")
        _file_system(making / "data.ext4", DATA_MIB, None)
        making.rename(home)
    return made


def _file_system(path: Path, size_mib: int, content: Path | None) -> None:
    """A sparse ext4: made without root, and without mounting it."""
    made = ["-d", str(content)] if content else []
    options = ("-q", "-q", "-t", "ext4", "-m", "0", "-E", "lazy_itable_init=1,root_owner=0:0")
    words = [debian.tool("mke2fs", "e2fsprogs"), *options, *made, str(path), f"{size_mib}M"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def _modules(tree: Path, *names: str) -> dict[str, bytes]:
    found = debian.modules(tree, *names)
    order = "".join(f"{name}\n" for name, _ in found).encode()
    return {**{f"modules/{name}.ko": code for name, code in found}, "modules/order": order}


def _first(tree: Path) -> cpio.Archive:
    """The initramfs: it mounts the root below an overlay in memory."""
    root = cpio.Archive()
    for each in ("proc", "sys", "dev", "bin", "sbin"):
        root.directory(each)
    root.device("dev/console", 5, 1)
    root.file("bin/busybox", (tree / "usr/bin/busybox").read_bytes(), 0o755)
    for name, data in _modules(tree, *_FIRST).items():
        root.file(name, data)
    root.file("init", _FIRST_INIT.encode(), 0o755)
    return root


def _root(tree: Path, into: Path) -> Path:
    """The root's tree: what is kept of the packages, by hard links, and files of our own."""
    for folder, folders, files in os.walk(tree):
        folders[:] = [each for each in folders if not Path(folder, each).is_symlink()]
        links = [each.name for each in Path(folder).iterdir() if each.is_symlink()]
        for name in {*files, *links}:
            path = Path(folder, name)
            at = str(path.relative_to(tree))
            if at.startswith(_KEEP) and not at.startswith(_DROP):
                target = into / at
                target.parent.mkdir(parents=True, exist_ok=True)
                if path.is_symlink():
                    target.symlink_to(path.readlink())
                else:
                    target.hardlink_to(path)
    for each in ("proc", "sys", "dev", "run", "tmp", "root", "data", "guest", "var/log", "var/lib", "opt", "mnt"):
        (into / each).mkdir(parents=True, exist_ok=True)
    for each in ("bin", "sbin", "lib", "lib64"):
        (into / each).symlink_to(f"usr/{each}")
    (into / "var/run").symlink_to("/run")
    own = {
        **_modules(tree, *_MODULES),
        "agent.py": AGENT.read_bytes(),
        "guest/root.cpio": _guest(tree).packed(),
        "etc/lab-start": _START.encode(),
        "etc/inittab": _INITTAB.encode(),
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
        b"libvirt-qemu:x:64055:64055:qemu:/:/bin/false\n",
        "etc/group": b"root:x:0:\nkvm:x:104:\nlibvirt:x:105:\nlibvirt-qemu:x:64055:\nnogroup:x:65534:\n",
        "etc/hosts": b"127.0.0.1 localhost kvm1\n",
        "etc/hostname": b"kvm1\n",
        "etc/nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files\n",
        "etc/libvirt/libvirtd.conf": LIBVIRTD.format(uuid="11111111-1111-4111-8111-111111111111").encode(),
        "etc/libvirt/qemu.conf": QEMU_CONF.format(port=49152, last_port=49199).encode(),
        "etc/lab/b/qemu.conf": QEMU_CONF.format(port=49252, last_port=49299).encode(),
        "etc/lab/b/libvirtd.conf": LIBVIRTD.format(uuid="22222222-2222-4222-8222-222222222222").encode(),
    }
    for name, data in own.items():
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        (into / name).unlink(missing_ok=True)
        (into / name).write_bytes(data)
    (into / "guest/vmlinuz").hardlink_to(tree / "boot" / f"vmlinuz-{debian.kernel(tree)}")
    (into / "etc/lab-start").chmod(0o755)
    _busybox(into)
    return into


def _busybox(into: Path) -> None:
    """What the packages do not bring is busybox's: init, shell, and the small ones."""
    names = subprocess.run([str(into / "usr/bin/busybox"), "--list"], capture_output=True, text=True, check=True).stdout
    for name in names.split():
        at = into / "usr/bin" / name
        if not any(os.path.lexists(into / where / name) for where in ("usr/bin", "usr/sbin")):
            at.symlink_to("busybox")
    for name in ("init", "sh"):
        at = into / ("usr/sbin" if name == "init" else "usr/bin") / name
        at.unlink(missing_ok=True)
        at.symlink_to("/usr/bin/busybox")


def _guest(tree: Path) -> cpio.Archive:
    """A guest's initramfs: Python, the ports to its host, and a process with memory of its own."""
    root = cpio.Archive()
    for each in ("proc", "sys", "dev", "bin", "sbin", "usr/bin", "usr/sbin", "tmp"):
        root.directory(each)
    root.device("dev/console", 5, 1)
    for each in ("lib", "lib64"):
        root.link(each, f"usr/{each}")
    root.file("bin/busybox", (tree / "usr/bin/busybox").read_bytes(), 0o755)
    libraries = tree / "usr/lib/x86_64-linux-gnu"
    for path in sorted(libraries.iterdir()):
        if path.name.startswith(_GUEST_LIBRARIES):
            at = f"usr/lib/x86_64-linux-gnu/{path.name}"
            if path.is_symlink():
                root.link(at, str(path.readlink()))
            elif path.is_file():
                root.file(at, path.read_bytes(), 0o755)
    root.tree(tree / "usr/lib64", "usr/lib64")
    for name in ("python3", "python3.13"):
        path = tree / "usr/bin" / name
        if path.is_symlink():
            root.link(f"usr/bin/{name}", str(path.readlink()))
        else:
            root.file(f"usr/bin/{name}", path.read_bytes(), 0o755)
    dropped = (
        "test",
        "pydoc_data",
        "idlelib",
        "ensurepip",
        "lib2to3",
        "unittest",
        "tkinter",
        "xml",
        "email/test",
        "config-",
    )
    root.tree(tree / "usr/lib/python3.13", "usr/lib/python3.13", drop=dropped)
    for name, data in _modules(tree, *_GUEST_MODULES).items():
        root.file(name, data)
    root.file("guest.py", GUEST.read_bytes())
    root.file("init", _GUEST_INIT.encode(), 0o755)
    return root
