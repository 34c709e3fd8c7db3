"""Which sources a configuration asks for: the one list of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ringfence.service.configuration.sources import Sources
from ringfence.service.intake import Followed
from ringfence.service.sources.cper_directory import CperDirectorySource, Eraser
from ringfence.service.sources.edac_sysfs import EdacSource
from ringfence.service.sources.file_source import FileSource
from ringfence.service.sources.kmsg import KmsgSource
from ringfence.service.sources.mcelog_device import McelogSource
from ringfence.service.sources.rasdaemon_follow import RasdaemonSource
from ringfence.service.sources.socket_source import SocketSource
from ringfence.service.sources.this_machine import signature_of_this_machine
from ringfence.service.sources.tracefs import TracefsSource


def followed(wanted: Sources) -> tuple[Followed, ...]:
    """The sources to be followed: first what an earlier boot left, then those that tell an error most quickly."""
    return (*(_of_host(wanted) if wanted.host else ()), *_named(wanted))


def _of_host(wanted: Sources) -> Iterator[Followed]:
    if wanted.bert:
        yield Followed(CperDirectorySource(name="bert", path=Path(wanted.bert_path)), sink="BERT")
    if wanted.pstore:
        eraser = Eraser.RINGFENCE if wanted.erase_pstore else Eraser.NOBODY_HERE
        pstore = CperDirectorySource(name="pstore", path=Path(wanted.pstore_path), eraser=eraser)
        yield Followed(pstore, sink="pstore", erases=wanted.erase_pstore)
    if wanted.tracefs:
        yield Followed(TracefsSource())
    if wanted.mcelog_device:
        yield Followed(McelogSource(path=Path(wanted.mcelog_path)))
    if wanted.kernel_log:
        yield Followed(
            KmsgSource(path=Path(wanted.kernel_log_path), processor=signature_of_this_machine()), expected=True
        )
    if wanted.rasdaemon:
        yield Followed(RasdaemonSource(path=Path(wanted.rasdaemon_path)))
    if wanted.edac:
        yield Followed(EdacSource(root=Path(wanted.edac_path)))


def _named(wanted: Sources) -> Iterator[Followed]:
    for path in dict.fromkeys(wanted.cper):
        yield Followed(CperDirectorySource(name=f"cper:{path}", path=Path(path)), expected=True)
    for path in dict.fromkeys(wanted.databases):
        yield Followed(RasdaemonSource(name=f"rasdaemon:{path}", path=Path(path)), expected=True)
    for path in dict.fromkeys(wanted.files):
        yield Followed(FileSource(Path(path), name=f"file:{path}"), expected=True)
    for path in dict.fromkeys(wanted.sockets):
        yield Followed(SocketSource(Path(path), name=f"socket:{path}"), expected=True)
