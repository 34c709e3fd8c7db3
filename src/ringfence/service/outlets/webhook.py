"""A receiver of CloudEvents over HTTP: at least once, in order, signed, tried again until it is taken or refused.

One event is under way at a time. A receiver that is away is waited for, with pauses that grow: the journal keeps what
it has not heard. One that answers, but with errors, is tried for hours (``give-up-h``), then the event is passed over
and that is said. Nothing here is waited for by anybody else.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from secrets import SystemRandom
from typing import Final
from uuid import uuid4

from ringfence.errors import SourceError
from ringfence.service import control_protocol as say
from ringfence.service.attendants import House
from ringfence.service.configuration.outlets import Webhook
from ringfence.service.outlets.cloud_event import MEDIA, cloud_event, id_of
from ringfence.service.outlets.cursor import Identity, identity_of
from ringfence.service.outlets.notices import Notice, notice
from ringfence.service.outlets.post import Answer, Post, PostError, Target
from ringfence.service.outlets.signature import secrets_of, signed
from ringfence.service.outlets.telling import Outlet, tell
from ringfence.service.outlets.topics import Topic
from ringfence.views.metric_values import OutletReading
from ringfence.views.text import printable

FIRST_PAUSE_S: Final = 1.0
"""After the first failure; doubled with each further one, up to the configured bound."""
LONGEST_RETRY_AFTER_S: Final = 3600.0
"""Of a receiver's own wish: who asks for more is asked again after an hour."""
REMINDER: Final = 80
"""Characters of a receiver's words that health shows."""

_CHANCE: Final = SystemRandom()


class Verdict(Enum):
    """What an answer means for the event."""

    TAKEN = "taken"
    LATER = "later"
    NEVER = "never"
    """The same bytes would be refused again."""
    GONE = "gone"
    """The receiver wants nothing any more."""


NEVER: Final = frozenset({400, 413, 414, 415, 422})
"""What says that the message itself is bad (RFC 9110, 15.5). Others of the 4xx kind (401, 403, 404, 408, 429, ...) are
of the set-up or of the moment: they pass when somebody mends it."""


def verdict(status: int) -> Verdict:
    """What a status means. A redirect is not followed: where events go is said in the configuration alone."""
    if 200 <= status < 300:
        return Verdict.TAKEN
    if status == 410:
        return Verdict.GONE
    return Verdict.NEVER if status in NEVER else Verdict.LATER


def pause_s(failures: int, longest_s: float, retry_after_s: float | None = None) -> float:
    """How long to wait after so many failures in a row: doubled each time, up to a bound; half of it is left to chance,
    so that receivers are not asked by all hosts at once. The receiver's own wish counts if it is longer.
    """
    full_s = min(longest_s, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 32))
    chosen_s = full_s * _CHANCE.uniform(0.5, 1.0)
    return max(chosen_s, min(retry_after_s or 0.0, LONGEST_RETRY_AFTER_S))


