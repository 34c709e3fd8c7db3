"""Readers and writers of evidence in binary form."""
