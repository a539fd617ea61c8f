"""Send mail to the owner of this gateway, through the ordinary queue.

Called by `node.alarms`. It has the null reverse-path, as notices have (RFC 3834 section 3.3, RFC 5321 section 4.5.5),
so that nothing ever answers it; each recipient's delivery is carried by an organization, by whose connectors it goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.mail.model.message import Delivery, Recipient
from gatepost.mail.model.queue_id import format_id
from gatepost.mail.queue.own_mail import own_message, path_of
from gatepost.policy.connectors.grants import TENANTS_CHOOSE
from gatepost.policy.connectors.names import parents
from gatepost.policy.decisions.forwarding import Target, expand

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatepost.node.site_mail import SiteMail
    from gatepost.policy.connectors.directory import Directory


class OwnerMail:
    """mail: its way. hostname: ours."""

    def __init__(self, mail: SiteMail, hostname: str) -> None:
        self._mail = mail
        self._hostname = hostname

    async def send(
        self, to: Sequence[str], subject: str, build: Callable[[str], bytes], *, now: float
    ) -> tuple[str, ...]:
        """Queue one message and return whom it cannot go to, as no organization may carry it.

        build: makes the content, given the Message-ID without angle brackets. Raises StoreFailure.
        """
        groups: dict[tuple[str, str, str], list[Target]] = {}
        lost = []
        directory = self._mail.directory()
        for address in to:
            path = path_of(address)
            organization = carrier(directory, path.domain, self._hostname)
            if organization:
                for target in expand(directory, path).targets:
                    groups.setdefault((organization, target.path.domain, target.forwarded_by), []).append(target)
            else:
                lost.append(address)
        if groups:
            await self._queue(groups, subject, build, now)
        return tuple(lost)

    async def _queue(
        self, groups: dict[tuple[str, str, str], list[Target]], subject: str, build: Callable[[str], bytes], now: float
    ) -> None:
        number = self._mail.store.new_id()
        message_id = f"{format_id(number)}@{self._hostname}"
        content = build(message_id)
        first = next(iter(groups))[0]
        about = {"notice_about": "certificates"}  # made here: no server of the organization brought it
        message = own_message(number, first, content, message_id=message_id, subject=subject, inbound=about, now=now)
        deliveries = [
            Delivery(
                self._mail.store.new_id(),
                message,
                f"{organization}/{domain}",
                [Recipient(target.path.text, notify="NEVER", forwarded_by=by) for target in targets],
                expires_at=now + self._mail.expiration(organization),
            )
            for (organization, domain, by), targets in groups.items()
        ]
        await self._mail.queue(message, deliveries, content)


def carrier(directory: Directory, domain: str, hostname: str) -> str:
    """The organization that carries mail of our own to a domain (A-labels), "" if none may.

    Whoever accepts the domain; else whoever has our own host name in a domain of theirs; else the only organization
    there is, or the first by name that no tenant changes: a tenant would lead the owner's mail, which tells of all
    others, to a server of its own.
    """
    candidates = (domain, *parents(hostname))
    owner = next(
        (
            organization
            for candidate in candidates
            if (organization := directory.organization_of(candidate)) is not None
        ),
        None,
    )
    if owner is not None:
        return owner.name
    organizations = directory.resources.organizations
    ours = (
        [each for each in organizations if TENANTS_CHOOSE not in each.ungranted] if organizations[1:] else organizations
    )
    return min((organization.name for organization in ours), default="")
