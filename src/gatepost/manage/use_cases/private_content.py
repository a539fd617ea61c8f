"""Passwords, private keys, secrets and validation results that are kept beside the resources and removed with them.

Used by `change`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from gatepost.analysis.checks.records import VALIDATIONS, CheckRecords
from gatepost.mail.inbound import credentials
from gatepost.manage.use_cases import domain_proof
from gatepost.pki.certificates import connector_secrets, directory_secrets, dkim_keys
from gatepost.pki.certificates.connector_secrets import SealedSecrets, SecretState, connector_place
from gatepost.pki.certificates.directory_secrets import asks_graph, directory_place, logs_in
from gatepost.policy.connectors.values import DkimState
from gatepost.store.documents import failure_text
from gatepost.store.interface import StoreFailure
from gatepost.texts import last_argument

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from gatepost.policy.connectors.records import Organization
    from gatepost.store.changes import ConfigStore
    from gatepost.store.storage import Storage


_log = logging.getLogger(__name__)

_PLACES: Final = (dkim_keys.places, connector_secrets.places, directory_secrets.places)


def orphaned(store: ConfigStore, before: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, bytes | None]:
    """Content to be removed with a change, as `ConfigStore.apply` takes it, since what it belongs to goes.

    before: the stored document; wanted: the organizations that change.
    """
    return {
        **credentials.orphaned(before, wanted, store.content),
        **dict.fromkeys(sorted(_needless(before, wanted))),
        **domain_proof.orphaned(wanted),
    }


def _needless(before: Mapping[str, Any], wanted: Mapping[str, Any]) -> set[str]:
    """Names of secrets and private keys that the organizations needed, and do not need any more."""
    old, new = before.get("organization", {}), wanted.get("organization", {})
    gone = {place for places in _PLACES for name in new for place in places(name, old.get(name))}
    return gone - {place for places in _PLACES for name, document in new.items() for place in places(name, document)}


def forget_validations(storage: Storage, before: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Remove the results of connectors that a change removed, and of organizations that are not there any more.

    A failure is for the log alone. before, wanted: as of `orphaned`, once the change is stored. Organizations that an
    earlier version removed left their results.
    """
    old, new = before.get("organization", {}), wanted.get("organization", {})
    for name, table in new.items():
        left = _connectors(table)
        if not _connectors(old.get(name)) <= left:
            _keep_only(storage, name, left)
    try:
        gone = [name for name in map(unquote, storage.document_folders(VALIDATIONS)) if name not in new]
    except (OSError, StoreFailure) as error:
        _log.warning("results of validations cannot be removed: %s", error)
        return
    for name in gone:
        _keep_only(storage, name, set())


def _keep_only(storage: Storage, organization: str, connectors: set[tuple[str, str]]) -> None:
    records = CheckRecords(storage, VALIDATIONS, organization)
    try:
        records.keep_only(connectors)
    except (OSError, StoreFailure) as error:
        _log.warning("results of validations cannot be removed: %s", failure_text(records.documents, error))


def _connectors(table: Mapping[str, Any] | None) -> set[tuple[str, str]]:
    """Direction and name of each connector; the case of a name does not matter."""
    return {
        (direction, connector["name"].lower())
        for direction in ("inbound", "outbound")
        for connector in (table or {}).get(f"{direction}_connector", ())
    }


def keys_lacking(
    store: ConfigStore, organizations: Iterable[Organization], coming: Collection[str] = ()
) -> Iterator[str]:
    """DKIM keys whose private half is neither in a file nor in the store, and what that means, a sentence each.

    coming: names of content that is about to be stored.
    """
    for organization in organizations:
        for key in organization.dkim_keys:
            content = dkim_keys.content_name(organization.name, key.name)
            if key.key_file or content in coming or store.content(content) is not None:
                continue
            if key.state is not DkimState.RETIRED:
                yield (
                    f"DKIM key {key.name} of {organization.name}: its private key is not in this store, so it cannot "
                    f"sign; bring it in: gatepost dkim import {key.name} FILE"
                )


def secrets_lacking(store: ConfigStore, organizations: Iterable[Organization]) -> Iterator[str]:
    """Connectors that log in without a secret that may be used, and what that means, a sentence each."""
    stored = SealedSecrets(store.content, None)
    for organization in organizations:
        for connector in organization.outbound_connectors:
            if connector.authentication is None or not connector.enabled:
                continue
            why = _NO_SECRET.get(stored.state(connector_place(organization.name, connector)))
            if why:
                yield (
                    f"outbound connector {connector.name!r} of {organization.name}: {why}, so its mail waits; enter "
                    f"it: gatepost connector secret {last_argument(connector.name)}"
                )


def passwords_lacking(store: ConfigStore, organizations: Iterable[Organization]) -> Iterator[str]:
    """Domains whose directory is asked with a password or client secret, and none may be used, a sentence each."""
    stored = SealedSecrets(store.content, None)
    for organization in organizations:
        for domain in organization.accepted_domains:
            if not logs_in(domain):
                continue
            why = _NO_PASSWORD.get(stored.state(directory_place(organization.name, domain)))
            if why:
                what = "client secret for Microsoft Graph" if asks_graph(domain) else "password of its directory"
                yield (
                    f"accepted domain {domain.name} of {organization.name}: the {what} {why}, so nobody can be asked; "
                    f"enter it: gatepost domain password {domain.name}"
                )


_NO_PASSWORD = {
    SecretState.MISSING: "is not in this store",
    SecretState.STALE: "was entered for other servers or another name",
}
NOT_STORED = "the secret of its log-in is not in this store"
"""In the warning about a connector that logs in without a secret: whoever enters it at once leaves that warning out."""

_NO_SECRET = {
    SecretState.MISSING: NOT_STORED,
    SecretState.STALE: "the secret of its log-in was entered for another destination",
}
