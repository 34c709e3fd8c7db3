"""What is wrong with a request, as RFC 9457 has it (``application/problem+json``), with an advice."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Final

from msgspec import Meta, Struct

from ringfence.service import control_protocol as say

MEDIA: Final = "application/problem+json"

RETRY_AFTER_S: Final = 1
"""When who was told that the service is busy may come again: a turn of the writer is far shorter."""


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Nothing was done, and why. ``advice`` says what can be done about it.

    ``title`` is the status in words, ``retry_after_s`` when it is worth coming again (the header Retry-After, too).
    """

    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: str
    advice: str = ""
    retry_after_s: int = 0


def problem(status: HTTPStatus, detail: str, advice: str = "", *, retry_after_s: int = 0) -> Problem:
    """A problem of a status."""
    return Problem(title=status.phrase, status=status, detail=detail, advice=advice, retry_after_s=retry_after_s)


STATUSES: Final = {
    say.Code.BAD_REQUEST: HTTPStatus.BAD_REQUEST,
    say.Code.OTHER_VERSION: HTTPStatus.BAD_REQUEST,
    say.Code.TOO_LONG: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    say.Code.NOT_ALLOWED: HTTPStatus.FORBIDDEN,
    say.Code.NOT_THERE: HTTPStatus.NOT_FOUND,
    say.Code.REFUSED: HTTPStatus.CONFLICT,
    say.Code.BUSY: HTTPStatus.SERVICE_UNAVAILABLE,
    say.Code.FAILED: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The status of each refusal of the control protocol: the two doors refuse alike."""


def of_refusal(refused: say.Refused) -> Problem:
    """A refusal of the control protocol as a problem."""
    status = STATUSES[refused.code]
    retry_after_s = RETRY_AFTER_S if status is HTTPStatus.SERVICE_UNAVAILABLE else 0
    return problem(status, refused.message, refused.advice, retry_after_s=retry_after_s)
