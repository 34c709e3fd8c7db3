"""What each release of Xen does about machine checks, as far as it matters to who listens in Dom0: facts, by version.

Read in the sources of the releases from 4.13.0 to 4.22.0. A distribution may have taken a fix into an older version:
the version alone proves nothing, and what is seen counts more.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

Version = tuple[int, int, int]
"""Major, minor, patch."""

LEAST: Final = (4, 17)
"""The oldest whose interfaces are known here (sysctl 0x15, domctl 0x15)."""
MOST: Final = (4, 22)
"""The newest whose headers were read."""
RUN_ON: Final = frozenset({(4, 17), (4, 20)})
"""Major and minor of the releases on which Ringfence was run; of the others the headers were compared, no more."""

_VERSION: Final = re.compile(r"(\d{1,3})\.(\d{1,3})(?:\.(\d{1,3}))?")


HOME: Final = Path("/sys/hypervisor/version")


def version(home: Path = HOME) -> str:
    """Xen's version, as Dom0's kernel tells it ("4.20.3")."""
    try:
        return ".".join(
            (home / each).read_text().strip().lstrip(".") for each in ("major", "minor", "extra")
        ).removesuffix(".")
    except OSError:
        return "of an unknown version"


def parsed(text: str) -> Version | None:
    """The version in Xen's words ("4.20.3", "4.21-unstable"); None if there is none."""
    found = _VERSION.match(text)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3] or 0))


_FIXED: Final[dict[tuple[int, int], int]] = {(4, 19): 4, (4, 20): 2}
"""Releases whose stable branch has the fix: from this patch on (01b8bc41e8 in 4.19.4, 247b708b14 in 4.20.2)."""
_BROKEN_FROM: Final = (4, 13)
"""560cf418c845 ("x86/mcheck: allow varying bank counts per CPU")."""
_FIXED_FROM: Final = (4, 21)
"""532988dccc ("x86/mcheck: fix mca_allbanks updating")."""


def scan_is_broken(version: Version) -> bool:
    """Whether this release, as upstream made it, reads no bank at a machine check: it sets the bit of each bank in the
    mask that it then throws away (mca_cap_init). 4.17 and 4.18 never got the fix.
    """
    release = version[:2]
    if release in _FIXED:
        return version[2] < _FIXED[release]
    return _BROKEN_FROM <= release < _FIXED_FROM
