"""Carrying a decision out: intent, effect, verified outcome; deadlines, bounded retries, fallbacks."""
