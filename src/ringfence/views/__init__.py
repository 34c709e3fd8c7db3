"""Renderings of values; they decide nothing."""
