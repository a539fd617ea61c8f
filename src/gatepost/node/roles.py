"""The differences between listener roles: what is offered, who is let in, and the role of a connection.

Used by `node.assembly`. A connection is known by the address it was made to, as settings wrote it.
"""

from __future__ import annotations

import secrets
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.mail.inbound.login import Logins, mechanisms
from gatepost.node.lifecycle import Lifecycle
from gatepost.policy.connectors.names import host_port
from gatepost.policy.connectors.network_set import NetworkSet
from gatepost.policy.decisions.handover import ORIGIN_OCTETS
from gatepost.protocols.smtp.extensions import Extensions
from gatepost.settings.roles import ListenerRole
from gatepost.store.figures import WORKERS_DIRECTORY
from gatepost.store.node_failures import FAILURES_FILE, NodeFailures
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gatepost.mail.inbound.service import InboundService
    from gatepost.net.lookups.issuer_keys import IssuerKeys
    from gatepost.net.stream import Endpoint
    from gatepost.pki.site.credentials import NodeCredentials
    from gatepost.policy.connectors.directory import Directory
    from gatepost.protocols.smtp.limits import SmtpLimits
    from gatepost.settings.model import Listener
    from gatepost.store.changes import ConfigStore


_SECRET: Final = "password-secret"  # noqa: S105 - the name it is stored under
_ADDED_BYTES: Final = 65_536  # more than the fields that nodes put before a message on its way through the site


class ListenerUse(msgspec.Struct, frozen=True):
    """The use of one listener. proxies, xclient: addresses that may name the client, by PROXY header and by XCLIENT."""

    role: ListenerRole
    proxies: NetworkSet
    xclient: NetworkSet


_UNKNOWN: Final = ListenerUse(ListenerRole.MX, NetworkSet.of(()), NetworkSet.of(()))
_EVERYWHERE: Final = {"0.0.0.0": 4, "::": 6}  # noqa: S104 - compared with, not listened on


class ListenerUses:
    """The uses of all listeners, by the end of a connection that is ours."""

    __slots__ = ("_by_address", "of")

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self.of: Final = lru_cache(maxsize=256)(self._of)  # asked for each connection, by the few ends that we have
        self._by_address = [
            (
                *host_port(listener.address, None, lowest=0),
                ListenerUse(
                    listener.role,
                    NetworkSet.of(listener.proxy_protocol_from),
                    NetworkSet.of(listener.xclient_from),
                ),
            )
            for listener in listeners
        ]

    @property
    def know_proxies(self) -> bool:
        """Whether any listener has proxies."""
        return any(use.proxies for _, _, use in self._by_address)

    def trust(self, host: str) -> bool:
        """Whether a host may name its clients, on any listener."""
        return any(host in use.proxies or host in use.xclient for _, _, use in self._by_address)

    def _of(self, local: Endpoint) -> ListenerUse:
        """The use of the listener that a connection to `local` came to. Unless settings tell, mail from servers.

        That with the very address goes before one for all addresses, and that before one that is written by name.
        """
        here = [(host, use) for host, port, use in self._by_address if port == local.port]
        family = 6 if ":" in local.host else 4
        return next(
            (
                use
                for fits in (local.host.__eq__, lambda host: _EVERYWHERE.get(host) == family, lambda _: True)
                for host, use in here
                if fits(host)
            ),
            _UNKNOWN,
        )


def logins_of(data: Path, resources: ConfigStore, keys: IssuerKeys) -> tuple[Logins, Lifecycle]:
    """The log-ins of a worker, and their life; failures count for all workers. Raises OSError if they cannot."""
    failures = NodeFailures(data / WORKERS_DIRECTORY / FAILURES_FILE)
    logins = Logins(resources.content, partial(login_secret, resources), failures, keys)

    def close() -> None:
        logins.close()
        failures.close()

    return logins, Lifecycle("log-ins", close=close)


def forget_login_failures(data: Path) -> None:
    """Before the workers start: the times of the run before are of another clock. Raises OSError."""
    (data / WORKERS_DIRECTORY / FAILURES_FILE).unlink(missing_ok=True)


def services_by_role(
    servers: InboundService, logins: Logins, credentials: NodeCredentials
) -> dict[ListenerRole, InboundService]:
    """The inbound side of each role, made from that for mail from other servers."""
    servers = replace(servers, nodes=lambda: credentials.nodes)
    submission = replace(servers, logins=logins, role=str(ListenerRole.SUBMISSION))
    internal = replace(
        servers,
        implicit_tls=True,
        smtp_limits=internal_limits(servers.smtp_limits),
        admit=lambda chain: credentials.admit(chain, servers.clock()),
        trust=lambda: credentials.renewals,
        check_revocation=None,  # nodes renew every few days, and the site publishes no list
        role=str(ListenerRole.INTERNAL),
    )
    return {
        ListenerRole.INTERNAL: internal,
        ListenerRole.MX: servers,
        ListenerRole.SUBMISSION: submission,
        ListenerRole.SUBMISSIONS: replace(submission, implicit_tls=True, role=str(ListenerRole.SUBMISSIONS)),
    }


def internal_limits(limits: SmtpLimits) -> SmtpLimits:
    """The limits for another node: all that it has accepted, with its own trace field and XGATEPOST."""
    return replace(
        limits,
        command_line=max(limits.command_line, 4096) + ORIGIN_OCTETS,
        header_bytes=limits.header_bytes + _ADDED_BYTES,
        message_bytes=limits.message_bytes + _ADDED_BYTES,
    )


def extensions_of(role: ListenerRole, limits: SmtpLimits, directory: Directory, *, has_certificate: bool) -> Extensions:
    """The extensions that a listener of that role offers. limits: the server's own."""
    if role is ListenerRole.INTERNAL:
        return Extensions.within(internal_limits(limits), starttls=False, origin=True)
    starttls = has_certificate and role is not ListenerRole.SUBMISSIONS
    return Extensions.within(limits, starttls=starttls, auth=mechanisms(directory) if role.for_users else ())


def login_secret(store: ConfigStore) -> bytes:
    """The installation's own, made when it is first needed. Raises StoreFailure."""
    return store.content_once(_SECRET, lambda: secrets.token_bytes(32))
