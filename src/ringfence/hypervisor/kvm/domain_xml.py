"""What libvirt's description of a domain says that bears on its memory and on moving it.

Source: libvirt.org/formatdomain.html (memoryBacking, launchSecurity, hostdev, channel).
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Final

MOST_CHARACTERS: Final = 1 << 22
_KIB: Final = {"b": 1 / 1024, "KB": 1000 / 1024, "KiB": 1, "k": 1, "M": 1 << 10, "MiB": 1 << 10, "G": 1 << 20,
               "GiB": 1 << 20}  # fmt: skip
CHANNEL: Final = "org.ringfence.guest.0"
"""The virtio-serial port of Ringfence's agent in a guest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What a description says. ``huge_page_kib`` is 0 for ordinary pages, -1 for huge ones of the host's usual size.

    ``backing`` is what its memory is made of in libvirt's words ("" is anonymous memory); ``security`` the memory
    encryption ("sev", "sev-snp", "tdx", ""); ``passed_through``: it has devices of the host; ``agent_socket`` is the
    host's end of Ringfence's channel, "" without one.
    """

    huge_page_kib: int = 0
    backing: str = ""
    security: str = ""
    passed_through: bool = False
    agent_socket: str = ""


NOTHING_SAID: Final = Details()


def details(xml: str) -> Details:
    """What a description says; nothing if it is none. libvirt writes no document type: one that has it is not its."""
    if len(xml) > MOST_CHARACTERS or "<!DOCTYPE" in xml:
        return NOTHING_SAID
    try:
        root = ET.fromstring(xml)  # noqa: S314 (no entities without a document type)
    except ET.ParseError:
        return NOTHING_SAID
    backing, security = root.find("memoryBacking"), root.find("launchSecurity")
    source = backing.find("source") if backing is not None else None
    return Details(
        huge_page_kib=_huge_page_kib(backing),
        backing=source.get("type", "") if source is not None else "",
        security=security.get("type", "") if security is not None else "",
        passed_through=root.find("devices/hostdev") is not None,
        agent_socket=_agent_socket(root),
    )


def _huge_page_kib(backing: ET.Element | None) -> int:
    pages = backing.find("hugepages") if backing is not None else None
    if pages is None:
        return 0
    sizes = [_size_kib(page) for page in pages.findall("page")]
    return max(sizes) if sizes else -1


def _size_kib(page: ET.Element) -> int:
    try:
        return int(int(page.get("size", "0")) * _KIB.get(page.get("unit", "KiB"), 1))
    except ValueError:
        return -1


def _agent_socket(root: ET.Element) -> str:
    for channel in root.findall("devices/channel"):
        target, source = channel.find("target"), channel.find("source")
        if target is not None and source is not None and target.get("name") == CHANNEL:
            return source.get("path", "")
    return ""
