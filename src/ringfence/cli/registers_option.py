"""Command-line values that are registers or processors."""

from __future__ import annotations

import re

import click

from ringfence.arch.cpuid import LINUX_VENDORS, Vendor
from ringfence.decode.decoder import KnownProcessor

_VENDOR_NAMES = {vendor.value.lower(): vendor for vendor in Vendor}


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
        vendor_text, _, signature = str(value).strip().partition(":")
        vendor = _VENDOR_NAMES.get(vendor_text.lower())
        if vendor is None and vendor_text.isdecimal():
            vendor = LINUX_VENDORS.get(int(vendor_text))
        signature = signature.lower().removeprefix("0x")
        if vendor is None or not re.fullmatch(r"[0-9a-f]{0,8}", signature):
            numbers = ", ".join(f"{number} or {vendor.lower()}" for number, vendor in LINUX_VENDORS.items())
            self.fail(
                f"{value!r} is no processor: give VENDOR:SIGNATURE, e.g. 0:306f2; VENDOR is {numbers}", param, ctx
            )
        return KnownProcessor(vendor, int(signature, 16) if signature else None, "--cpu")
