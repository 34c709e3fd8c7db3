"""A file of metrics for the textfile collector of Prometheus' node_exporter, where nobody scrapes the service itself.

Source: node_exporter's textfile collector (github.com/prometheus/node_exporter, "Textfile Collector"): it reads whole
files whose names end in .prom, in the text format; a file must be replaced, not written in place.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ringfence.errors import SourceError
from ringfence.service import control_protocol as say
from ringfence.service.attendants import House
from ringfence.service.measuring import exposed
from ringfence.views.exposition import Exposition


@dataclass(frozen=True, slots=True)
class TextfileOutlet:
    """The file, as an attendant. It goes when the service ends in order, so that nobody takes it for one that lives;
    after a kill it stays, and its time of change says how old it is (``node_textfile_mtime_seconds``).
    """

    path: Path
    interval_s: float
    name: str = "textfile"

    async def attend(self, house: House) -> None:
        """As ``Attendant.attend``. Raises SourceError if the file cannot be written."""
        try:
            while True:
                text = await exposed(house, Exposition.PROMETHEUS)
                if not isinstance(text, say.Refused):
                    await asyncio.to_thread(self._replace, text)
                    house.problems.says(self.name, "")
                await asyncio.sleep(self.interval_s)
        except OSError as error:
            advice = "Let the directory be writable for the service's user (ReadWritePaths= in its unit), or drop it."
            raise SourceError(self.path, error.strerror or str(error), advice=advice) from error
        finally:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)

    def _replace(self, text: str) -> None:
        new = self.path.with_name(f"{self.path.name}.new")  # no name that the collector reads
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o644)  # the collector is another user
            file.write(text)
        new.replace(self.path)
