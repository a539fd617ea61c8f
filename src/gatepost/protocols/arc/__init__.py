"""Authenticated Received Chain: the sets of a message, their check, and a set of our own (RFC 8617)."""
