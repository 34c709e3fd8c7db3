"""The policy from its file on disk."""

from __future__ import annotations

from pathlib import Path

from ringfence.decision.policy import DEFAULT
from ringfence.decision.policy_file import MAX_BYTES, PolicyFile, read
from ringfence.errors import SourceError


def load(path: str | Path | None) -> PolicyFile:
    """The policy of a file, or the one that holds without a file.

    Raises SourceError if the file cannot be read, PolicyError with all its problems if it is no policy.
    """
    if path is None:
        return PolicyFile(DEFAULT)
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        why = error.strerror or str(error)
        raise SourceError(path, why, advice="Name a policy file that you may read.") from error
    return read(data, str(path))
