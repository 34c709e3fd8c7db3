"""Registers and bit fields of the x86 machine-check architecture: declared once, no logic."""
