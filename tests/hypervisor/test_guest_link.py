"""Dom0's side of a guest's agent: what it registers, is told and answers; and that nothing it says does harm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.guest.protocol import (
    MESSAGE_BYTES,
    Ability,
    Alive,
    Answer,
    Deed,
    Hello,
    Outcome,
    Range,
    Told,
    Unwelcome,
    Welcome,
    What,
    Who,
    encoded,
    from_host,
)
from ringfence.hypervisor import guest_link
from ringfence.hypervisor.guest_link import GuestLink, GuestLinks, Thrown, ranges
from ringfence.world.domain import McaHandler
from ringfence.world.identities import DOM0, CaseId, DomainId, GuestFrame, StepId
from ringfence.world.steps import NotifyGuest, Order, Result, Status

GUEST, OTHER = DomainId(3), DomainId(4)
HELLO = encoded(Hello(1, 1, "test 1", (Ability.SOFT_OFFLINE,))) + b"\n"


def order(number: int = 7, domain: DomainId = GUEST, pages: tuple[int, ...] = (5,), case: int = 2) -> Order:
    step = NotifyGuest(domain, tuple(GuestFrame(page) for page in pages))
    return Order(StepId(number), step, CaseId(case))


def answer(number: int = 7, outcome: Outcome = Outcome.HEALED, case: int = 2) -> bytes:
    return encoded(Answer(id=number, case=case, outcome=outcome, did=(Deed.HARD_OFFLINED,), why="ok")) + b"\n"


def registered(now_ms: int = 0) -> GuestLink:
    link = GuestLink(GUEST)
    link.connected()
    link.heard(HELLO, now_ms)
    link.outgoing()
    return link


def says(link: GuestLink) -> list[object]:
    return [from_host(line) for line in link.outgoing()]


def test_who_connects_is_asked_who_he_is_and_is_an_agent_when_he_has_said_so() -> None:
    link = GuestLink(GUEST)
    assert link.handler(0) is McaHandler.NONE
    link.connected()
    assert says(link) == [Who()]
    link.heard(HELLO, 0)
    assert says(link) == [Welcome(1, guest_link.BEAT_S)]
    assert link.handler(0) is McaHandler.AGENT
    assert link.agent is not None
    assert link.agent.name == "test 1"


def test_an_agent_that_falls_silent_or_hangs_up_is_none_any_more() -> None:
    link = registered(0)
    assert link.handler(guest_link.SILENT_MS) is McaHandler.AGENT
    assert link.handler(guest_link.SILENT_MS + 1) is McaHandler.NONE
    link.heard(encoded(Alive()) + b"\n", 40_000)
    assert link.handler(40_000) is McaHandler.AGENT
    link.disconnected()
    assert link.handler(40_000) is McaHandler.NONE
    assert link.tell(order(), 40_000).status is Status.REFUSED


def test_an_agent_of_another_version_is_told_why_it_is_not_registered() -> None:
    link = GuestLink(GUEST)
    link.heard(encoded(Hello(2, 3, "later")) + b"\n", 0)
    assert says(link) == [Unwelcome("the agent speaks versions 2 to 3, this host 1 to 1")]
    assert link.handler(0) is McaHandler.NONE


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.HEALED, Status.DONE),
        (Outcome.REFUSED, Status.REFUSED),
        (Outcome.FAILED, Status.FAILED),
        (Outcome.NOT_OURS, Status.FAILED),
    ],
)
def test_an_order_runs_until_it_is_answered(outcome: Outcome, status: Status) -> None:
    link = registered()
    assert link.tell(order(), 100).status is Status.RUNNING
    assert says(link) == [
        Told(id=7, case=2, what=What.LOST, must_act=True, ranges=(Range(0x5000),), deadline_ms=guest_link.ANSWER_MS)
    ]
    assert link.is_busy
    assert link.ended(100) == ()
    link.heard(answer(outcome=outcome), 200)
    assert link.ended(200) == ((7, Result(status, f"its agent says: {outcome}; hard-offlined; ok")),)
    assert link.ended(200) == ()
    assert not link.is_busy
    assert not link.thrown


def test_who_does_not_answer_has_failed_and_answers_too_late() -> None:
    link = registered()
    link.tell(order(), 0)
    ((number, result),) = link.ended(guest_link.ANSWER_MS)
    assert (number, result.status) == (7, Status.FAILED)
    assert "not answered within 30 s" in result.because
    link.heard(answer(), guest_link.ANSWER_MS + 1)
    assert link.thrown == {Thrown.LATE: 1}
    assert link.ended(guest_link.ANSWER_MS + 1) == ()


def test_an_answer_that_comes_with_its_deadline_is_late() -> None:
    link = registered()
    link.tell(order(), 0)
    link.heard(answer(), guest_link.ANSWER_MS)
    assert link.thrown == {Thrown.LATE: 1}
    assert [result.status for _, result in link.ended(guest_link.ANSWER_MS)] == [Status.FAILED]


def test_answers_that_nobody_waits_for_change_nothing_and_are_counted() -> None:
    link = registered()
    link.tell(order(), 0)
    link.heard(answer(8), 1)
    link.heard(answer(7, case=3), 1)
    assert link.ended(1) == ()
    link.heard(answer(7), 1)
    link.heard(answer(7, Outcome.FAILED), 1)
    assert [result.status for _, result in link.ended(1)] == [Status.DONE]
    assert link.thrown == {Thrown.NEVER_TOLD: 1, Thrown.OTHER_CASE: 1, Thrown.TWICE: 1}


def test_a_guest_speaks_for_itself_only() -> None:
    links = GuestLinks()
    for domain in (GUEST, OTHER):
        links.of(domain).heard(HELLO, 0)
    assert links.tell(order(7, OTHER), 0).status is Status.RUNNING
    links.of(GUEST).heard(answer(7), 1)
    assert links.ended(1) == ()
    assert links.probe(StepId(7)).status is Status.RUNNING
    assert links.of(GUEST).thrown == {Thrown.NEVER_TOLD: 1}
    assert GuestLink(GUEST).tell(order(7, OTHER), 0).status is Status.REFUSED


def test_nothing_is_heard_of_who_has_not_registered_but_he_is_asked() -> None:
    link = GuestLink(GUEST)
    link.heard(encoded(Alive()) + b"\n" + answer(), 0)
    assert link.thrown == {Thrown.UNREGISTERED: 2}
    assert says(link) == [Who()]
    assert link.handler(0) is McaHandler.NONE


def test_what_is_open_is_told_again_to_an_agent_that_comes_back_with_the_time_that_is_left() -> None:
    link = registered()
    link.tell(order(), 0)
    link.connected()
    assert says(link) == [Who()]
    link.heard(HELLO, 10_000)
    told = says(link)[-1]
    assert isinstance(told, Told)
    assert told.deadline_ms == guest_link.ANSWER_MS - 10_000


def test_an_order_that_is_given_again_is_the_same_message_again_or_its_known_end() -> None:
    link = registered()
    link.tell(order(), 0)
    assert link.tell(order(), 1).status is Status.RUNNING
    assert len(says(link)) == 1
    link.heard(answer(), 2)
    assert link.tell(order(), 3).status is Status.DONE
    assert says(link) == []
    assert link.thrown == {}


def test_an_order_of_an_earlier_life_is_unknown_and_a_domains_end_ends_its_orders() -> None:
    links = GuestLinks()
    links.of(GUEST, "a").heard(HELLO, 0)
    assert links.probe(StepId(7)).status is Status.UNKNOWN
    links.tell(order(), 0)
    links.keep({GUEST: "b"})
    assert [(number, result.status) for number, result in links.ended(1)] == [(7, Status.FAILED)]
    assert links.known(GUEST) is None
    assert not links.is_busy


def test_another_domain_of_the_same_number_is_another_one() -> None:
    links = GuestLinks()
    links.of(GUEST, "a").heard(HELLO, 0)
    assert links.handler(GUEST, 0) is McaHandler.AGENT
    assert links.of(GUEST, "b").agent is None
    with pytest.raises(KeyError):
        links.of(DOM0)


def test_an_order_of_an_earlier_life_waits_for_the_agent_to_say_hello_and_not_for_ever() -> None:
    link = GuestLink(GUEST)
    assert link.handler(1_000) is McaHandler.NONE
    assert link.tell(order(), 2_000).status is Status.RUNNING
    link.connected()
    link.heard(HELLO, 3_000)
    assert [type(each) for each in says(link)] == [Welcome, Told]
    never = GuestLink(GUEST)
    never.handler(1_000)
    assert never.tell(order(), 1_000 + guest_link.COMING_MS).status is Status.REFUSED


@given(st.sets(st.integers(0, 1 << 39), max_size=60))
def test_ranges_are_the_pages_and_nothing_else(pages: set[int]) -> None:
    found = ranges(GuestFrame(page) for page in pages)
    told = [each.address // 4096 + at for each in found for at in range(each.size_bytes // 4096)]
    assert told == sorted(pages)


def test_what_no_message_can_say_is_refused_and_nothing_is_said() -> None:
    link = registered()
    scattered = tuple(range(0, 200, 2))
    result = link.tell(order(pages=scattered), 0)
    assert result.status is Status.REFUSED
    assert not link.is_busy
    assert link.tell(order(pages=()), 0).status is Status.REFUSED
    assert says(link) == []
    assert link.tell(order(pages=tuple(range(512))), 0).status is Status.RUNNING


def test_a_guest_that_never_answers_is_told_so_much_and_no_more() -> None:
    link = registered()
    given = [link.tell(order(number), 0).status for number in range(guest_link.MOST_OPEN + 1)]
    assert given == [Status.RUNNING] * guest_link.MOST_OPEN + [Status.REFUSED]


def test_ends_are_remembered_up_to_a_bound() -> None:
    link = registered()
    for number in range(3 * guest_link.ENDS_KEPT):
        link.tell(order(number), number * 1_000)
        link.heard(answer(number), number * 1_000)
    assert len(link._ended) == guest_link.ENDS_KEPT
    assert link.probe(StepId(0)) is None
    assert link.probe(StepId(3 * guest_link.ENDS_KEPT - 1)) is not None


def test_a_flood_is_counted_and_does_not_take_the_place_of_what_comes_later() -> None:
    link = registered()
    link.heard(HELLO * 500, 1)
    assert link.thrown[Thrown.FLOOD] == 500 - guest_link.MESSAGES_AT_ONCE + 1
    assert len(says(link)) == 1
    link.tell(order(), 20_000)
    link.heard(answer(), 20_001)
    assert [result.status for _, result in link.ended(20_001)] == [Status.DONE]


def test_what_there_is_no_room_for_is_left_in_the_socket() -> None:
    link = registered(0)
    assert link.room(0) > 0
    link.heard(b"x" * 100_000, 0)
    assert link.room(0) == 0
    assert link.room(1000) == guest_link.BYTES_PER_S
    assert link.room(10_000_000) == guest_link.BYTES_AT_ONCE


messages = st.one_of(
    st.just(HELLO),
    st.just(encoded(Alive()) + b"\n"),
    st.builds(answer, st.integers(0, 9), st.sampled_from(Outcome), st.integers(1, 3)),
    st.binary(max_size=200),
    st.just(b"y" * 3000),
)


@given(st.lists(st.one_of(messages, st.integers(0, 9)), max_size=80), st.integers(0, 50))
def test_whatever_a_guest_says_it_answers_for_what_it_was_told_and_nothing_grows(
    course: list[bytes | int], step_ms: int
) -> None:
    """Numbers are orders that are given, bytes what the guest sends: each order ends once, and no other does."""
    link, given, ended, now_ms = GuestLink(GUEST), set(), [], 0
    link.connected()
    for each in course:
        now_ms += step_ms
        if isinstance(each, int):
            known = link.probe(StepId(each))
            if link.tell(order(each), now_ms).status is Status.RUNNING and known is None:
                given.add(each)
        else:
            link.heard(each, now_ms)
        ended += [number for number, _ in link.ended(now_ms)]
        assert sum(map(len, link.outgoing())) <= (guest_link.MOST_OPEN + 3) * MESSAGE_BYTES
        assert link._lines.held_bytes <= MESSAGE_BYTES
        assert len(link._ended) <= guest_link.ENDS_KEPT
        assert set(link.thrown) <= set(Thrown)
    ended += [number for number, _ in link.ended(now_ms + guest_link.ANSWER_MS)]
    assert sorted(ended) == sorted(given)
