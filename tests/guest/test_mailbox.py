"""The mailbox: each message is read once and in order, however seldom either side looks, and whoever begins anew."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ringfence.guest.mailbox import MOST_QUEUED, Mailbox


def exchange(reader: Mailbox, writer: Mailbox) -> bytes | None:
    return reader.look(writer.node)


def test_a_node_can_be_read_by_a_person() -> None:
    box = Mailbox(0xBEEF)
    assert box.node == b"0000beef 0 00000000 0\n"
    box.put(b'{"say":"alive"}')
    assert box.node == b'0000beef 1 00000000 0\n{"say":"alive"}'


def test_the_first_message_of_a_guest_reaches_a_host_that_has_never_seen_it() -> None:
    guest, host = Mailbox(1), Mailbox(2)
    guest.put(b"hello")
    assert exchange(host, guest) == b"hello"
    assert host.begins_anew()
    host.put(b"welcome")
    assert exchange(guest, host) == b"welcome"
    assert not guest.begins_anew()
    assert exchange(host, guest) is None
    assert guest.node.endswith(b"1\n")


@given(st.lists(st.sampled_from(["guest says", "host says", "guest looks", "host looks"]), max_size=120))
def test_every_message_is_read_once_and_in_order(course: list[str]) -> None:
    guest, host = Mailbox(1), Mailbox(2)
    exchange(host, guest), exchange(guest, host)
    host.begins_anew(), guest.begins_anew()
    said: dict[str, list[bytes]] = {"guest": [], "host": []}
    read: dict[str, list[bytes]] = {"guest": [], "host": []}

    def look(who: str) -> None:
        reader, writer, other = (guest, host, "host") if who == "guest" else (host, guest, "guest")
        message = exchange(reader, writer)
        assert not reader.begins_anew()
        if message is not None:
            read[other].append(message)

    for each in course:
        who, does = each.split()
        if does == "says" and len(said[who]) - len(read[who]) < MOST_QUEUED:
            said[who].append(f"{who} {len(said[who])}".encode())
            (guest if who == "guest" else host).put(said[who][-1])
        elif does == "looks":
            look(who)
    for _ in range(2 * MOST_QUEUED + 2):
        look("guest")
        look("host")
    assert read == said


def test_who_begins_anew_is_seen_and_what_was_said_to_its_earlier_life_is_not_for_it() -> None:
    guest, host = Mailbox(1), Mailbox(2)
    guest.put(b"hello")
    exchange(host, guest)
    host.put(b"to the first")
    later = Mailbox(3)
    assert exchange(later, host) is None
    assert later.begins_anew()
    later.put(b"hello again")
    assert exchange(host, later) == b"hello again"
    assert host.begins_anew()
    host.put(b"to the second")
    assert exchange(later, host) == b"to the second"
    assert not later.begins_anew()


def test_a_host_that_begins_anew_makes_the_agent_say_hello_again() -> None:
    guest, host = Mailbox(1), Mailbox(2)
    exchange(host, guest), exchange(guest, host)
    guest.put(b"an answer that nobody read")
    later = Mailbox(4)
    assert exchange(later, guest) is None
    assert exchange(guest, later) is None
    assert guest.begins_anew()
    guest.put(b"hello")
    assert exchange(later, guest) == b"hello"


@given(st.lists(st.binary(max_size=80) | st.from_regex(rb"\A[0-9a-f]{8} [0-9]{1,10} [0-9a-f]{8} [0-9]{1,10}\n.{0,9}"),
                max_size=30))  # fmt: skip
def test_whatever_a_node_holds_nothing_fails_and_nothing_grows(nodes: list[bytes]) -> None:
    box = Mailbox(1)
    for number, node in enumerate(nodes):
        box.put(b"%d" % number)
        message = box.look(node)
        assert message is None or node.endswith(message)
        box.begins_anew()
        assert len(box.node) < 60
        assert len(box._queue) <= MOST_QUEUED
