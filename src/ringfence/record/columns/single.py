"""The lines that are not plain records, on their way to the reader of single lines (``record.text.reader``)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from ringfence.record.columns.blocks import Block
from ringfence.record.columns.tokens import LineFilter
from ringfence.record.evidence import Format
from ringfence.record.text.lines import REMEMBERED_LINES, RawLine, strip
from ringfence.record.text.reader import GRAMMARS, MAX_INSIDE_LINES, TOKENS

_TOKENS_OF = tuple(
    (grammar, [token.encode() for token in grammar.tokens], [token.encode() for token in grammar.evidence_tokens])
    for grammar in GRAMMARS
)


@lru_cache(maxsize=REMEMBERED_LINES)
def bears_evidence(line: bytes) -> bool:
    """Whether a line is evidence by itself: some grammar reads it, or it promises to be and no grammar can."""
    body = strip(RawLine(1, line)).body
    for grammar, tokens, evidence_tokens in _TOKENS_OF:
        if any(token in line for token in evidence_tokens):
            return True
        fragment = grammar.read(body, False) if any(token in line for token in tokens) else None
        # What the kernel prints beside its records without content; a known line of another form may open a record.
        if fragment is not None and (fragment.part != "known" or fragment.format is not Format.PRINTK):
            return True
    return False


def every_grammar() -> LineFilter:
    """The lines that the reader of single lines wants, whichever grammar reads them."""
    return LineFilter(TOKENS, MAX_INSIDE_LINES, bears_evidence)


def single_lines(block: Block) -> Iterator[RawLine]:
    """The lines of a block that are for the reader of single lines, in the form in which it takes them."""
    for span in block.rest:
        text = block.text(span.start, span.end).removesuffix(b"\n")
        for number, line in enumerate(text.split(b"\n"), start=span.line):
            yield RawLine(number, line.removesuffix(b"\r"))
