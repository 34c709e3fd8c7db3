"""The generated page of the talk with a guest's agent: its messages and bounds, from their declarations."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Final

from ringfence.guest import healing, hooks, mailbox, pages, policy, protocol
from ringfence.guest.agent import ANSWERS_KEPT, MOST_WAITING
from ringfence.guest.command import OPTIONS
from ringfence.hypervisor import guest_link

Table = Callable[[tuple[str, ...], Iterable[tuple[str, ...]]], str]
Page = Callable[[str, str, Iterable[str]], str]

_EXAMPLES: Final[tuple[protocol.FromHost | protocol.FromGuest, ...]] = (
    protocol.Who(),
    protocol.Hello(1, 1, "ringfence 0.1.0, Linux 6.12.48", (protocol.Ability.SOFT_OFFLINE, protocol.Ability.HOOKS)),
    protocol.Welcome(1, guest_link.BEAT_S),
    protocol.Unwelcome("the agent speaks versions 2 to 3, this host 1 to 1"),
    protocol.Told(
        id=41, case=1 << 40, what=protocol.What.ENDANGERED, must_act=False, ranges=(protocol.Range(0x77B9000),),
        deadline_ms=guest_link.ANSWER_MS,
    ),
    protocol.Answer(
        id=41, case=1 << 40, outcome=protocol.Outcome.HEALED, did=(protocol.Deed.SOFT_OFFLINED,), why=""
    ),
    protocol.Alive(),
)  # fmt: skip


def _messages(kinds: Iterable[protocol.Kind]) -> Iterable[tuple[str, ...]]:
    for kind in kinds:
        doc = " ".join(inspect.cleandoc(kind.of.__doc__ or "").replace("``", "`").split())
        yield f"`{kind.says}`", doc, "; ".join(f"`{each.name}`: {each.means}" for each in kind.fields) or "-"


def _bounds() -> tuple[tuple[str, str, str], ...]:
    return (
        ("bytes of a message", str(protocol.MESSAGE_BYTES), "thrown away; in a stream, up to the end of its line"),
        ("ranges of pages in a message", str(protocol.MOST_RANGES), "the host does not tell the guest, and says so"),
        ("characters of a sentence", str(protocol.WHY_CHARACTERS), "cut; what is not printable ASCII becomes `?`"),
        ("words in a list", str(protocol.MOST_WORDS), "thrown away; unknown words are left out"),
        (
            "messages of a guest",
            f"{guest_link.MESSAGES_AT_ONCE} at once, {guest_link.MESSAGES_PER_S} a second",
            "thrown away",
        ),
        (
            "bytes read of a guest's stream",
            f"{guest_link.BYTES_AT_ONCE} at once, {guest_link.BYTES_PER_S} a second",
            "left in the socket: whoever sends waits",
        ),
        ("orders that wait for one guest", str(guest_link.MOST_OPEN), "the next one is refused"),
        ("answers that a host remembers", str(guest_link.ENDS_KEPT), "a second answer is then one never asked for"),
        ("seconds for an answer", f"{guest_link.ANSWER_MS / 1000:g}", "the order has failed; a later answer is late"),
        ("seconds of an agent's silence", f"{guest_link.SILENT_MS / 1000:g}", "it counts as gone"),
        ("messages in one direction of a mailbox", str(mailbox.MOST_QUEUED), "the oldest goes"),
        ("messages that wait in an agent", str(MOST_WAITING), "the next one is answered `refused`"),
        ("answers that an agent remembers", str(ANSWERS_KEPT), "what is told again is done again"),
        ("pages taken out for one message", str(healing.MOST_PAGES), "answered `failed`"),
        ("attempts at a busy page", str(healing.ATTEMPTS), "answered `failed`, with the kernel's reason"),
        ("seconds of looking for a page's owners", f"{pages.LOOK_S:g}", "the others are not known"),
        ("processes looked through", str(pages.MOST_PROCESSES), "the others are not known"),
        ("hooks", str(hooks.MOST_HOOKS), "the others do not run, and it is said"),
        ("seconds of a hook", "as `hooks.seconds`, and no longer than the answer may take", "it is stopped with all"),
    )


def _policy() -> Iterable[tuple[str, ...]]:
    default = policy.Policy()
    words = {each: ", ".join(f"`{word}`" for word in each) for each in (policy.PageAction, policy.OwnerAction)}
    lost = ", ".join(f"`{each}`" for each in policy.FOR_LOST)
    yield "`lost.do`", lost, f"`{default.pages[protocol.What.LOST]}`", "what is done to a page whose content is gone"
    yield (
        "`lost.owner`", words[policy.OwnerAction], f"`{default.owner}`",
        "what is done to the processes that had it, beyond what the kernel does to them",
    )  # fmt: skip
    yield "`lost.units`", "names of services", "none", "the units that may be restarted"
    yield (
        "`endangered.do`", words[policy.PageAction], f"`{default.pages[protocol.What.ENDANGERED]}`",
        "what is done to a page whose content is still good",
    )  # fmt: skip
    yield "`hooks.directory`", "a path", f"`{default.hooks}`", "where hook scripts are"
    yield "`hooks.seconds`", f"1 to {policy.MOST_HOOK_S}", str(default.hook_s), "what one of them may take"


def _words(kind: Iterable[str]) -> str:
    return ", ".join(f"`{each}`" for each in kind)


def _spaced(*parts: str) -> Iterable[str]:
    for each in parts:
        yield each.rstrip("\n")
        yield ""


def guest(page: Page, table: Table) -> str:
    """docs/reference/guest.md."""
    doc = inspect.cleandoc(hooks.__doc__ or "")
    rows = [line.split("  ", 1) for line in doc.splitlines() if line.startswith("RINGFENCE_")]
    return page(
        "The talk with a guest's agent",
        f"Version {protocol.VERSIONS[1]}, one JSON object a line. How it is used: [guest.md](../guest.md).",
        _spaced(
            "## What a host says",
            table(("message", "meaning", "fields"), _messages(protocol.KINDS_FROM_HOST)),
            "## What an agent says",
            table(("message", "meaning", "fields"), _messages(protocol.KINDS_FROM_GUEST)),
            f"What it can: {_words(protocol.Ability)}. What it did: {_words(protocol.Deed)}.",
            "## As it goes over the wire",
            "```json\n" + "\n".join(protocol.encoded(each).decode() for each in _EXAMPLES) + "\n```",
            "## Bounds",
            table(("what", "bound", "beyond it"), _bounds()),
            "## What a host throws away of what a guest says, and counts",
            "\n".join(f"- {each}" for each in guest_link.Thrown),
            "## The agent's policy",
            table(("key", "allowed", "default", "meaning"), _policy()),
            "## What a hook is given",
            table(("variable", "meaning"), ((f"`{name}`", text.strip().replace("``", "`")) for name, text in rows)),
            f"A hook that ends with {hooks.VETO} before has the pages stay; any other code stops nothing.",
            "## Options",
            table(
                ("option", "meaning"),
                ((f"`--{each.name}{' ' + each.metavar if each.metavar else ''}`", each.help) for each in OPTIONS),
            ),
        ),
    )
