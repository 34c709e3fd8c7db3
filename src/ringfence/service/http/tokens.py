"""Tokens: made once, shown once, kept as a hash in a file of the state directory, each with its scopes and its end.

A token is 256 bits of chance, so that a plain SHA-256 of it keeps it secret: nothing slower is needed where there is
nothing to guess (OWASP, Password Storage, is about secrets that people choose).
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from ringfence.errors import SourceError
from ringfence.service.http.routes import Scope

FILE: Final = "tokens.json"
PREFIX: Final = "rf_"
"""Tells what it is where one is found: in a log, or by a scanner for leaked secrets."""
SECRET_BYTES: Final = 32
MOST_TOKENS: Final = 256
"""People and machines that talk to one host; each request looks at all of them."""
MOST_FILE_BYTES: Final = 1 << 18
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
"""Of a token: it stands in the journal, and on command lines."""

_ADVICE: Final = "Move the file away and make new tokens: ringfence token create."


class Token(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token as the file has it; times are milliseconds since the epoch, no end: ``expires_wall_ms`` None."""

    name: Annotated[str, Meta(pattern=f"^{NAME.pattern}$")]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    scopes: tuple[Scope, ...]
    created_wall_ms: int
    expires_wall_ms: int | None = None

    def is_valid(self, wall_ms: int) -> bool:
        """Whether it has not ended."""
        return self.expires_wall_ms is None or wall_ms < self.expires_wall_ms


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    tokens: Annotated[tuple[Token, ...], Meta(max_length=MOST_TOKENS)] = ()


_FILES: Final = msgspec.json.Decoder(_File)
_VERSION: Final = 1


def digest_of(secret: str) -> str:
    """The SHA-256 of a token in hexadecimal."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def read(path: Path) -> tuple[Token, ...]:
    """The tokens of a file; none if there is no file.

    Raises SourceError if it cannot be read, is none, or if others may read or write it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(MOST_FILE_BYTES + 1)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise SourceError(path, error.strerror or str(error), advice=_ADVICE) from error
    if stat.S_IMODE(mode) & 0o077:
        raise SourceError(path, "others may read or write it", advice=f"chmod 600 {path}, and make new tokens.")
    if len(data) > MOST_FILE_BYTES:
        raise SourceError(path, f"it has more than {MOST_FILE_BYTES} bytes", advice=_ADVICE)
    try:
        found = _FILES.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SourceError(path, f"it is no list of tokens: {error}", advice=_ADVICE) from error
    if found.version != _VERSION:
        raise SourceError(path, f"it is of version {found.version}, not {_VERSION}", advice=_ADVICE)
    return found.tokens


class Tokens:
    """The tokens of a file that may change at any time: read again whenever it is another one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, ...] | None = None
        self._tokens: tuple[Token, ...] = ()

    def now(self) -> tuple[Token, ...]:
        """What the file holds. Raises SourceError as ``read`` does: then no token is good."""
        try:
            known = self.path.stat()
        except FileNotFoundError:
            self._seen, self._tokens = None, ()
            return ()
        except OSError as error:
            raise SourceError(self.path, error.strerror or str(error), advice=_ADVICE) from error
        seen = known.st_ino, known.st_mtime_ns, known.st_ctime_ns, known.st_size
        if seen != self._seen:
            self._seen, self._tokens = None, ()
            self._tokens = read(self.path)
            self._seen = seen
        return self._tokens

    def of(self, secret: str, wall_ms: int) -> Token | None:
        """The valid token of a secret. Every one is compared, in a time that says nothing of them."""
        digest = digest_of(secret)
        found = None
        for each in self.now():
            if hmac.compare_digest(each.sha256, digest):
                found = each
        return found if found is not None and found.is_valid(wall_ms) else None

    def holds(self, token: Token, wall_ms: int) -> bool:
        """Whether a token that was good is there still, and good."""
        return token in self.now() and token.is_valid(wall_ms)


# --- changes (ringfence token) ----------------------------------------------------------------------------------------


def create(
    path: Path, name: str, scopes: tuple[Scope, ...], *, wall_ms: int, expires_wall_ms: int | None = None
) -> str:
    """Add a token; what is given back is the secret, which is kept nowhere. Raises SourceError."""
    if not NAME.fullmatch(name):
        advice = "A name has 1 to 64 of: letters, digits, . _ @ -"
        raise SourceError(path, f"{name!r} is no name for a token", advice=advice)
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    made = Token(
        name=name,
        sha256=digest_of(secret),
        scopes=scopes,
        created_wall_ms=wall_ms,
        expires_wall_ms=expires_wall_ms,
    )
    with _locked(path):
        known = tuple(each for each in read(path) if each.is_valid(wall_ms))
        if any(each.name == name for each in known):
            advice = f"Take another name, or first: ringfence token revoke {name}"
            raise SourceError(path, f"there is a token {name} already", advice=advice)
        if len(known) >= MOST_TOKENS:
            advice = "Revoke those that nobody uses: ringfence token list"
            raise SourceError(path, f"there are {MOST_TOKENS} tokens already", advice=advice)
        _write(path, (*known, made))
    return secret


def revoke(path: Path, name: str) -> Token:
    """Take a token away, and every session that began with it. Raises SourceError if there is none of this name."""
    with _locked(path):
        known = read(path)
        for each in known:
            if each.name == name:
                _write(path, tuple(other for other in known if other is not each))
                return each
    raise SourceError(path, f"there is no token {name}", advice="ringfence token list shows what there is.")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One change at a time: the lock is a file beside it, for the file itself is replaced."""
    try:
        lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        _give_to_owner(lock, path)
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _write(path: Path, tokens: tuple[Token, ...]) -> None:
    """Replace the file as a whole: a reader sees all of the old or all of the new, a crash leaves one of them."""
    new = path.with_name(f"{path.name}.new")
    try:
        new.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(new, flags, 0o600), "wb") as file:
            _give_to_owner(file.fileno(), path)
            file.write(msgspec.json.format(msgspec.json.encode(_File(_VERSION, tokens))) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise _unwritable(path, error) from error


def _give_to_owner(file: int, path: Path) -> None:
    """Root makes tokens for a service that has a user of its own: the one that the state directory belongs to."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.fchown(file, owner.st_uid, owner.st_gid)


def _unwritable(path: Path, error: OSError) -> SourceError:
    advice = "Run it as root or as the service's user, and name the service's --state-dir."
    return SourceError(path, error.strerror or str(error), advice=advice)
