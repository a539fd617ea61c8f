"""Sender Policy Framework: records and their evaluation for a client's address (RFC 7208)."""
