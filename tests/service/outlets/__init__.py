"""Outlets, against real sockets and a real writer."""
