"""The kinds of route for a recipient: values, made by `policy.decisions.route`.

Pure. Who decides about a route, and whose demands hold beside, says `policy.decisions.parties`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gatepost.policy.decisions.content import NO_DEMAND, ContentDemand

if TYPE_CHECKING:
    from gatepost.policy.connectors.records import Mailbox, OutboundConnector
    from gatepost.policy.decisions.parties import SenderPart
    from gatepost.policy.decisions.requirement import Requirement
    from gatepost.protocols.smtp.replies import Reply


class NextHop(msgspec.Struct, frozen=True):
    """A host that an administrator named: a name, an IP address, or the path of a Unix socket (then port is 0).

    rehearsed: what a connector in rehearsal would require. at: the name or IP address under which it is found, if that
    is not its own name. bounded: a tenant chose it, so that only some addresses may be called
    (`policy.connectors.addresses`).
    """

    host: str
    port: int
    requirement: Requirement
    rehearsed: Requirement | None = None
    at: str = ""
    bounded: bool = False

    @property
    def place(self) -> str:
        """As an administrator writes it: "host:port", "[v6]:port" or "unix:/path"."""
        if self.host.startswith("/"):
            return f"unix:{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class MailboxRoute(msgspec.Struct, frozen=True):
    """Maildirs here; the mailboxes are in the order of the recipients.

    domain_owner: the organization that accepts the recipients' domain, "" for none. content: as in SmartHosts; only of
    mail of another organization anything is asked.
    """

    mailboxes: tuple[Mailbox, ...]
    domain_owner: str = ""
    content: ContentDemand = NO_DEMAND


class LmtpRoute(msgspec.Struct, frozen=True):
    """Mailboxes behind an LMTP server (RFC 2033).

    forward_paths: the path sent to the server for each recipient, in their order: it knows no aliases of ours.
    domain_owner, content: as in MailboxRoute.
    """

    hop: NextHop
    forward_paths: tuple[str, ...] = ()
    domain_owner: str = ""
    content: ContentDemand = NO_DEMAND


class InternalRoute(msgspec.Struct, frozen=True):
    """To the node of the site where the organization lives, whatever connectors and rules say: there they are asked.

    hop: its internal listener, by the name of the node. reasons: as in SmartHosts. others: of nodes that share its
    store, in the order in which they are tried after it; each must prove its own name.
    """

    hop: NextHop
    reasons: tuple[str, ...] = ()
    others: tuple[NextHop, ...] = ()

    @property
    def hops(self) -> tuple[NextHop, ...]:
        """All of them, in order."""
        return self.hop, *self.others


class SmartHosts(msgspec.Struct, frozen=True):
    """The smart hosts of a connector, in its order, each with its own requirement.

    reasons: why this connector. passed_over: label and why not, of those that would have taken the domain as well.
    by_rule: whether a mail flow rule made it what it is, so that how it fares says nothing of the domain's other mail.
    content: the demands on the message itself. connector_owner: the organization whose connectors say which way it
    is. domain_owner: the one that accepts the recipients' domain, "" for none. sender: the part of the organization
    whose mail it is, None where that is the connector's owner: what it demands is in the requirement and in `content`.
    """

    connector: OutboundConnector
    hops: tuple[NextHop, ...]
    reasons: tuple[str, ...] = ()
    passed_over: tuple[tuple[str, str], ...] = ()
    by_rule: bool = False
    content: ContentDemand = NO_DEMAND
    connector_owner: str = ""
    domain_owner: str = ""
    sender: SenderPart | None = None


class MxRoute(msgspec.Struct, frozen=True):
    """The MX hosts of a domain (A-labels or an address literal). connector: whose requirement it is, if anybody's.

    bounded: as in NextHop, of all hosts. The rest: as in SmartHosts.
    """

    domain: str
    connector: OutboundConnector | None
    requirement: Requirement
    rehearsed: Requirement | None = None
    reasons: tuple[str, ...] = ()
    passed_over: tuple[tuple[str, str], ...] = ()
    by_rule: bool = False
    content: ContentDemand = NO_DEMAND
    connector_owner: str = ""
    domain_owner: str = ""
    sender: SenderPart | None = None
    bounded: bool = False


class Unroutable(msgspec.Struct, frozen=True):
    """Nowhere: for now or for good, as the reply says. detail: for us. The rest: as in SmartHosts."""

    reply: Reply
    detail: str
    reasons: tuple[str, ...] = ()
    passed_over: tuple[tuple[str, str], ...] = ()
    content: ContentDemand = NO_DEMAND


type Route = MailboxRoute | LmtpRoute | InternalRoute | SmartHosts | MxRoute | Unroutable