@dataclass(slots=True)
class WebhookOutlet:
    """One receiver, as an attendant."""

    settings: Webhook
    _reading: OutletReading = field(default_factory=OutletReading)
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a test was taken: whoever waits between two attempts need not wait on."""

    @property
    def receiver(self) -> str:
        """What it is called in the configuration."""
        return self.settings.name

    @property
    def name(self) -> str:
        """What health calls it."""
        return f"webhook-{self.settings.name}"

    async def attend(self, house: House) -> None:
        """As ``Attendant.attend``. Raises SourceError for a secret or certificates that cannot be used."""
        sender = _Sender(self, house, self._post())
        await asyncio.to_thread(self._secrets)  # what is wrong with it is said before there is anything to tell
        self._say(house, replace(self._reading, up=True))
        await tell(Outlet(self.name, self.settings.events, sender.deliver, sender.done), house)

    async def test(self, house: House) -> say.Tested:
        """As ``trial.Receiver.test``."""
        begun_s, is_signed = time.monotonic(), self.settings.secret_file is not None
        identity = await asyncio.to_thread(identity_of, house.state_dir)
        asked = notice(Topic.TEST, house.news.last, "this is a test", part=f"test-{uuid4()}")
        try:
            answer = await self.send(self._post(), asked, identity)
        except PostError as error:
            return say.Tested(
                url=self.settings.url, taken=False, took_ms=_ms_since(begun_s), message=str(error), signed=is_signed
            )
        taken = verdict(answer.status) is Verdict.TAKEN
        if taken:
            self.answers.set()
        return say.Tested(
            url=self.settings.url,
            taken=taken,
            took_ms=_ms_since(begun_s),
            message=_in_words(answer),
            status=answer.status,
            signed=is_signed,
        )

    async def send(self, post: Post, told: Notice, identity: Identity) -> Answer:
        """One attempt. Raises PostError if no answer came, SourceError if the secret cannot be used."""
        now_ms = time.time_ns() // 1_000_000
        body = cloud_event(told, identity, now_ms)
        secrets = await asyncio.to_thread(self._secrets)
        headers = signed(secrets, id_of(told, identity), now_ms // 1000, body)
        return await post.post(body, {"Content-Type": MEDIA, **headers})

    def _secrets(self) -> tuple[bytes, ...]:
        """Read at each attempt: a secret that is rotated counts at once."""
        path = self.settings.secret_file
        return secrets_of(Path(path)) if path is not None else ()

    def _post(self) -> Post:
        target = Target.of(self.settings.url)
        return Post(
            target,
            self.settings.connect_s,
            self.settings.whole_s,
            allow_http=self.settings.allow_http,
            context=_verifying(self.settings.ca_file) if target.tls else None,
        )

    def _say(self, house: House, reading: OutletReading) -> None:
        self._reading = reading
        house.measures.outlets.says(self.settings.name, reading)

    # --- for the sender -----------------------------------------------------------------------------------------------

    def came(self, house: House, *, taken: int = 0, failed: int = 0, given_up: int = 0) -> None:
        """Count what came of an attempt."""
        known = self._reading
        self._say(
            house,
            replace(
                known,
                up=failed == 0 and (given_up == 0 or known.up),
                taken=known.taken + taken,
                failed=known.failed + failed,
                given_up=known.given_up + given_up,
            ),
        )

    def at(self, house: House, number: int) -> None:
        """It is done with all up to this event."""
        self._say(house, replace(self._reading, at=number))


@dataclass(slots=True)
class _Sender:
    """Delivers one notice after the other, for as long as it takes."""

    outlet: WebhookOutlet
    house: House
    post: Post
    passed_over: int = 0

    def done(self, number: int) -> None:
        self.outlet.at(self.house, number)

    async def deliver(self, told: Notice, identity: Identity) -> None:
        """Try until it is taken, refused for good, or given up. Never returns once the receiver is gone."""
        failures, answered_s = 0, None
        while True:
            now_s = time.monotonic()
            try:
                answer = await self.outlet.send(self.post, told, identity)
            except PostError as error:
                failures, answered_s = failures + 1, None  # it is away: that is not the event's fault
                await self._wait(told, str(error), pause_s(failures, self._settings.longest_pause_s))
                continue
            match verdict(answer.status):
                case Verdict.TAKEN:
                    self.outlet.came(self.house, taken=1)
                    self._well()
                    return
                case Verdict.GONE:
                    self.outlet.came(self.house, failed=1)
                    why = "it answers 410 Gone: nothing is sent to it any more until the service starts again"
                    self.house.problems.says(self.outlet.name, f"{why} (take it out of the configuration)")
                    await asyncio.Event().wait()
                case Verdict.NEVER:
                    self._pass_over(told, answer)
                    return
                case Verdict.LATER:
                    answered_s = now_s if answered_s is None else answered_s
                    if now_s - answered_s > self._settings.give_up_h * 3600:
                        self._pass_over(told, answer)
                        return
                    failures += 1
                    pause = pause_s(failures, self._settings.longest_pause_s, answer.retry_after_s)
                    await self._wait(told, _in_words(answer), pause)

    @property
    def _settings(self) -> Webhook:
        return self.outlet.settings

    async def _wait(self, told: Notice, why: str, pause: float) -> None:
        self.outlet.came(self.house, failed=1)
        behind = max(0, self.house.news.last - told.number)
        words = f"{why}; {told.topic} (event {told.number}) waits, the journal has {behind} more behind it"
        self.house.problems.says(self.outlet.name, f"{words}; tried again every {self._settings.longest_pause_s:g} s "
                                 f"or sooner (ringfence webhook test {self.outlet.receiver})")  # fmt: skip
        self.outlet.answers.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self.outlet.answers.wait()

    def _pass_over(self, told: Notice, answer: Answer) -> None:
        self.passed_over += 1
        self.outlet.came(self.house, given_up=1)
        self.house.problems.says(
            f"{self.outlet.name} passed over",
            f"{self.passed_over} since the start, {told.topic} (event {told.number}) the last of them: "
            f"{_in_words(answer)} (see it in ringfence events)",
        )
        self._well()

    def _well(self) -> None:
        self.house.problems.says(self.outlet.name, "")


def _verifying(ca_file: str | None) -> ssl.SSLContext:
    """A context that checks certificate and name: of the system's authorities, or of those in a file."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        advice = "Name a file of certificates in PEM form, or leave ca-file out."
        raise SourceError(ca_file or "", error.strerror or str(error), advice=advice) from error


def _in_words(answer: Answer) -> str:
    where = f" to {printable(answer.location[:REMINDER])}, which is not followed" if 300 <= answer.status < 400 else ""
    body = printable(" ".join(answer.body.split())[:REMINDER])
    return f"it answers {answer.status}{where}" + (f": {body}" if body else "")


def _ms_since(begun_s: float) -> int:
    return round((time.monotonic() - begun_s) * 1000)
