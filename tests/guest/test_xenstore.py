"""The xenstore's wire, byte by byte, and against a xenstored in little."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.guest.xenstore import MOST_BYTES, Kind, Packet, Packets, Store, XenstoreError
from tests.guest.machine import until
from tests.guest.stored import stored

WRITE = bytes.fromhex("0b000000 07000000 00000000 07000000") + b"data/x\0"


def test_a_packet_is_four_numbers_and_what_follows_them() -> None:
    assert Packet(Kind.WRITE, b"data/x\0", 7).packed() == WRITE
    assert Packets().of(WRITE) == [Packet(Kind.WRITE, b"data/x\0", 7)]


@given(st.lists(st.builds(Packet, st.sampled_from(Kind), st.binary(max_size=100), st.integers(0, 9))), st.data())
def test_packets_are_the_same_in_whatever_pieces_they_come(packets: list[Packet], data: st.DataObject) -> None:
    stream, read, found = b"".join(each.packed() for each in packets), Packets(), []
    while stream:
        size = data.draw(st.integers(1, 60))
        found += read.of(stream[:size])
        stream = stream[size:]
    assert found == packets


def test_a_length_that_no_packet_has_is_refused_before_it_is_waited_for() -> None:
    with pytest.raises(XenstoreError, match="packet of 4097 bytes"):
        Packets().of(Packet(Kind.READ, b"").packed()[:12] + (MOST_BYTES + 1).to_bytes(4, "little"))
    with pytest.raises(XenstoreError, match="4096 bytes at a time"):
        Packet(Kind.WRITE, bytes(MOST_BYTES + 1)).packed()


def test_what_is_written_is_read_and_a_watch_tells_of_it(tmp_path: Path) -> None:
    with stored(tmp_path) as server:
        guest, dom0 = Store(server.guest_socket(5)), Store(server.path)
        assert guest.read("data/x") is None
        guest.watch("data/x")
        until(guest.fired, "no first event")
        assert not guest.fired()
        dom0.write("/local/domain/5/data/x", b"\0\xff news")
        assert guest.read("data/x") == b"\0\xff news"
        until(guest.fired, "no event")
        with pytest.raises(XenstoreError, match="EACCES"):
            guest.write("/local/domain/6/data/x", b"")
        guest.remove("data/x")
        guest.remove("data/x")
        assert dom0.read("/local/domain/5/data/x") is None
        guest.close()
        dom0.close()


def test_a_xenstore_that_hangs_up_or_does_not_answer_is_an_error_and_no_wait_without_end(tmp_path: Path) -> None:
    with stored(tmp_path) as server:
        store = Store(server.path, wait_s=0.05)
        server._lock.acquire()  # it takes requests and answers none
        with pytest.raises(XenstoreError, match=r"not answered within 0\.05 s"):
            store.read("/x")
        server._lock.release()
    with pytest.raises(OSError, match="Bad file descriptor"):
        store.read("/x")  # the answer that came too late is none to the next question
    with pytest.raises(FileNotFoundError):
        Store(tmp_path / "nothing")
