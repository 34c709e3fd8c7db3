"""Append-only truth: events, the store, and the replay that rebuilds the state."""
