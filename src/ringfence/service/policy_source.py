"""The policy from its file on disk."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ringfence.decision.policy import DEFAULT, Policy
from ringfence.decision.policy_file import PolicyFile, read, write
from ringfence.decision.toml_document import MAX_BYTES
from ringfence.errors import SourceError


@dataclass(frozen=True, slots=True)
class Loaded:
    """A policy with the text that it was read from, as the journal keeps it."""

    file: PolicyFile
    text: str

    @property
    def policy(self) -> Policy:
        """What holds."""
        return self.file.policy

    @property
    def digest(self) -> str:
        """Tells policies apart: the first 16 hexadecimal digits of the text's SHA-256."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


def load(path: str | Path | None) -> PolicyFile:
    """The policy of a file, or the one that holds without a file.

    Raises SourceError if the file cannot be read, PolicyError with all its problems if it is no policy.
    """
    return PolicyFile(DEFAULT) if path is None else loaded(path).file


def loaded(path: str | Path | None, otherwise: Policy = DEFAULT) -> Loaded:
    """As ``load``, with the text; ``otherwise`` is what holds without a file."""
    if path is None:
        return Loaded(PolicyFile(otherwise), write(otherwise))
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        why = error.strerror or str(error)
        raise SourceError(path, why, advice="Name a policy file that you may read.") from error
    return Loaded(read(data, str(path)), data.decode())
