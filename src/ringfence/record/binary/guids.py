"""The GUIDs of firmware error records: what a section, a notification or a processor error structure is.

Sources: UEFI 2.10 N.2.1.1 (notification types), N.2.2 (section types), N.2.4.2.1 (IA32/X64 error structures); CXL 3.0
8.2.9.2.1 (event records, whose ids firmware uses as section types); Linux drivers/acpi/apei/erst.c and
arch/x86/kernel/cpu/mce/apei.c (creator and section types of Linux and Xen).
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

NIL: Final = UUID(int=0)
"""No GUID: what an unused field holds."""

PROCESSOR_GENERIC: Final = UUID("9876ccad-47b4-4bdb-b65e-16f193c4f3db")
PROCESSOR_IA32_X64: Final = UUID("dc3ea0b0-a144-4797-b95b-53fa242b6e1d")
PLATFORM_MEMORY: Final = UUID("a5bc1114-6f64-4ede-b863-3e83ed7c83b1")
PLATFORM_MEMORY_2: Final = UUID("61ec04fc-48e6-d813-25c9-8daa44750b12")
PCI_EXPRESS: Final = UUID("d995e954-bbc1-430f-ad91-b44dcb3c6f35")
FIRMWARE_RECORD: Final = UUID("81212a96-09ed-4996-9471-8d729c8e69ed")

LINUX_MCE: Final = UUID("fe08ffbe-95e4-4be7-bc73-4096044a38fc")
"""A bare ``struct mce`` (CPER_SECTION_TYPE_MCE), written to ERST by Linux and by Xen when they panic."""

LINUX_DMESG: Final = UUID("c197e04e-d545-4a70-9c17-a5549419eb12")
"""A part of the kernel log (CPER_SECTION_TYPE_DMESG), written to ERST by Linux's pstore."""

LINUX_DMESG_Z: Final = UUID("4f118707-04dd-4055-b5dd-956d34ddfac6")
"""The same, compressed (CPER_SECTION_TYPE_DMESG_Z)."""

LINUX_CREATOR: Final = UUID("75a574e3-5052-4b29-8a8e-be2c6490b89d")
"""The creator id of everything that Linux and Xen write (CPER_CREATOR_PSTORE, CPER_CREATOR_MCE)."""

OTHER_SECTIONS: Final = {
    PCI_EXPRESS: "PCI Express error",
    UUID("c5753963-3b84-4095-bf78-eddad3f9c9dd"): "PCI/PCI-X bus error",
    UUID("eb5e4685-ca66-4769-b6a2-26068b001326"): "PCI component/device error",
    UUID("5b51fef7-c79d-4434-8f1b-aa62de3e2c64"): "DMAr generic error",
    UUID("71761d37-32b2-45cd-a7d0-b0fedd93e8cf"): "Intel VT for Directed I/O DMAr error",
    UUID("036f84e1-7f37-428c-a79e-575fdfaa84ec"): "IOMMU DMAr error",
    # UEFI and Linux print a byte too many in this one; it is SAL's processor section.
    UUID("e429faf1-3cb7-11d4-bca7-0080c73c8881"): "IA64 processor error",
    UUID("e19e3d16-bc11-11e4-9caa-c2051d5d46b0"): "ARM processor error",
    UUID("91335ef6-ebfb-4478-a6a6-88b728cf75d7"): "CCIX PER log",
    UUID("80b9efb4-52b5-4de3-a777-68784b771048"): "CXL protocol error",
    UUID("fbcd0a77-c260-417f-85a9-088b1621eba6"): "CXL general media event",
    UUID("601dcbb3-9c06-4eab-b8af-4e9bfb5c9624"): "CXL DRAM event",
    UUID("fe927475-dd59-4339-a586-79bab113b774"): "CXL memory module event",
}
"""Sections that are no machine check: they are named, and not read."""

KNOWN_SECTIONS: Final = frozenset(
    {
        PROCESSOR_GENERIC,
        PROCESSOR_IA32_X64,
        PLATFORM_MEMORY,
        PLATFORM_MEMORY_2,
        FIRMWARE_RECORD,
        LINUX_MCE,
        LINUX_DMESG,
        LINUX_DMESG_Z,
        *OTHER_SECTIONS,
    }
)
"""Every section type that has a name here."""

NOTIFY_CMC: Final = UUID("2dce8bb1-bdd7-450e-b9ad-9cf4ebd4f890")
NOTIFY_MCE: Final = UUID("e8f56ffe-919c-4cc5-ba88-65abe14913bb")

NOTIFICATIONS: Final = {
    NOTIFY_CMC: "corrected machine check (CMC)",
    UUID("4e292f96-d843-4a55-a8c2-d481f27ebeee"): "corrected platform error (CPE)",
    NOTIFY_MCE: "machine check exception (MCE)",
    UUID("cf93c01f-1a16-4dfc-b8bc-9c4daf67c104"): "PCI Express error",
    UUID("cc5263e8-9308-454a-89d0-340bd39bc98e"): "INIT",
    UUID("5bad89ff-b7e6-42c9-814a-cf2485d6e98a"): "NMI",
    UUID("3d61a466-ab40-409a-a698-f362d464b38f"): "boot error (BOOT)",
    UUID("667dd791-c6b3-4c27-8a6b-0f8e722deb41"): "DMA remapping error",
}
"""How the error was notified, by the record header's notification type."""

CACHE_CHECK: Final = UUID("a55701f5-e3ef-43de-ac72-249b573fad2c")
TLB_CHECK: Final = UUID("fc06b535-5e1f-4562-9f25-0a3b9adb63c3")
BUS_CHECK: Final = UUID("1cf3f8b3-c5b1-49a2-aa59-5eef92ffa63c")
MS_CHECK: Final = UUID("48ab7f57-dc34-4f6c-a7d3-b0b5b0a74314")
