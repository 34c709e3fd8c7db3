"""How full the store is in which a kernel that dies leaves its last words: what lies there, and what room is left.

Nobody can ask ERST how much it holds; of EFI variables the kernel tells since Linux 6.7 (fs/efivarfs/super.c, statfs).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from ringfence.service.sources.cper_directory import MAX_FILES

BACKEND: Final = Path("/sys/module/pstore/parameters/backend")
EFI_VARIABLES: Final = Path("/sys/firmware/efi/efivars")


@dataclass(frozen=True, slots=True)
class Room:
    """``records`` of ``used_bytes`` lie in ``backend`` (erst, efi_pstore, ramoops; empty: not known).

    ``free_bytes`` is None where nobody can tell.
    """

    records: int
    used_bytes: int
    backend: str = ""
    free_bytes: int | None = None


def room(path: Path, backend: Path = BACKEND, efi: Path = EFI_VARIABLES) -> Room | None:
    """What lies in the pstore mounted at ``path``; None if it may not be read."""
    try:
        sizes = [file.stat().st_size for file in islice(path.iterdir(), MAX_FILES) if file.is_file()]
    except OSError:
        return None
    try:
        name = backend.read_text().strip()
    except OSError:
        name = ""
    return Room(len(sizes), sum(sizes), name, _free(efi) if name.startswith("efi") else None)


def _free(efi: Path) -> int | None:
    try:
        found = os.statvfs(efi)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize if found.f_blocks else None
