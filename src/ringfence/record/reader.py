"""A source to evidence: binary forms by their detectors, everything else as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ringfence.record.evidence import Evidence, Origin, Unrecognised
from ringfence.record.sources import Block, Damaged, Source, blocks, opened
from ringfence.record.text import reader as text
from ringfence.record.text.lines import RawLine


def raw_lines(block: Block) -> Iterator[RawLine]:
    """The lines of a block, numbered, without their line ends."""
    data = block.data
    number, at = block.first_line, 0
    while at < len(data):
        end = data.find(b"\n", at)
        if end < 0:
            end = len(data)
        yield RawLine(number, data[at:end].removesuffix(b"\r"))
        number += 1
        at = end + 1


def read(source: Source, progress: Callable[[int], None] | None = None) -> Iterator[Evidence]:
    """Every piece of evidence in a source, in its order; memory is bounded.

    A compressed source that is damaged yields what could be unpacked, then one ``Unrecognised`` for the rest.
    Raises SourceError if the source cannot be opened.
    """
    stream = opened(source)
    damage: list[Unrecognised] = []

    def lines() -> Iterator[RawLine]:
        offset = 0
        try:
            for block in blocks(stream, progress=progress):
                yield from raw_lines(block)
                offset = block.offset + len(block.data)
        except Damaged as error:
            damage.append(
                Unrecognised(Origin(source.name, offset=offset), b"", f"the rest cannot be unpacked: {error}")
            )

    with stream:
        yield from text.read(lines(), source.name)
        yield from damage
