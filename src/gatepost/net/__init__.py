"""Streams over sockets and in memory, TLS on them, and the judgement of certificates. I/O, no decisions."""
