"""The many records of a kernel log as columns: one array for each field, with numpy, without an object for each record.

Only records in the printk form of Linux that are whole and plain beyond doubt come out as columns; the spans of all
other lines that may be evidence come with them, for the reader of single lines. Both readers find the same in a log.

Importing this package raises MissingExtraError where numpy is not installed.
"""

from __future__ import annotations

from importlib.util import find_spec

from ringfence.errors import MissingExtraError

if find_spec("numpy") is None:
    raise MissingExtraError("reading a log as columns", "columnar")

from ringfence.record.columns.blocks import Block, Span, scan_file, scan_stream, scan_text
from ringfence.record.columns.objects import record, record_of, records
from ringfence.record.columns.printk import Present
from ringfence.record.columns.ranges import map_ranges
from ringfence.record.columns.scan import Columns
from ringfence.record.columns.single import every_grammar, single_lines
from ringfence.record.columns.tokens import LineFilter

__all__ = [
    "Block",
    "Columns",
    "LineFilter",
    "Present",
    "Span",
    "every_grammar",
    "map_ranges",
    "record",
    "record_of",
    "records",
    "scan_file",
    "scan_stream",
    "scan_text",
    "single_lines",
]
