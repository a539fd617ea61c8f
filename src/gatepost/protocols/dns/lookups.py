"""Look-ups of an evaluation that may need many: it yields a `Query` and gets a `DnsRecords`, and does no I/O itself.

`protocols.spf.evaluation` and `protocols.dmarc.discovery` are such evaluations; `net.lookups.evaluation` answers them
with the gateway's resolver, tests with a table.
"""

from __future__ import annotations

from collections.abc import Generator

import msgspec


class Query(msgspec.Struct, frozen=True):
    """name: in A-labels, without trailing dot. kind: "TXT", "A", "AAAA", "MX" or "PTR"."""

    name: str
    kind: str


class DnsRecords(msgspec.Struct, frozen=True):
    """The answer to a `Query`.

    texts: TXT records, the strings of each joined. values: addresses (A, AAAA), host names (MX by preference, PTR).
    failure: why there is no answer now, "" if there is one. nxdomain: the name does not exist.
    """

    texts: tuple[bytes, ...] = ()
    values: tuple[str, ...] = ()
    failure: str = ""
    nxdomain: bool = False

    @property
    def is_void(self) -> bool:
        """Whether the answer has no record (RFC 7208 section 4.6.4: a void lookup)."""
        return not self.failure and not self.texts and not self.values


type Evaluation[T] = Generator[Query, DnsRecords, T]
"""What it returns is its result."""
