"""Look-alike integers of a host, each a type of its own."""

from __future__ import annotations

from typing import Final, NewType

CpuId = NewType("CpuId", int)
"""A logical CPU (hardware thread) of the host, as the hypervisor counts them."""

SocketId = NewType("SocketId", int)
"""A physical package."""

DomainId = NewType("DomainId", int)
"""A domain: Xen's domid; on KVM a number that stays with the virtual machine as long as the host runs."""

VcpuId = NewType("VcpuId", int)
"""A virtual CPU within its domain."""

PhysAddr = NewType("PhysAddr", int)
"""A byte address in the host's physical memory (Xen: machine address)."""

Frame = NewType("Frame", int)
"""A page frame of the host (Xen: MFN): ``PhysAddr >> 12``."""

GuestFrame = NewType("GuestFrame", int)
"""A page frame as its domain counts: guest-physical (HVM, PVH) or pseudo-physical (PV)."""

CaseId = NewType("CaseId", int)
"""One hardware event under treatment; the numbers grow with time and are never used twice on a host."""

StepId = NewType("StepId", int)
"""One step of a case; the numbers grow with time and are never used twice on a host."""

DOM0: Final = DomainId(0)
"""The control domain; on KVM, host user space."""

DOMID_COW: Final = DomainId(0x7FF3)
"""No domain: Xen's owner of pages that guests share copy-on-write (public/xen.h; xen/arch/x86/mm/mem_sharing.c)."""

PAGE_SHIFT: Final = 12
PAGE_BYTES: Final = 1 << PAGE_SHIFT
OWN_CASES: Final = 1 << 40
"""Cases of Dom0's own (it acts ahead, it finds what an earlier boot left) have numbers above this, a seat's below."""

SUPERPAGE_FRAMES: Final = 512
"""Frames of a 2 MiB page."""
