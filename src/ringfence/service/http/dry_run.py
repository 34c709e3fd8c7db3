"""The process that tries a policy: it plays events to a model host, under the policy in force and the proposed one.

``python -m ringfence.service.http.dry_run`` reads a ``Trial`` as JSON from its input and writes a ``Tried`` to its
output. It touches nothing but a temporary directory, and asks the kernel for nothing that the service's unit denies it:
no limits, no priority. What bounds it is that ``trial`` ends it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import msgspec

from ringfence.decision.policy_file import read
from ringfence.diagnosis.finding import Event, diagnose
from ringfence.errors import RingfenceError
from ringfence.journal.events import Received, from_text
from ringfence.record.evidence import Unrecognised
from ringfence.service.http.trial import Compared, Trial, Tried
from ringfence.service.replay import Played, replay
from ringfence.views import replay as view


def run(trial: Trial, directory: Path) -> Tried:
    """Put the events to a model host under both policies. Raises PolicyError."""
    policies = tuple(read(text.encode()).policy for text in (trial.in_force, trial.proposed))
    stored = {number: event for number, text in trial.events if isinstance(event := from_text(text), Received)}
    numbered = [Event(number, diagnose(event.record), event.count) for number, event in stored.items()]
    found = replay(numbered, policies, directory, stand_in=trial.stand_in)
    return Tried(events=tuple(_compared(each) for each in found if not isinstance(each, Unrecognised)))


def _compared(played: tuple[Played, ...]) -> Compared:
    event = played[0].event
    corrected = event.finding.severity == "CORRECTED"
    in_force, proposed = (
        view.outcome(each.outcome, each.ahead, halted=each.halted, corrected=corrected) for each in played
    )
    return Compared(
        number=event.number,
        severity=event.finding.severity,
        summary=event.finding.summary,
        in_force=in_force,
        proposed=proposed,
        differs=in_force != proposed,
    )


def main() -> int:
    """The process; the exit code."""
    trial = msgspec.json.decode(sys.stdin.buffer.read(), type=Trial)
    try:
        with tempfile.TemporaryDirectory(prefix="ringfence-dry-run-") as directory:
            found = run(trial, Path(directory))
    except RingfenceError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
