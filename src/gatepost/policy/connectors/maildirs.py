"""Find mailboxes whose mail is written to a Maildir of one node, where several nodes deliver.

Each node has a data directory of its own: mail for such a mailbox would lie on whichever node delivered it, where its
reader does not find it. Over LMTP, or on a file system that all nodes share, every node delivers to one place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatepost.policy.connectors.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gatepost.policy.connectors.records import Organization

_WHY = (
    "with PostgreSQL any node delivers, and a Maildir under data_dir is on one node alone, where its reader may not "
    "find the mail"
)


def maildir_errors(organizations: Iterable[Organization]) -> list[FieldError]:
    """An error for each mailbox with a Maildir, by its path."""
    return [
        FieldError(
            f"organization.{organization.name}.mailbox {mailbox.address!r}.delivery",
            f'{_WHY}: write delivery = "lmtp:HOST:PORT", or have all nodes share the directory and say so with '
            "store.shared_mailboxes",
        )
        for organization in organizations
        for mailbox in organization.mailboxes
        if mailbox.delivery == "maildir"
    ]


def stored_maildirs(organizations: Mapping[str, Any]) -> list[str]:
    """The addresses of mailboxes with a Maildir, of stored documents of organizations by name."""
    return [
        str(mailbox.get("address", ""))
        for document in organizations.values()
        for mailbox in document.get("mailbox", ())
        if mailbox.get("delivery", "maildir") == "maildir"
    ]


def node_local_text(addresses: list[str]) -> str:
    """Why a gateway with these mailboxes is not used with PostgreSQL, and what to do; "" without any."""
    if not addresses:
        return ""
    more = f" and {len(addresses) - 1} more" if len(addresses) > 1 else ""
    return (
        f"mail for {addresses[0]}{more} goes to a Maildir of the node: {_WHY}. Change the delivery of these mailboxes "
        'to LMTP (delivery = "lmtp:HOST:PORT"); or let all nodes share data_dir/maildir, '
        "such as over NFS, and set [store] shared_mailboxes = true"
    )
