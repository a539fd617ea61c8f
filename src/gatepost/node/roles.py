"""What the roles of listeners differ in: what is offered, who is let in, and which role a connection came to.

Used by `node.assembly`. A connection is known by the address it was made to, as settings wrote it.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gatepost.connectors.names import host_port
from gatepost.inbound.login import mechanisms
from gatepost.settings.model import ListenerRole
from gatepost.smtp.extensions import Extensions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.connectors.match import Directory
    from gatepost.inbound.login import Logins
    from gatepost.inbound.service import InboundService
    from gatepost.net.stream import Endpoint
    from gatepost.settings.model import Listener
    from gatepost.smtp.limits import SmtpLimits
    from gatepost.store.changes import ConfigStore

__all__ = ["extensions_of", "login_secret", "role_of", "services_by_role"]

_SECRET: Final = "password-secret"  # noqa: S105 - the name it is stored under


def role_of(listeners: Sequence[Listener], local: Endpoint) -> ListenerRole:
    """The role of the listener that a connection to `local` came to. Unless settings tell, mail from servers."""
    here = [
        (host, one.role)
        for one in listeners
        for host, port in (host_port(one.address, None, lowest=0),)
        if port == local.port
    ]
    exact = [role for host, role in here if host == local.host]
    return (exact or [role for _, role in here] or [ListenerRole.MX])[0]


def services_by_role(servers: InboundService, logins: Logins) -> dict[ListenerRole, InboundService]:
    """The inbound side of each role, made from that for mail from other servers."""
    submission = replace(servers, logins=logins, role=str(ListenerRole.SUBMISSION))
    return {
        ListenerRole.MX: servers,
        ListenerRole.SUBMISSION: submission,
        ListenerRole.SUBMISSIONS: replace(submission, implicit_tls=True, role=str(ListenerRole.SUBMISSIONS)),
    }


def extensions_of(role: ListenerRole, limits: SmtpLimits, directory: Directory, *, has_certificate: bool) -> Extensions:
    """What a listener of that role offers."""
    starttls = has_certificate and role is not ListenerRole.SUBMISSIONS
    return Extensions.within(limits, starttls=starttls, auth=mechanisms(directory) if role.for_users else ())


def login_secret(store: ConfigStore) -> bytes:
    """The installation's own, made when it is first needed. Raises StoreFailure."""
    if (found := store.content(_SECRET)) is None:
        store.apply({}, author="gatepost", content={_SECRET: secrets.token_bytes(32)})
        found = store.content(_SECRET)
    assert found is not None  # noqa: S101 - it was written just now, by us or by another worker
    return found
