"""Readers of evidence written as text."""
