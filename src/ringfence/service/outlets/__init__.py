"""Whom Ringfence tells: webhooks, systemd's journal, files of metrics. They act on nothing, and hold up nobody."""
