"""The input of a hybrid plan: an organization, this gateway as others see it, and the Exchange at the other end.

Gathered by `manage.cli.hybrid`; read by the rest of `hybrid`. Values only, no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gatepost.pki.certificates.entry import PendingRequest, Purpose
from gatepost.policy.connectors.names import covers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatepost.policy.connectors.records import Mailbox, Organization
    from gatepost.protocols.tls.facts import CertificateFacts, ChainVerdict


@dataclass(frozen=True, slots=True)
class Given:
    """hostname: of the gateway. exchange_host: by which Exchange is reached and named. domains: those that both serve.

    routing_domain: one that only the gateway serves, by which Exchange reaches mailboxes there; "" for none. listens:
    whether an mx listener is configured. server: the certificates that it presents. clients: the current client
    identities of the organization, by label. files: what certificate files of outbound connectors hold, by the
    connector's name. requests: for certificates, which wait. exchange: the chain that Exchange presents, judged; None
    if it was not shown. addresses: from which the gateway reaches Exchange. revocation_hosts: which both ends must
    reach to look for revoked certificates. centralised: all mail is to go by Exchange. warnings: what
    `policy.connectors.lint` says of the organization. now: seconds since 1970.
    """

    organization: Organization
    hostname: str
    exchange_host: str
    domains: Sequence[str] = ()
    routing_domain: str = ""
    listens: bool = True
    server: Sequence[CertificateFacts] = ()
    clients: Mapping[str, CertificateFacts] = field(default_factory=dict)
    files: Mapping[str, CertificateFacts] = field(default_factory=dict)
    requests: Sequence[PendingRequest] = ()
    exchange: ChainVerdict | None = None
    addresses: Sequence[str] = ()
    revocation_hosts: Sequence[str] = ()
    centralised: bool = False
    warnings: Sequence[str] = ()
    now: float = 0.0

    def routing_address(self, mailbox: Mailbox) -> str:
        """The address in the routing domain that a mailbox has, or is to have."""
        names = (mailbox.address, *mailbox.aliases)
        known = (name for name in names if name.rpartition("@")[2].lower() == self.routing_domain)
        return next(known, f"{mailbox.address.rpartition('@')[0]}@{self.routing_domain}")

    @property
    def shared_mailboxes(self) -> tuple[Mailbox, ...]:
        """Mailboxes here in domains that both serve."""
        domains = set(self.domains)
        mailboxes = (box for box in self.organization.mailboxes if box.address.rpartition("@")[2].lower() in domains)
        return tuple(mailboxes)

    @property
    def name_for_connector(self) -> str:
        """The tls_sender_certificate_name to propose: one that Exchange's certificate bears and the organization owns.

        The very name if it is an accepted domain, else all names of the accepted domain above it, as the hybrid wizard
        does (exchange.md section 2.2): a name that the organization does not own relays only for its own senders.
        """
        host = self.exchange_host
        owned = [domain.name for domain in self.organization.accepted_domains]
        if any(covers(name, host) for name in owned):
            return host
        above = [name.removeprefix("*.") for name in owned if host.endswith("." + name.removeprefix("*."))]
        return f"*.{max(above, key=len)}" if above else host

    def request_for(self, purpose: Purpose, label: str = "") -> PendingRequest | None:
        """The newest request for a certificate with the gateway's name; a client's has this label, too."""
        owner = self.organization.name if purpose is Purpose.CLIENT else ""
        waiting = (
            request
            for request in self.requests
            if (request.wish.purpose, request.wish.organization) == (purpose, owner)
            and (purpose is Purpose.SERVER or request.wish.label == label)
            and any(covers(name, self.hostname) for name in request.wish.names)
        )
        return max(waiting, key=lambda request: request.added, default=None)

    def is_valid(self, leaf: CertificateFacts) -> bool:
        """Whether a certificate's time has come and has not passed."""
        return leaf.not_before <= self.now < leaf.not_after
