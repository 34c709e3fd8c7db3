"""A writer of ring-buffer pages and format files, as a kernel makes them: what the reader is tested against.

Layout: Linux include/linux/ring_buffer.h, kernel/trace/ring_buffer.c (rb_update_event, ring_buffer_read_page). The
format files are made of field lists; those of the events are the kernel's macros' (include/trace/events/mce.h,
include/ras/ras_event.h), placed by C's rules of alignment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PAGE_BYTES = 4096
HEADER_PAGE = """\
\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;
\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;
\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;
\tfield: char data;\toffset:16;\tsize:4080;\tsigned:0;
"""
_COMMON = (("unsigned short", "common_type", 2), ("unsigned char", "common_flags", 1),
           ("unsigned char", "common_preempt_count", 1), ("int", "common_pid", 4))  # fmt: skip


@dataclass(frozen=True)
class Event:
    """An event of a kernel: fields of (C type, name, size); ``print_fmt`` carries the enums' words."""

    system: str
    name: str
    id: int
    fields: tuple[tuple[str, str, int], ...]
    print_fmt: str = '""'

    def places(self) -> list[tuple[str, str, int, int]]:
        at, found = 0, []
        for kind, name, size in (*_COMMON, *self.fields):
            unit = 4 if "__data_loc" in kind or "__rel_loc" in kind else min(size, 8) if size in {1, 2, 4, 8} else 1
            at = -(-at // unit) * unit
            found.append((kind, name, at, size))
            at += size
        return found

    def format(self) -> str:
        lines = [f"name: {self.name}", f"ID: {self.id}", "format:"]
        for kind, name, at, size in self.places():
            signed = int(kind in {"int", "long", "s8"})
            lines.append(f"\tfield:{kind} {name};\toffset:{at};\tsize:{size};\tsigned:{signed};")
        return "\n".join([*lines, "", f"print fmt: {self.print_fmt}", ""])

    def payload(self, values: Mapping[str, int | bytes]) -> bytes:
        places = self.places()
        body = bytearray(places[-1][2] + places[-1][3])
        body[0:2] = self.id.to_bytes(2, "little")
        for kind, name, at, size in places:
            value = values.get(name)
            if value is None:
                continue
            if isinstance(value, int):
                body[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, "little")
            elif "_loc" in kind:
                start = len(body) - (at + size if "__rel_loc" in kind else 0)
                body[at : at + size] = (len(value) << 16 | start).to_bytes(4, "little")
                body.extend(value)
            else:
                body[at : at + size] = value.ljust(size, b"\0")
        return bytes(body)


def encode(kind: int, delta: int, *words: int) -> bytes:
    return b"".join(word.to_bytes(4, "little") for word in (kind | delta << 5, *words))


def data(payload: bytes, delta: int, *, long: bool = False) -> bytes:
    """One event of data: its length in the first word if it fits 28 words, else in a word of its own."""
    padded = payload + bytes(-len(payload) % 4)
    if long or len(padded) > 112 or not padded:
        return encode(0, delta, len(padded) + 4) + padded
    return encode(len(padded) >> 2, delta) + padded


def page(
    start_ns: int, events: Sequence[tuple[int, bytes]], missed: int | None = None, *, stored: bool = True
) -> bytes:
    """A page of events at the given times; a time extend stands before a delta of more than 27 bits."""
    body, now = b"", start_ns
    for time_ns, payload in events:
        delta, now = time_ns - now, time_ns
        if delta >> 27:
            body += encode(30, delta & (1 << 27) - 1, delta >> 27)
            delta = 0
        body += data(payload, delta)
    return raw_page(start_ns, body, missed, stored=stored)


def raw_page(start_ns: int, body: bytes, missed: int | None = None, *, stored: bool = True) -> bytes:
    commit = len(body)
    if missed is not None:
        commit |= 1 << 31 | (1 << 30 if stored else 0)
        if stored:
            body += missed.to_bytes(8, "little")
    return (start_ns.to_bytes(8, "little") + commit.to_bytes(8, "little") + body).ljust(PAGE_BYTES, b"\0")


_U64 = [("u64", name, 8) for name in ("mcgcap", "mcgstatus", "status", "addr", "misc", "synd", "ipid", "ip", "tsc")]
_U32 = [("u32", name, 4) for name in ("cpu", "cpuid", "apicid", "socketid")]
_U8 = [("u8", name, 1) for name in ("cs", "bank", "cpuvendor")]
MCE_6_1 = Event("mce", "mce_record", 117, (*_U64, ("u64", "walltime", 8), *_U32, *_U8))
MCE_6_13 = Event(
    "mce",
    "mce_record",
    121,
    (
        *_U64,
        ("u64", "ppin", 8),
        ("u64", "walltime", 8),
        *_U32,
        *_U8,
        ("u32", "microcode", 4),
        ("__data_loc u8[]", "v_data", 4),
    ),
)
MC_EVENT = Event(
    "ras",
    "mc_event",
    2206,
    (
        ("unsigned int", "error_type", 4), ("__data_loc char[]", "msg", 4), ("__data_loc char[]", "label", 4),
        ("u16", "error_count", 2), ("u8", "mc_index", 1), ("s8", "top_layer", 1), ("s8", "middle_layer", 1),
        ("s8", "lower_layer", 1), ("long", "address", 8), ("u8", "grain_bits", 1), ("long", "syndrome", 8),
        ("__data_loc char[]", "driver_detail", 4),
    ),
)  # fmt: skip
MEMORY_FAILURE = Event(
    "memory_failure",
    "memory_failure_event",
    300,
    (("unsigned long", "pfn", 8), ("int", "type", 4), ("int", "result", 4)),
    '"pfn %#lx: %s: %s", REC->pfn, '
    '__print_symbolic(REC->type, { 0, "reserved kernel page" }, { 11, "dirty LRU page" }), '
    '__print_symbolic(REC->result, { 0, "Ignored" }, { 3, "Recovered" })',
)
EXTLOG = Event(
    "ras",
    "extlog_mem_event",
    301,
    (
        ("u32", "err_seq", 4), ("u8", "etype", 1), ("u8", "sev", 1), ("u64", "pa", 8), ("u8", "pa_mask_lsb", 1),
        ("guid_t", "fru_id", 16), ("__data_loc char[]", "fru_text", 4), ("struct cper_mem_err_compact", "data", 59),
    ),
)  # fmt: skip
NON_STANDARD = Event(
    "ras",
    "non_standard_event",
    2204,
    (
        ("char", "sec_type[16]", 16), ("char", "fru_id[16]", 16), ("__data_loc char[]", "fru_text", 4),
        ("u8", "sev", 1), ("u32", "len", 4), ("__data_loc u8[]", "buf", 4),
    ),
)  # fmt: skip
AER = Event(
    "ras",
    "aer_event",
    303,
    (
        ("__data_loc char[]", "dev_name", 4), ("u32", "status", 4), ("u8", "severity", 1),
        ("u8", "tlp_header_valid", 1), ("u32", "tlp_header[4]", 16),
    ),
)  # fmt: skip
