"""Put together what keeps journal copies that cannot be delivered. Called by `node.assembly`, once for a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.mail.outbound.body import MessageBody
from gatepost.mail.queue.journal_failures import JournalFailures
from gatepost.policy.decisions.forwarding import expand

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.policy.connectors.directory import Directory
    from gatepost.store.interface import Store


def journal_failures(
    store: Store, directory: Callable[[], Directory], expiration: Callable[[str], float]
) -> JournalFailures:
    """directory: the one in force. expiration: seconds a message of an organization stays queued."""

    def failures_to(organization: str) -> str:
        journals = directory().journals
        journal = journals.get(organization) if journals is not None else None
        return journal.failures_to if journal is not None else ""

    return JournalFailures(
        store,
        failures_to,
        lambda delivery: MessageBody.stored(delivery, store).chunks(),
        lambda path: expand(directory(), path).targets,
        expiration,
    )
