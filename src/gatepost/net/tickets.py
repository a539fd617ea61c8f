"""Session tickets by which clients resume TLS sessions: the keys they are made with, and the chains that they lose.

Used by `net.engine`. Tickets are good with every worker and node that has the secret of the day, and with whatever
certificate is presented by then. Their keys are of one rule (what a listener is for, whether it asks for client
certificates, its TLS profile) and of one period of `MAX_AGE` seconds: elsewhere and later a ticket is worth nothing.
"""

from __future__ import annotations

import secrets
import time
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Protocol

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from gatepost.net import openssl_private as private
from gatepost.net import openssl_tickets
from gatepost.net.sessions import MAX_AGE, ChainMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from OpenSSL import SSL

    from gatepost.net.openssl_tickets import TicketKeySlot


SECRET_OCTETS: Final = 32
"""Of the secret of a day."""

DAY: Final = 86400
"""Seconds for which a secret is used; days begin at midnight UTC."""


class DailySecrets(Protocol):
    """Secrets from which those who accept each other's tickets make the same keys."""

    def secret(self, day: int) -> bytes | None:
        """`SECRET_OCTETS` random bytes. day: since 1970 UTC. None: not known here."""


class ServerSessions:
    """Secrets and chains that the listeners of one purpose have within a worker, over all contexts they use in turn.

    purpose: tells those apart whose tickets must not be taken for each other's. shared: with other workers and nodes;
    None for tickets that only this object's contexts take. clock: seconds since 1970, by which all of them agree on
    periods. chains: those that clients presented.
    """

    def __init__(
        self, purpose: str = "", shared: DailySecrets | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._purpose = purpose
        self._shared = shared
        self._clock = clock
        self._alone = secrets.token_bytes(SECRET_OCTETS)
        self.chains = ChainMemory()

    def period(self) -> int:
        """The number of the period that we are in."""
        return int(self._clock() // MAX_AGE)

    def is_complete(self, period: int) -> bool:
        """Whether what is shared in a period is known, so that its keys are what they will be."""
        return self._shared is None or self._shared.secret(_day(period)) is not None

    def shared_keys(self, rule: str, period: int) -> bytes:
        """Ticket keys that all have who share the day's secret; while it is not known, nobody else has them."""
        known = self._shared.secret(_day(period)) if self._shared is not None else None
        return self._keys(known or self._alone, "shared", rule, period)

    def own_keys(self, rule: str, period: int) -> bytes:
        """Ticket keys that nobody else has."""
        return self._keys(self._alone, "own", rule, period)

    def context_name(self, rule: str, period: int) -> bytes:
        """The 32 bytes that a session is bound to besides its ticket's key (SSL_CTX_set_session_id_context)."""
        return sha256(repr((self._purpose, rule, period)).encode()).digest()

    def _keys(self, secret: bytes, whose: str, rule: str, period: int) -> bytes:
        info = repr(("gatepost session tickets", whose, self._purpose, rule, period)).encode()
        return HKDFExpand(SHA256(), openssl_tickets.KEYS, info).derive(secret)


class TicketIssuer:
    """The ticket keys of one server context, at each moment those that its handshake is to use.

    A ticket proves the client's certificate but has lost the rest of the chain, without which the certificate may not
    lead to its authority. Who presented more than a certificate therefore gets a ticket that only this worker takes,
    which remembers the chain (`ServerSessions.chains`): it identifies the client as a full handshake does, or is none.
    `begin` and `end` stand around each step of a handshake, which is one call for OpenSSL.
    """

    __slots__ = ("_contexts", "_is_own", "_own", "_period", "_rule", "_shared", "_slot", "sessions")

    def __init__(self, sessions: ServerSessions, rule: str) -> None:
        """rule: of the context; tickets of another rule are not accepted."""
        self.sessions = sessions
        self._rule = rule
        self._contexts: Sequence[SSL.Context] = ()
        self._slot: TicketKeySlot | None = None
        self._shared = self._own = b""
        self._is_own = False
        self._period = -1

    def attach(self, contexts: Sequence[SSL.Context], *, alone: bool) -> None:
        """Issue tickets for these contexts: the first is that of new connections, SNI chooses among the others.

        alone: with the keys that OpenSSL made for them, which no other context has.
        """
        self._contexts = contexts
        self._slot = None if alone else openssl_tickets.slot_of(contexts[0])

    def renew(self) -> None:
        """Use the keys of now; cheap, and called for each new connection."""
        period = self.sessions.period()
        if period == self._period:
            return
        name = self.sessions.context_name(self._rule, period)
        for context in self._contexts:
            private.set_session_context(context, name)
        self._period = period if self.sessions.is_complete(period) else -1
        self._shared = self.sessions.shared_keys(self._rule, period)
        self._own = self.sessions.own_keys(self._rule, period)
        if self._slot is not None:
            self._slot.set(self._shared)

    def begin(self, heard: bytes, *, own: bool) -> None:
        """Before a step. heard: from the client so far. own: what `end` said of the step before."""
        if own or self._own[:16] in heard:
            self.keep_own()

    def keep_own(self) -> None:
        """In the midst of a step: the client's chain has more than its certificate."""
        if self._slot is not None and not self._is_own:
            self._slot.set(self._own)
            self._is_own = True

    def end(self) -> bool:
        """After a step. Whether the handshake is with keys that only this worker has."""
        if self._slot is None or not self._is_own:
            return False
        self._slot.set(self._shared)
        self._is_own = False
        return True


def _day(period: int) -> int:
    return int(period * MAX_AGE) // DAY
