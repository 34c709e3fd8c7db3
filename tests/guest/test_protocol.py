"""What a host and an agent say: every message comes back as it was said, and nothing else is one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.guest import protocol as wire
from ringfence.guest.protocol import (
    Ability,
    Alive,
    Answer,
    Deed,
    Fault,
    Hello,
    Lines,
    Outcome,
    ProtocolError,
    Range,
    Told,
    Unwelcome,
    Welcome,
    What,
    Who,
    encoded,
    from_guest,
    from_host,
)

numbers = st.integers(0, wire.MOST_NUMBER)
said = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=wire.WHY_CHARACTERS)
pages = st.builds(
    Range,
    st.integers(0, (wire.TOP - wire.RANGE_BYTES) // 4096).map(lambda page: page * 4096),
    st.integers(1, wire.RANGE_BYTES // 4096).map(lambda count: count * 4096),
)
from_hosts = st.one_of(
    st.just(Who()),
    st.builds(Welcome, st.integers(1, 255), st.integers(1, 3600)),
    st.builds(Unwelcome, said),
    st.builds(
        Told,
        id=numbers,
        case=numbers,
        what=st.sampled_from(What),
        must_act=st.booleans(),
        ranges=st.lists(pages, min_size=1, max_size=wire.MOST_RANGES).map(tuple),
        deadline_ms=st.integers(0, wire.MOST_DEADLINE_MS),
    ),
)
from_guests = st.one_of(
    st.just(Alive()),
    st.builds(
        Hello,
        st.integers(1, 255),
        st.integers(1, 255),
        said.map(lambda text: text[:64]),
        st.lists(st.sampled_from(Ability), unique=True).map(tuple),
    ),
    st.builds(
        Answer,
        id=numbers,
        case=numbers,
        outcome=st.sampled_from(Outcome),
        did=st.lists(st.sampled_from(Deed), unique=True).map(tuple),
        why=said,
    ),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@given(from_hosts)
def test_what_a_host_says_comes_back_as_it_was_said(message: wire.FromHost) -> None:
    assert from_host(encoded(message)) == message


@given(from_guests)
def test_what_an_agent_says_comes_back_as_it_was_said(message: wire.FromGuest) -> None:
    assert from_guest(encoded(message)) == message


def test_the_longest_message_of_each_kind_is_within_the_bound() -> None:
    longest = Range(wire.TOP - wire.RANGE_BYTES, wire.RANGE_BYTES)
    told = Told(
        id=wire.MOST_NUMBER, case=wire.MOST_NUMBER, what=What.ENDANGERED, must_act=False,
        ranges=(longest,) * wire.MOST_RANGES, deadline_ms=wire.MOST_DEADLINE_MS,
    )  # fmt: skip
    answer = Answer(
        id=wire.MOST_NUMBER, case=wire.MOST_NUMBER, outcome=Outcome.NOT_OURS, did=tuple(Deed), why='"' * 200
    )
    hello = Hello(255, 255, "\\" * 64, tuple(Ability))
    assert max(len(encoded(each)) for each in (told, answer, hello, Unwelcome('"' * 200))) < wire.MESSAGE_BYTES


def test_a_line_can_be_read_by_a_person() -> None:
    told = Told(id=7, case=3, what=What.LOST, must_act=True, ranges=(Range(0x1000),), deadline_ms=1000)
    assert encoded(told) == (
        b'{"say":"told","id":7,"case":3,"what":"lost","must_act":true,"ranges":[[4096,4096]],"deadline_ms":1000}'
    )


@given(st.binary(max_size=300))
def test_bytes_are_a_message_or_a_fault_never_anything_else(data: bytes) -> None:
    for read in (from_host, from_guest):
        with pytest.raises(ProtocolError):
            read(data)


@given(st.sampled_from((*wire.KINDS_FROM_HOST, *wire.KINDS_FROM_GUEST)), st.data())
def test_a_field_of_any_other_make_is_a_fault_and_no_crash(kind: wire.Kind, data: st.DataObject) -> None:
    body = {"say": kind.says} | {each.name: data.draw(anything) for each in kind.fields}
    for read in (from_host, from_guest):
        try:
            message = read(json.dumps(body).encode())
        except ProtocolError as error:
            assert error.fault in Fault
        else:
            assert len(encoded(message)) <= wire.MESSAGE_BYTES


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"", Fault.NOT_JSON),
        (b"\xff\xfe", Fault.NOT_JSON),
        (b"[" * 1990, Fault.NOT_JSON),
        (b'{"say":"alive"}' + b" " * 2000, Fault.TOO_LONG),
        (b"9" * 1900, Fault.UNKNOWN),
        (b'"alive"', Fault.UNKNOWN),
        (b'{"say":["alive"]}', Fault.UNKNOWN),
        (b'{"say":"told"}', Fault.UNKNOWN),
        (b'{"say":"answer"}', Fault.BAD_FIELD),
        (b'{"say":"answer","id":true,"case":0,"outcome":"healed","did":[],"why":""}', Fault.BAD_FIELD),
        (b'{"say":"answer","id":1.0,"case":0,"outcome":"healed","did":[],"why":""}', Fault.BAD_FIELD),
        (b'{"say":"answer","id":-1,"case":0,"outcome":"healed","did":[],"why":""}', Fault.BAD_FIELD),
        (b'{"say":"answer","id":1,"case":0,"outcome":"died","did":[],"why":""}', Fault.BAD_FIELD),
        (b'{"say":"answer","id":1,"case":0,"outcome":"healed","did":"all","why":""}', Fault.BAD_FIELD),
    ],
)
def test_what_is_no_message_of_a_guest_is_named(line: bytes, fault: Fault) -> None:
    with pytest.raises(ProtocolError) as caught:
        from_guest(line)
    assert caught.value.fault is fault


@pytest.mark.parametrize(
    "ranges",
    ["[]", "[[0]]", "[[0,0]]", "[[1,4096]]", "[[0,4097]]", "[[-4096,4096]]", "[[4503599627370496,4096]]", "[0]",
     "[[0,1073745920]]", "[[0.0,4096]]", str([[0, 4096]] * 49)],
)  # fmt: skip
def test_ranges_are_whole_pages_within_physical_memory(ranges: str) -> None:
    line = f'{{"say":"told","id":1,"case":1,"what":"lost","must_act":true,"ranges":{ranges},"deadline_ms":1}}'
    with pytest.raises(ProtocolError, match="ranges"):
        from_host(line.encode())


def test_a_sentence_of_a_guest_is_printable_ascii_and_short() -> None:
    why = "\x1b[2J\ud800\u202e\n" + "x" * 500
    line = json.dumps({"say": "answer", "id": 1, "case": 1, "outcome": "failed", "did": [], "why": why})
    message = from_guest(line.encode())
    assert isinstance(message, Answer)
    assert message.why == "?[2J???" + "x" * 193


def test_words_of_a_later_version_are_left_out_and_further_fields_too() -> None:
    line = b'{"say":"hello","lowest":1,"highest":9,"agent":"x 2","can":["hooks","fly","hooks"],"new":{"a":1}}'
    assert from_guest(line) == Hello(1, 9, "x 2", (Ability.HOOKS,))


@given(st.lists(st.binary(max_size=50).map(lambda line: line.replace(b"\n", b"")), max_size=10), st.data())
def test_lines_are_the_same_in_whatever_pieces_they_come(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    split, found, at = Lines(), [], 0
    while at < len(stream):
        size = data.draw(st.integers(1, 40))
        found += split.of(stream[at : at + size])
        at += size
    assert found == [line for line in lines if line]


@given(st.lists(st.binary(max_size=50) | st.integers(0, 5000).map(lambda size: b"x" * size), max_size=20))
def test_whatever_comes_no_more_is_held_than_one_message(pieces: list[bytes]) -> None:
    lines = Lines()
    for piece in pieces:
        assert all(each is None or len(each) <= wire.MESSAGE_BYTES for each in lines.of(piece))
        assert lines.held_bytes <= wire.MESSAGE_BYTES


def test_a_line_that_is_too_long_is_told_once_and_the_next_one_is_read() -> None:
    lines = Lines()
    assert lines.of(b"x" * 1500) == []
    assert lines.of(b"x" * 1500) == []
    assert lines.of(b"x" * 9000 + b"\nnext\n") == [None, b"next"]
