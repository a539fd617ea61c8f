"""Passwords by which the gateway logs in to the directories of accepted domains: sealed in the store, or in files.

Used by `mail.inbound.recipient_directory` and `manage.use_cases.directory_password`. A password is sealed together with
where it may go: after a change of the servers, the name to log in with or the roots it has to be entered again.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.pki.certificates.connector_secrets import SealedSecrets, SecretPlace, SecretState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gatepost.pki.certificates.vault import Vault
    from gatepost.policy.connectors.accepted_domain import AcceptedDomain


class DirectorySecrets:
    """content: what lies in the configuration store under a name. vault: opens it; None if no master key is set."""

    def __init__(self, content: Callable[[str], bytes | None], vault: Vault | None) -> None:
        self._sealed = SealedSecrets(content, vault)

    def password(self, organization: str, domain: AcceptedDomain) -> str:
        """The password of a domain's directory, read anew each time. Raises SecretError."""
        return self._sealed.read(_place(organization, domain))

    def state(self, organization: str, domain: AcceptedDomain) -> SecretState:
        """The state of the password. Needs no vault, and reads no file."""
        return self._sealed.state(_place(organization, domain))

    def sealed(self, organization: str, domain: AcceptedDomain, password: str) -> dict[str, bytes]:
        """A password as content for `ConfigStore.apply`. Raises SecretError without a master key or password."""
        return self._sealed.sealed(_place(organization, domain), password)


def content_name(organization: str, domain: str) -> str:
    """The name of a password's content in the store."""
    return f"directory/{organization}/{domain.lower()}"


def orphaned(before: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, None]:
    """Content to be removed with a change, as `ConfigStore.apply` takes it: of domains without such a log-in.

    before: the stored document; wanted: the organizations that change.
    """
    old, new = before.get("organization", {}), wanted.get("organization", {})
    gone = {place for name in new for place in _places(name, old.get(name))}
    left = {place for name, document in new.items() for place in _places(name, document)}
    return dict.fromkeys(sorted(gone - left))


def _places(organization: str, document: Mapping[str, Any] | None) -> Iterator[str]:
    for table in (document or {}).get("accepted_domain", []):
        directory = table.get("recipient_directory") or {}
        if directory.get("bind_dn") and not directory.get("password_file"):
            yield content_name(organization, str(table["name"]))


def _place(organization: str, domain: AcceptedDomain) -> SecretPlace:
    directory = domain.recipient_directory
    parts = (directory.urls, directory.bind_dn, directory.trust_anchors) if directory is not None else ()
    return SecretPlace(
        content_name(organization, domain.name),
        hashlib.sha256(msgspec.json.encode(parts)).hexdigest(),
        f"enter it: gatepost domain password {domain.name}",
        "other servers, another bind_dn or other trust_anchors",
        "password_file",
        directory.password_file if directory is not None else "",
    )
