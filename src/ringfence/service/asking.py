"""A question from asyncio to the writer's thread, and what is said when it cannot be put."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Final, TypeVar

from ringfence.service import control_protocol as say
from ringfence.service.writer import BusyError, Desk, Writer

T = TypeVar("T")

BUSY: Final = say.Refused(
    code=say.Code.BUSY, message="the service is too busy to answer, or is ending", advice="Try again in a moment."
)


async def ask(writer: Writer, what: Callable[[Desk], T]) -> T | say.Refused:
    """Have something answered in the writer's thread; ``BUSY`` if its inbox is full, or it ends.

    ``what`` must not raise for what a client says (``Writer.ask``).
    """
    try:
        return await asyncio.wrap_future(writer.ask(what))
    except BusyError:
        return BUSY
    except CancelledError:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        return BUSY
