"""Who else on this host acts on the same errors, held against what the configuration says: for health and ``doctor``.

Two that take pages out of use do it twice, spend twice the budget, and each counts what the other hid. Ringfence stops
nobody: the configuration says who does it, and these sentences say whether the host is as the configuration has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ringfence.errors import SourceError
from ringfence.service.configuration.sources import PageIsolation, Sources
from ringfence.service.sources.host_facts import HostFiles, Statement, Topic, is_firmware_first, statements
from ringfence.service.sources.kmsg import KmsgDevice, parse
from ringfence.service.sources.pstore_room import Room, room

_SHOWN: Final = 300
"""Of the evidence for one sentence, characters: the rest stands in sentences of its own."""
LOG_BYTES: Final = 1 << 22
"""Of the kernel's log: four times what it holds unless log_buf_len= says more."""

_TAKES_PAGES: Final = frozenset({Topic.RAS_CEC, Topic.PAGE_ISOLATION})


@dataclass(frozen=True, slots=True)
class Fact:
    """Something to know of this host: what is so, by which evidence, and what can be done (empty: nothing need be).

    ``clashes``: the host is not as the configuration has it. ``tells_source``: it says by what way evidence comes here.
    """

    text: str
    evidence: str
    advice: str = ""
    clashes: bool = False
    tells_source: bool = False


def left_to_others(wanted: Sources) -> str:
    """Whom Ringfence leaves pages with too many corrected errors to; empty if it takes them out of use itself."""
    return "others on this machine" if wanted.page_isolation is PageIsolation.OTHERS else ""


def facts_of(wanted: Sources, found: tuple[Statement, ...]) -> tuple[Fact, ...]:
    """What the statements of ``host_facts`` mean under a configuration, what clashes first. Pure."""
    all_ = (*_page_isolation(wanted, found), *_firmware(found), *_readers(wanted, found), *_rest(found))
    return tuple(sorted(all_, key=lambda fact: not fact.clashes))


def facts(wanted: Sources) -> tuple[Fact, ...]:
    """The same of the host that this process runs on. Reads files only, and the kernel's log if it may."""
    found = statements(HostFiles(log=tuple(kernel_log(Path(wanted.kernel_log_path)))))
    known = room(Path(wanted.pstore_path)) if wanted.pstore else None
    return (*(last_words(known, erases=wanted.erase_pstore) if known is not None else ()), *facts_of(wanted, found))


FULL_BYTES: Final = 48 << 10
"""So much lies in an ERST that is nearly full: 64 KiB is a common size, a kernel's last words take 8 KiB and more."""
LEAST_FREE_BYTES: Final = 64 << 10
"""Of EFI variables: the kernel keeps 5 KiB for itself, firmware wants more, a dump is some ten variables of 1 KiB."""


def last_words(known: Room, *, erases: bool) -> Iterator[Fact]:
    """What is to be said of the store for a kernel's last words: who erases there, and whether it is full. Pure."""
    if not known.records:
        return
    is_full = known.used_bytes >= FULL_BYTES if known.free_bytes is None else known.free_bytes < LEAST_FREE_BYTES
    where = f"pstore ({known.backend})" if known.backend else "pstore"
    lie = f"{known.records} record{'s' * (known.records != 1)} of {known.used_bytes >> 10} KiB lie in {where}"
    free = "" if known.free_bytes is None else f", {known.free_bytes >> 10} KiB are free"
    if is_full:
        yield Fact(
            f"{lie}{free}: it is full or nearly so, and then the next crash is not recorded",
            where,
            "Let one erase what has been read: [sources] erase-pstore = true, or systemctl enable systemd-pstore.",
            clashes=True,
        )
    elif not erases:
        yield Fact(
            f"{lie}{free}; Ringfence has read them and erases nothing",
            where,
            "Let one erase them: systemd-pstore (which moves them to /var/lib/systemd/pstore), or erase-pstore = true.",
        )


def kernel_log(path: Path) -> Iterator[str]:
    """The lines that the kernel's log holds now; none if it may not be read."""
    try:
        device = KmsgDevice(path)
    except SourceError:
        return
    read = 0
    with closing(device), suppress(BlockingIOError):
        while read < LOG_BYTES:
            try:
                raw = device.read()
            except BlockingIOError:
                raise
            except OSError:
                continue  # overwritten meanwhile
            if not raw:
                return
            read += len(raw)
            record = parse(raw)
            if record is not None:
                yield record.text.decode("utf-8", "replace")


def _page_isolation(wanted: Sources, found: tuple[Statement, ...]) -> Iterator[Fact]:
    others = [each for each in found if each.topic in _TAKES_PAGES]
    ringfence = wanted.page_isolation is PageIsolation.RINGFENCE
    for each in others:
        advice = each.consequence if ringfence else ""
        more = ' Or leave pages to it: [sources] page-isolation = "others".' if ringfence else ""
        yield Fact(each.text, _evidence(each), f"{advice}.{more}" if advice else "", clashes=ringfence)
    if not others and not ringfence:
        yield Fact(
            "The configuration leaves pages with too many corrected errors to others, and nobody here takes them out",
            "[sources] page-isolation",
            'Set page-isolation = "ringfence", or start who is to do it (rasdaemon, mcelog, RAS_CEC).',
            clashes=True,
        )


def _firmware(found: tuple[Statement, ...]) -> Iterator[Fact]:
    if is_firmware_first(found):
        yield Fact(
            "Firmware takes errors first on this host: banks are hidden from the kernel, and evidence comes as "
            "firmware's records (GHES), as much of it as firmware chooses",
            "; ".join(dict.fromkeys(_evidence(each) for each in found if each.topic is Topic.FIRMWARE_FIRST))[:_SHOWN],
            "Follow the kernel's log and its trace events: they carry these records. Thresholds are firmware's: see "
            "its set-up (often: WHEA, eMCA, firmware first).",
            tells_source=True,
        )
    for each in found:
        if each.topic is Topic.FIRMWARE_FIRST:
            yield Fact(each.text, _evidence(each), each.consequence)


def _readers(wanted: Sources, found: tuple[Statement, ...]) -> Iterator[Fact]:
    for each in found:
        if each.topic is not Topic.DAEMON:
            continue
        takes_away = "mcelog" in each.text and wanted.host and wanted.mcelog_device
        advice = "Set [sources] mcelog-device = false, or stop the daemon." if takes_away else each.consequence
        yield Fact(each.text, _evidence(each), advice, clashes=takes_away)


def _rest(found: tuple[Statement, ...]) -> Iterator[Fact]:
    for each in found:
        if each.topic in {Topic.KERNEL_PARAMETER, Topic.MEMORY_FAILURE}:
            yield Fact(each.text, _evidence(each), each.consequence)


def _evidence(each: Statement) -> str:
    return f"{each.file}: {each.evidence}"
