"""The timestamp of firmware error records: eight bytes, binary coded decimal (UEFI 2.10 N.2.1, ACPI 6.5 18.3.2.7.1)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

_PRECISE = 1


@dataclass(frozen=True, slots=True)
class FirmwareTime:
    """A timestamp as firmware wrote it: ``text``, and seconds since 1970 with its local time taken as UTC.

    ``precise``: the time is that of the error itself, not of its collection.
    """

    text: str
    epoch_s: float
    precise: bool

    @classmethod
    def unpack(cls, raw: bytes) -> FirmwareTime | None:
        """The time in eight bytes; None if they are no time (digits above 9, a 13th month, before 1970)."""
        digits = [10 * (byte >> 4) + (byte & 0xF) if byte >> 4 <= 9 and byte & 0xF <= 9 else -1 for byte in raw]
        second, minute, hour, _flag, day, month, year, century = digits
        if min(second, minute, hour, day, month, year, century) < 0:
            return None
        try:
            moment = datetime(100 * century + year, month, day, hour, minute, second, tzinfo=UTC)
        except ValueError:
            return None
        if moment.year < 1970:
            return None
        return cls(f"{moment:%Y-%m-%d %H:%M:%S}", moment.timestamp(), bool(raw[3] & _PRECISE))


def pack(epoch_s: float) -> bytes:
    """Seconds since 1970 as a timestamp in UTC, not flagged as precise. Raises ValueError before 1970 or after 9999."""
    try:
        moment = datetime.fromtimestamp(int(epoch_s), tz=UTC)
    except (OverflowError, OSError) as error:
        raise ValueError(f"{epoch_s} s is no time that a firmware timestamp can hold") from error
    if moment.year < 1970:
        raise ValueError(f"{epoch_s} s is before 1970")
    century, year = divmod(moment.year, 100)
    numbers = (moment.second, moment.minute, moment.hour, 0, moment.day, moment.month, year, century)
    return bytes(number // 10 << 4 | number % 10 for number in numbers)
