"""How bad it is, and which reports are one event."""
