"""The file of metrics is whole whenever it is read, readable by the collector, and gone when the service has ended."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ringfence.service.attendants import keep
from ringfence.service.configuration.outlets import Textfile
from ringfence.service.outlets.textfile import TextfileOutlet
from ringfence.views.metrics import UP, Sample
from tests.service.outlets.receivers import home, until


def test_it_is_replaced_whole_and_goes_with_the_service(tmp_path: Path) -> None:
    path = tmp_path / "ringfence.prom"

    async def scene() -> None:
        async with home(tmp_path) as at:
            house = replace(at.house, samples=lambda desk: (Sample(UP, desk.journal.last),))
            task = asyncio.create_task(keep(TextfileOutlet(path, 0.01), house))
            await until(path.exists)
            first = path.stat()
            assert first.st_mode & 0o777 == 0o644
            await until(lambda: path.stat().st_ino != first.st_ino)
            (family,) = text_string_to_metric_families(path.read_text())
            assert family.samples[0].value > 0
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert not path.exists()

    asyncio.run(asyncio.wait_for(scene(), 10))


def test_a_directory_that_is_not_there_is_said_and_used_once_it_is(tmp_path: Path) -> None:
    path = tmp_path / "later" / "ringfence.prom"

    async def scene() -> None:
        async with home(tmp_path) as at:
            task = asyncio.create_task(keep(TextfileOutlet(path, 0.01), at.house))
            await until(lambda: at.problems)
            assert at.problems[0].startswith(f"textfile: {path}: No such file or directory (Let the directory be")
            path.parent.mkdir()
            await until(path.exists)
            await until(lambda: not at.problems)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(scene(), 10))


def test_a_name_that_the_collector_would_not_read_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"end in \.prom"):
        msgspec.convert({"path": "/x/ringfence.txt"}, Textfile)
