"""A text log to evidence: candidate lines, grammars, assembly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ringfence.record.evidence import Evidence, Format, Lull
from ringfence.record.text import (
    amd_decoded,
    bmc,
    edac,
    esxi,
    freebsd,
    ghes,
    mce_inject,
    mcelog,
    mcelog_client,
    memory_failure,
    printk,
    qemu,
    rasdaemon,
    xen_console,
)
from ringfence.record.text.assemble import SILENCE, WHOLE, Piece, assemble
from ringfence.record.text.grammar import Fragment, Grammar
from ringfence.record.text.lines import LULL, REMEMBERED_LINES, WHOLE_RECORD, Line, RawLine, unwrapped

GRAMMARS: tuple[Grammar, ...] = (
    mcelog.GRAMMAR,
    printk.GRAMMAR,
    amd_decoded.GRAMMAR,
    edac.GRAMMAR,
    memory_failure.GRAMMAR,
    ghes.GRAMMAR,
    rasdaemon.GRAMMAR,
    xen_console.GRAMMAR,
    mcelog_client.GRAMMAR,
    qemu.GRAMMAR,
    esxi.GRAMMAR,
    freebsd.GRAMMAR,
    bmc.GRAMMAR,
    mce_inject.GRAMMAR,
)
"""Every textual format. The first that reads a line has it, except that an open multi-line record comes first."""

TOKENS: tuple[bytes, ...] = tuple(sorted({token.encode() for grammar in GRAMMARS for token in grammar.tokens}))
"""A line with none of these can be evidence only inside a multi-line record (``Grammar.inside_lines``)."""

_EVIDENCE_TOKENS = tuple(sorted({token for grammar in GRAMMARS for token in grammar.evidence_tokens}))
_XEN_FIRST = (xen_console.GRAMMAR, *(grammar for grammar in GRAMMARS if grammar is not xen_console.GRAMMAR))
_INSIDE = tuple(grammar for grammar in GRAMMARS if grammar.inside_lines)


_MARKS = {WHOLE_RECORD: WHOLE, LULL: SILENCE}


class _Reading:
    """Which multi-line formats are open, from line to line."""

    def __init__(self) -> None:
        self._last_line: dict[Format, int] = {}
        self._read: dict[tuple[str, str, bool, tuple[Format, ...]], tuple[Fragment | None, Grammar | None, bool]] = {}

    def _open(self, number: int) -> list[Grammar]:
        """The formats of which a record may go on in this line."""
        last = self._last_line
        return [
            grammar for grammar in _INSIDE if grammar.format in last
            and 0 < number - last[grammar.format] <= grammar.inside_lines
        ] if last else []  # fmt: skip

    def fragment(self, line: Line) -> tuple[Fragment | None, bool]:
        """What a line says, and whether it promises evidence though nothing reads it.

        Lines that repeat, as in a storm or an archive, are read once.
        """
        open_grammars = self._open(line.number)
        key = (line.text, line.body, line.xen, tuple([grammar.format for grammar in open_grammars]))
        known = self._read.get(key)
        if known is None:
            if len(self._read) >= REMEMBERED_LINES:
                self._read.clear()
            found, grammar = _first_reading(line, open_grammars)
            known = self._read[key] = (found, grammar, found is None and _promises(line))
        found, grammar, promises = known
        if grammar is not None and grammar.inside_lines:
            self._last_line[grammar.format] = line.number
        return found, promises


def _first_reading(line: Line, open_grammars: list[Grammar]) -> tuple[Fragment | None, Grammar | None]:
    """The fragment that the first grammar makes of a line, open records' grammars first; and that grammar."""
    for grammar in open_grammars:
        if (found := grammar.read(line.body, True)) is not None:
            return found, grammar
    for grammar in _XEN_FIRST if line.xen else GRAMMARS:
        if grammar in open_grammars or not any(token in line.text for token in grammar.tokens):
            continue
        if (found := grammar.read(line.body, False)) is not None:
            return found, grammar
    return None, None


def _promises(line: Line) -> bool:
    return any(token in line.text for token in _EVIDENCE_TOKENS)


def pieces(lines: Iterable[RawLine]) -> Iterator[Piece]:
    """The lines that are evidence, or promise to be and cannot be read; all others are passed over."""
    reading = _Reading()
    for line in unwrapped(lines):
        if line.raw in _MARKS:
            yield Piece(line, _MARKS[line.raw])
            continue
        if not line.body:
            continue
        fragment, promises = reading.fragment(line)
        if fragment is not None or promises:
            yield Piece(line, fragment)


def follow(lines: Iterable[RawLine], file: str) -> Iterator[Evidence | Lull]:
    """Evidence in a text log, in file order, and the lulls that ``lines`` marks; memory is bounded by one burst.

    ``lines`` may leave out lines that contain none of ``TOKENS`` and are further than ``MAX_INSIDE_LINES`` from one
    that does.
    """
    return assemble(pieces(lines), file)


def read(lines: Iterable[RawLine], file: str) -> Iterator[Evidence]:
    """The same of lines that are all there: no lulls."""
    return (item for item in follow(lines, file) if not isinstance(item, Lull))


MAX_INSIDE_LINES = max((grammar.inside_lines for grammar in GRAMMARS), default=0)
