"""Make the content steps of `mail.outbound.content` in their order, from the settings.

Called by `node.assembly`, once for a worker. The order matters: header fields that stay here are taken out first; what
one organization encrypts for another one's mailboxes here, the other may decrypt; DKIM signs what is sent, and ARC
seals that.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.mail.outbound.arc import ArcSealing
from gatepost.mail.outbound.content import ContentSteps
from gatepost.mail.outbound.dkim import DkimSigning
from gatepost.mail.outbound.in_memory_transform import InMemoryTransform
from gatepost.mail.outbound.organization_headers import OrganizationHeaders
from gatepost.mail.outbound.smime import SmimeProtection
from gatepost.mail.outbound.smime_decryption import SmimeDecryption
from gatepost.node.certificate_manager import vault_of
from gatepost.pki.smime.store import SmimeStore
from gatepost.policy.connectors.mail_flow import Content
from gatepost.policy.decisions.route import RoutePlanner
from gatepost.protocols.message.fields import field_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.mail.model.message import Delivery
    from gatepost.pki.certificates.dkim_keys import DkimKeys
    from gatepost.policy.connectors.directory import Directory
    from gatepost.settings.model import Settings
    from gatepost.store.changes import ConfigStore


def content_steps(settings: Settings, resources: ConfigStore, dkim: DkimKeys) -> ContentSteps:
    """All steps. Nothing but these changes what was accepted. dkim: the private keys that sign."""
    bench = InMemoryTransform(
        Path(settings.server.data_dir) / "made", settings.smime.max_size, settings.store.free_space
    )
    store = SmimeStore(resources, vault_of(settings, resources))
    protection = SmimeProtection(store, bench, time.time)
    decryption = SmimeDecryption(store, bench, settings.server.hostname)
    headers = OrganizationHeaders(settings.server.hostname)
    signing = DkimSigning(dkim, time.time)
    sealing = ArcSealing(dkim, time.time)
    return ContentSteps(headers, protection, decryption, signing, sealing, dividers=(protection, decryption))


class SecretContent:
    """Whether a notice about a message must not hold its content, as that was to leave only encrypted.

    directory: the one in force.
    """

    def __init__(self, directory: Callable[[], Directory]) -> None:
        self._directory = directory
        self._planner = RoutePlanner(directory())
        self._made_for = directory()

    def __call__(self, delivery: Delivery, original: bytes) -> bool:
        """original: the message, or as much of it as holds the header section."""
        if self._made_for is not (current := self._directory()):
            self._planner, self._made_for = RoutePlanner(current), current
        message = delivery.message
        header = original.partition(b"\r\n\r\n")[0] + b"\r\n"
        names = self._planner.header_names(delivery.organization, delivery.recipients)
        return self._planner.encrypts(
            delivery.organization,
            delivery.recipients,
            reverse_path=message.reverse_path,
            content=Content(field_values(header, names)),
            from_on_premises=message.from_on_premises,
        )
