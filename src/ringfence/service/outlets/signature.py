"""Signatures by which a receiver knows that an event is from here, unchanged and new: the Standard Webhooks' way.

Source: the Standard Webhooks specification (standardwebhooks.com), symmetric signatures: HMAC-SHA256 over
``id.timestamp.body``, base64, with ``v1,`` before it; several signatures, for a secret that is being rotated, stand
side by side. A secret is 24 to 64 random bytes, in base64 with ``whsec_`` before it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import stat
from pathlib import Path
from typing import Final

from ringfence.errors import SourceError

PREFIX: Final = "whsec_"
LEAST_BYTES: Final = 24
MOST_BYTES: Final = 64
MOST_SECRETS: Final = 2
"""The one in use, and the one before it: more are not needed to rotate."""
_MOST_FILE_BYTES: Final = 4096

_MAKE_ONE: Final = "Make one: (umask 077; echo whsec_$(openssl rand -base64 32) > FILE), for the service's own user."


def signed(secrets: tuple[bytes, ...], message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The headers of an attempt; without a secret, all but the signature."""
    content = f"{message_id}.{timestamp_s}.".encode() + body
    headers = {"webhook-id": message_id, "webhook-timestamp": str(timestamp_s)}
    if secrets:
        made = (base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode() for secret in secrets)
        headers["webhook-signature"] = " ".join(f"v1,{each}" for each in made)
    return headers


def secrets_of(path: Path) -> tuple[bytes, ...]:
    """The secrets in a file, one a line, at most two.

    Raises SourceError if it cannot be read, if others than its owner can, or if a line is no secret.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            known = os.fstat(descriptor)
            text = os.read(descriptor, _MOST_FILE_BYTES)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise SourceError(path, error.strerror or str(error), advice=_MAKE_ONE) from error
    if not stat.S_ISREG(known.st_mode) or known.st_mode & 0o077:
        mode = stat.S_IMODE(known.st_mode)
        advice = f"chmod 600 {path}; then change the secret, for somebody may have read it."
        raise SourceError(path, f"others than its owner may read it (mode {mode:04o})", advice=advice)
    if known.st_uid not in {0, os.geteuid()}:
        advice = "Let it belong to the service's own user, or to root."
        raise SourceError(path, f"it belongs to somebody else (uid {known.st_uid})", advice=advice)
    lines = [line for line in text.decode("ascii", "replace").split("\n") if line.strip()]
    if not 1 <= len(lines) <= MOST_SECRETS:
        raise SourceError(path, f"it has {len(lines)} lines, and should have one or two secrets", advice=_MAKE_ONE)
    return tuple(_secret(path, number, line.strip()) for number, line in enumerate(lines, 1))


def _secret(path: Path, number: int, line: str) -> bytes:
    # What is wrong is said without the line: it may be nearly the secret.
    try:
        secret = base64.b64decode(line.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SourceError(path, f"line {number} is no secret: it is not base64", advice=_MAKE_ONE) from error
    if not LEAST_BYTES <= len(secret) <= MOST_BYTES:
        wanted = f"it has {len(secret)} bytes, and should have {LEAST_BYTES} to {MOST_BYTES}"
        raise SourceError(path, f"line {number} is no secret: {wanted}", advice=_MAKE_ONE)
    return secret
