"""The console's files: read once from the package, served from memory by their names, and so by no other name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

PACKAGE: Final = "ringfence.views"
DIRECTORY: Final = "console"
INDEX: Final = "index.html"
MOST_FILES: Final = 256
"""Of the console; what is more has no place in a package that a Dom0 installs."""
MEDIA: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json",
    ".txt": "text/plain; charset=utf-8",
}
"""By the name's end: what the machine's own tables say differs from one to the next. Other files are not served."""


@dataclass(frozen=True, slots=True)
class File:
    """One file. ``etag`` is of its content (RFC 9110, 8.8.3)."""

    media: str
    body: bytes
    etag: str


def files() -> dict[str, File]:
    """Every file of the console by its path, ``index.html`` as the empty path as well."""
    root = resources.files(PACKAGE) / DIRECTORY
    found: dict[str, File] = {}
    if root.is_dir():
        _gather(root, "", found)
    if INDEX in found:
        found[""] = found[INDEX]
    return found


def _gather(directory: Traversable, prefix: str, found: dict[str, File]) -> None:
    for each in sorted(directory.iterdir(), key=lambda entry: entry.name):
        name = f"{prefix}{each.name}"
        if each.is_dir():
            _gather(each, f"{name}/", found)
        elif (media := MEDIA.get(name[name.rfind(".") :])) is not None and len(found) < MOST_FILES:
            body = each.read_bytes()
            found[name] = File(media, body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
