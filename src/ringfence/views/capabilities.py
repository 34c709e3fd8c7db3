"""What a hypervisor can and cannot do, in words."""

from __future__ import annotations

from typing import Final

CAPABILITIES: Final = {
    "TREATS": "treat errors in the hypervisor itself (Dom0's seat does)",
    "PAUSE": "pause",
    "SAVE": "save",
    "RESTORE": "restore",
    "MIGRATE": "migrate",
    "SHUT_DOWN": "shut down",
    "RESTART": "restart",
    "DESTROY": "destroy",
    "NOTIFY_GUEST": "tell a guest's handler",
    "INJECT_VMCE": "inject a vMCE",
    "ISOLATE_FRAME": "take mappings away",
    "OFFLINE_FRAME": "take a page out of use",
    "EXCHANGE_FRAME": "exchange a page",
    "OFFLINE_CPU": "take a CPU out of use",
    "HALT": "halt the host",
    "FRAME_OWNER": "tell whose a page is",
    "MAPPINGS": "tell who maps a page",
}
"""What each ``hypervisor.port.Capability`` lets one do."""
