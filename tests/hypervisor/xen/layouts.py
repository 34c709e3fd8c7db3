"""Where the fields of Xen's structures stand, by the names of the public headers, x86_64.

Source: sizeof and offsetof of xen/include/public/{sysctl,domctl}.h as a C compiler has them, from the trees of 4.17.0,
4.18.0, 4.19.0, 4.20.0, 4.21.0 and 4.22.0: the same in all six. Written down here apart from the code, so that the
two can disagree.
"""

from __future__ import annotations

from typing import Final

Layout = dict[str, tuple[int, int]]
"""Field: (offset, bytes)."""

SYSCTL: Final = 136, {"cmd": (0, 4), "interface_version": (4, 4), "u": (8, 128)}
DOMCTL: Final = 144, {"cmd": (0, 4), "interface_version": (4, 4), "domain": (8, 2), "u": (16, 128)}
PHYSINFO: Final = 112, {
    "threads_per_core": (0, 4), "cores_per_socket": (4, 4), "nr_cpus": (8, 4), "max_cpu_id": (12, 4),
    "capabilities": (28, 4), "total_pages": (40, 8), "free_pages": (48, 8), "max_mfn": (72, 8),
}  # fmt: skip
GETDOMAININFOLIST: Final = 24, {"first_domain": (0, 2), "max_domains": (4, 4), "buffer": (8, 8), "num_domains": (16, 4)}
PAGE_OFFLINE_OP: Final = 24, {"cmd": (0, 4), "start": (4, 4), "end": (8, 4), "status": (16, 8)}
CPU_HOTPLUG: Final = 8, {"cpu": (0, 4), "op": (4, 4)}
READCONSOLE: Final = 24, {"clear": (0, 1), "incremental": (1, 1), "index": (4, 4), "buffer": (8, 8), "count": (16, 4)}
GETDOMAININFO: Final = 112, {
    "domain": (0, 2), "flags": (4, 4), "tot_pages": (8, 8), "max_pages": (16, 8), "nr_online_vcpus": (64, 4),
    "max_vcpu_id": (68, 4), "handle": (76, 16), "gpaddr_bits": (96, 1), "arch_config.emulation_flags": (104, 4),
}  # fmt: skip
GETPAGEFRAMEINFO3: Final = 16, {"num": (0, 8), "array": (8, 8)}

SYSCTL_COMMANDS: Final = {
    "readconsole": 1,
    "physinfo": 3,
    "getdomaininfolist": 6,
    "cpu_hotplug": 11,
    "page_offline_op": 14,
}
DOMCTL_COMMANDS: Final = {"pausedomain": 3, "unpausedomain": 4, "getdomaininfo": 5, "getpageframeinfo3": 61}

VERSIONS: Final = {
    "4.17": (0x15, 0x15), "4.18": (0x15, 0x16), "4.19": (0x15, 0x17), "4.20": (0x15, 0x17), "4.21": (0x16, 0x17),
    "4.22": (0x16, 0x18),
}  # fmt: skip
"""XEN_SYSCTL_INTERFACE_VERSION and XEN_DOMCTL_INTERFACE_VERSION of each release."""


def put(layout: tuple[int, Layout], **values: int | bytes) -> bytearray:
    """A structure with these fields, and zeros."""
    size, fields = layout
    blob = bytearray(size)
    for name, value in values.items():
        at, width = fields[name.replace("__", ".")]
        blob[at : at + width] = value if isinstance(value, bytes) else value.to_bytes(width, "little")
    return blob


def get(layout: tuple[int, Layout], blob: bytes, name: str) -> int:
    """A field of a structure."""
    at, width = layout[1][name]
    return int.from_bytes(blob[at : at + width], "little")
