"""Command-line values that are registers or processors."""

from __future__ import annotations

import re

import click

from ringfence import api
from ringfence.decode.decoder import KnownProcessor


class Hexadecimal(click.ParamType[int]):
    """A 64-bit register value: hexadecimal with or without 0x, as logs print it."""

    name = "hex"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number, or a usage error that says what is allowed."""
        if isinstance(value, int):
            return value
        text = str(value).strip().lower().replace("_", "").replace("'", "").removeprefix("0x")
        if not re.fullmatch(r"[0-9a-f]{1,16}", text):
            self.fail(f"{value!r} is no register value: give up to 16 hexadecimal digits", param, ctx)
        return int(text, 16)


class ProcessorType(click.ParamType[KnownProcessor]):
    """VENDOR:SIGNATURE as the kernel prints it after PROCESSOR: vendor by number or name, CPUID.1:EAX in hex."""

    name = "vendor:signature"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> KnownProcessor:
        """The processor, or a usage error that says what is allowed."""
        if isinstance(value, KnownProcessor):
            return value
        try:
            known = api.processor(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return KnownProcessor(known.vendor, known.cpuid, "--cpu")
