"""Program faults: one root, few leaves, each with its data and an advice for the operator.

A hardware fault is a value (a finding), never an exception.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class RingfenceError(Exception):
    """Root of every error that Ringfence raises on purpose.

    ``advice`` says in one sentence what the operator can do.
    """

    advice: str

    def __init__(self, message: str, *, advice: str) -> None:
        super().__init__(message)
        self.advice = advice


class DeclarationError(RingfenceError):
    """A table of the program contradicts itself (overlapping register fields, a rule that cannot match)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, advice="This is a defect of Ringfence: please report it with the message.")


class SourceError(RingfenceError):
    """A source of evidence cannot be opened or read at all."""

    def __init__(self, path: str | Path, message: str, *, advice: str) -> None:
        super().__init__(f"{path}: {message}", advice=advice)
        self.path = str(path)


class MissingExtraError(RingfenceError):
    """A feature needs an optional dependency that is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the optional dependencies '{extra}'",
            advice=f"Install them with: pip install 'ringfence[{extra}]'",
        )
        self.extra = extra


class FormatError(RingfenceError):
    """A binary blob is not what its header promises.

    ``offset`` is the byte offset within the blob at which the contradiction stands.
    """

    def __init__(self, message: str, *, offset: int = 0) -> None:
        super().__init__(
            f"{message} (at byte {offset})", advice="Keep the file: it is shown as unreadable evidence, not dropped."
        )
        self.offset = offset


class IllegalEventError(RingfenceError):
    """An event came that the flow's table does not allow in that state.

    ``state``, ``event`` and ``allowed`` are names of decision.flow.
    """

    def __init__(self, state: str, event: str, allowed: tuple[str, ...]) -> None:
        what = ", ".join(allowed) if allowed else "nothing: the part has ended"
        super().__init__(
            f"{event} is not allowed in state {state}; allowed: {what}",
            advice="This is a defect of Ringfence or of the backend: keep the journal and report it.",
        )
        self.state, self.event, self.allowed = state, event, allowed


class JournalError(RingfenceError):
    """The journal cannot be opened, read or written. ``path`` is its file."""

    def __init__(self, path: str | Path, message: str, *, advice: str) -> None:
        super().__init__(f"{path}: {message}", advice=advice)
        self.path = str(path)


class JournalDamagedError(JournalError):
    """The journal's file is not what was written into it."""


class JournalUnwritableError(JournalError):
    """The journal cannot be opened for writing, because its disk takes nothing: it is read-only, full, or fails."""


class NotWrittenError(JournalError):
    """Events could not be made durable, and none of them is written. ``unwritten`` are they, one encoded line each.

    This is what is raised where the disk fails or is read-only: the same events may be tried again.
    """

    def __init__(self, path: str | Path, message: str, unwritten: tuple[str, ...], *, advice: str) -> None:
        super().__init__(path, message, advice=advice)
        self.unwritten = unwritten


class JournalFullError(NotWrittenError):
    """There is no room left for an event, the reserve included."""

    def __init__(self, path: str | Path, unwritten: tuple[str, ...]) -> None:
        super().__init__(
            path,
            f"no room for {len(unwritten)} event(s), the reserve is used up",
            unwritten,
            advice="Make room on the disk, or raise the journal's limit; what was not written goes to the kernel log.",
        )


class SlowDiskError(NotWrittenError):
    """The disk has not answered yet: it is not known whether the events that it was given are durable."""

    def __init__(self, path: str | Path, unwritten: tuple[str, ...]) -> None:
        super().__init__(
            path,
            "its disk has not answered yet",
            unwritten,
            advice="See whether the disk of the state directory hangs (dmesg), or others keep it busy.",
        )


@dataclass(frozen=True, slots=True)
class FileProblem:
    """One thing that is wrong with a file: on which line (from 1), with which key, and what is allowed instead.

    ``key`` is empty where the file as a whole is wrong, ``allowed`` where nothing can be named.
    """

    line: int
    key: str
    problem: str
    allowed: str = ""

    def __str__(self) -> str:
        key = f"{self.key}: " if self.key else ""
        return f"{key}{self.problem}" + (f"; allowed: {self.allowed}" if self.allowed else "")


class FileError(RingfenceError):
    """A file that a person wrote is not what it should be: ``problems`` are all that is wrong, in the order of its
    lines.

    The message has one line a problem: ``path:line: key: problem; allowed: ...``.
    """

    ADVICE = ""

    def __init__(self, path: str | Path, problems: tuple[FileProblem, ...]) -> None:
        super().__init__("\n".join(f"{path}:{problem.line}: {problem}" for problem in problems), advice=self.ADVICE)
        self.path = str(path)
        self.problems = problems


class PolicyError(FileError):
    """A policy file is not one."""

    ADVICE = "Nothing of the file is in force. `ringfence policy default` prints every key with its meaning."


class ConfigurationError(FileError):
    """A configuration file is not one, or the policy that stands in it is not."""

    ADVICE = "Nothing of the file is in force. `ringfence config default` prints every key with its meaning."


class HypervisorError(RingfenceError):
    """The hypervisor cannot be reached at all, or answers what this version does not understand."""
