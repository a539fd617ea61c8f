"""The sources of recipients of relayed domains that a worker has: the server behind, directories, Graph and files.

Made by `node.assembly`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.mail.inbound.recipient_directory import RecipientDirectorySource
from gatepost.mail.inbound.recipient_file import FileSource
from gatepost.mail.inbound.recipient_graph import RecipientGraphSource
from gatepost.mail.inbound.recipient_lookups import RecipientLookups
from gatepost.net.lookups.graph import GraphClient
from gatepost.net.lookups.ldap import LdapClient
from gatepost.node.certificate_manager import vault_of
from gatepost.node.lifecycle import Lifecycle
from gatepost.pki.certificates.connector_secrets import SealedSecrets
from gatepost.policy.connectors.values import RecipientValidation

if TYPE_CHECKING:
    from gatepost.mail.outbound.callout import Callout
    from gatepost.net.lookups.access_tokens import AccessTokens
    from gatepost.node.lookups import LookupServices
    from gatepost.node.observation import Observation
    from gatepost.settings.model import Settings
    from gatepost.store.changes import ConfigStore


class RecipientSources:
    """resources: with the passwords of directories. callout: asks the server behind the gateway. tokens: for Graph."""

    def __init__(
        self,
        settings: Settings,
        lookups: LookupServices,
        resources: ConfigStore,
        callout: Callout,
        tokens: AccessTokens,
    ) -> None:
        stored = SealedSecrets(resources.content, vault_of(settings, resources))
        self._client = LdapClient(lookups.resolver, load=lookups.files.anchors)
        self._directory = RecipientDirectorySource(self._client, stored, settings.tls.trust_anchors)
        self._graph = RecipientGraphSource(GraphClient(tokens.client), tokens, stored)
        self._file = FileSource()
        self._callout = callout

    def lookups(self, observation: Observation) -> RecipientLookups:
        """The lookups for sessions."""
        return RecipientLookups(
            {
                RecipientValidation.CALLOUT: self._callout,
                RecipientValidation.LDAP: self._directory,
                RecipientValidation.GRAPH: self._graph,
            },
            counts=observation.counts,
            at_hand={RecipientValidation.FILE: self._file},
            told=observation.note_source,
        )

    def parts(self) -> tuple[Lifecycle, ...]:
        """The lives of connections and files."""
        return (
            Lifecycle("directories of recipients", reload=self._client.reload, close=self._client.close),
            Lifecycle("files of recipients", close=self._file.close),
        )
