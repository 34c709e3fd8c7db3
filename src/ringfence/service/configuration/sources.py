"""``[sources]``: where evidence comes from besides the hypervisor."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Final, Self

import msgspec
from msgspec import Meta

from ringfence.errors import SourceError
from ringfence.service.configuration.section import FileName, Section

MOST_NAMED: Final = 16
"""Directories, files or sockets: each is followed in a thread of its own."""


class PageIsolation(StrEnum):
    """Who takes pages out of use that have had too many corrected errors."""

    RINGFENCE = "ringfence"
    OTHERS = "others"


class StandIn(StrEnum):
    """The guest that has every page which the evidence names, where the model stands in for this machine."""

    HVM = "hvm"
    HVM_PLAIN = "hvm-plain"
    PV = "pv"
    PV_PLAIN = "pv-plain"


class Sources(Section, frozen=True, kw_only=True):
    """Each source of a Linux host can be switched on and off."""

    host: Annotated[
        bool,
        Meta(
            description="Follow the evidence of the machine that Ringfence runs on, as far as it can be read. "
            "--hypervisor auto does so unless this key is set."
        ),
    ] = False
    kernel_log: Annotated[bool, Meta(description="With host: the kernel's log.")] = True
    kernel_log_path: Annotated[FileName, Meta(description="Its device.")] = "/dev/kmsg"
    tracefs: Annotated[
        bool, Meta(description="With host: the kernel's trace events (mce, ras), in an instance of Ringfence's own.")
    ] = True
    mcelog_device: Annotated[
        bool,
        Meta(description="With host: /dev/mcelog. What one reader takes another does not get: not beside mcelog."),
    ] = False
    mcelog_path: Annotated[FileName, Meta(description="Its device.")] = "/dev/mcelog"
    rasdaemon: Annotated[bool, Meta(description="With host: rasdaemon's database.")] = True
    rasdaemon_path: Annotated[FileName, Meta(description="Its file.")] = "/var/lib/rasdaemon/ras-mc_event.db"
    edac: Annotated[bool, Meta(description="With host: EDAC's counters.")] = True
    edac_path: Annotated[FileName, Meta(description="Their directory.")] = "/sys/devices/system/edac/mc"
    pstore: Annotated[
        bool, Meta(description="With host: what the kernel left when it died, in ERST, EFI variables or memory.")
    ] = True
    pstore_path: Annotated[FileName, Meta(description="Where the pstore file system is mounted.")] = "/sys/fs/pstore"
    erase_pstore: Annotated[
        bool,
        Meta(
            description="Erase a record there once it is in the journal. Somebody has to, or it fills up and the next "
            "crash is not recorded; systemd-pstore does, too, where it is enabled: let one of them do it."
        ),
    ] = False
    bert: Annotated[bool, Meta(description="With host: the error that firmware kept over a reset (ACPI BERT).")] = True
    bert_path: Annotated[FileName, Meta(description="Its data.")] = "/sys/firmware/acpi/tables/data/BERT"
    cper: Annotated[
        tuple[FileName, ...],
        Meta(max_length=MOST_NAMED, description="Directories into which something else puts CPER blobs."),
    ] = ()
    databases: Annotated[
        tuple[FileName, ...],
        Meta(max_length=MOST_NAMED, description="Databases of rasdaemon that are followed as they grow."),
    ] = ()
    files: Annotated[
        tuple[FileName, ...], Meta(max_length=MOST_NAMED, description="Logs that are followed as they grow.")
    ] = ()
    sockets: Annotated[
        tuple[FileName, ...],
        Meta(max_length=MOST_NAMED, description="Unix sockets to be made, to which others write evidence."),
    ] = ()
    page_isolation: Annotated[
        PageIsolation,
        Meta(
            description="Who takes pages with too many corrected errors out of use: Ringfence, or others on this "
            "machine (rasdaemon, mcelog, the kernel's RAS_CEC), to whom Ringfence then leaves them."
        ),
    ] = PageIsolation.RINGFENCE
    stand_in: Annotated[
        StandIn,
        Meta(description="Where the model stands in for this machine: the guest that has every page which is named."),
    ] = StandIn.HVM

    @property
    def any(self) -> bool:
        """Whether anything is to be followed."""
        return self.host or bool(self.cper or self.databases or self.files or self.sockets)

    def overridden(self, words: Sequence[str]) -> Self:
        """These, but that what is followed is what the command line says. Raises SourceError for a bad word.

        ``none`` and ``host`` stand alone, the others name what they follow: ``file:PATH``.
        """
        chosen = msgspec.structs.replace(self, host=False, cper=(), files=(), sockets=(), databases=())
        for word in words:
            kind, colon, path = word.partition(":")
            if word == "none":
                continue
            if word == "host":
                chosen = msgspec.structs.replace(chosen, host=True)
            elif colon and path and kind in _NAMED:
                field = _NAMED[kind]
                chosen = msgspec.structs.replace(chosen, **{field: (*getattr(chosen, field), path)})
            else:
                raise SourceError(word, "this is no source", advice=f"Sources are {SPELLINGS}.")
        if any(len(getattr(chosen, field)) > MOST_NAMED for field in _NAMED.values()):
            raise SourceError("--source", f"more than {MOST_NAMED} of a kind", advice="Name fewer.")
        return chosen


_NAMED: Final = {"file": "files", "socket": "sockets", "cper": "cper", "rasdaemon": "databases"}
SPELLINGS: Final = "host, none, file:PATH, socket:PATH, cper:DIRECTORY and rasdaemon:DATABASE"
"""What ``--source`` takes."""
