"""The agent inside a guest: it is told of lost and endangered pages, heals, and says what it did.

It stands apart: it needs Python's standard library and nothing else, and imports nothing of the rest of Ringfence. The
host's side shares ``protocol``, ``mailbox`` and ``xenstore`` with it.
"""
