"""The passwords and client secrets by which connectors log in to smart hosts: sealed beside the resources, or in files.

Used by `mail.outbound.login` and `manage.use_cases.login_secrets`. A secret is content of the configuration store,
sealed as private keys are, so that no export, history or log has it. It is sealed together with where it may go: who
later names other smart hosts, another certificate name, other roots or another token endpoint has to enter it again.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gatepost.pki.certificates.vault import Vault, VaultError, read_secret
from gatepost.store.interface import StoreFailure
from gatepost.store.storage import Storage
from gatepost.texts import last_argument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gatepost.policy.connectors.records import OutboundConnector
    from gatepost.settings.model import Settings


_MOST: Final = 1024  # octets of a secret
_BETWEEN: Final = b"\n"  # the digest of the destination, and what is sealed with it


class SecretError(Exception):
    """A secret cannot be used; the text says why and what to do, and holds no secret."""


class SecretState(StrEnum):
    """The state of a connector's secret. STALE: it was entered for another destination."""

    SEALED = "sealed"
    FILE = "file"
    STALE = "stale"
    MISSING = "missing"


class SecretPlace(msgspec.Struct, frozen=True):
    """Where a secret is, and where it may go.

    name: of its content in the store. destination: a digest of where it may go. enter: how it is entered. bound_to:
    what was different if it was entered for another destination. field, file: of the resource, "" if it is sealed.
    """

    name: str
    destination: str
    enter: str
    bound_to: str
    field: str = ""
    file: str = ""


class SealedSecrets:
    """content: what lies in the configuration store under a name. vault: opens it; None if no master key is set."""

    def __init__(self, content: Callable[[str], bytes | None], vault: Vault | None) -> None:
        self._content = content
        self._vault = vault

    def read(self, place: SecretPlace) -> str:
        """The secret, read anew each time, so that a new one counts for the next log-in. Raises SecretError."""
        if place.file:
            return _from_file(place.file, place.field)
        try:
            stored = self._content(place.name)
        except StoreFailure as failure:
            raise SecretError(f"the store cannot be read: {failure}") from failure
        if stored is None:
            raise SecretError(f"no secret is stored; {place.enter}")
        known, _, sealed = stored.partition(_BETWEEN)
        if known.decode("ascii", "replace") != place.destination:
            raise SecretError(f"the secret was entered for {place.bound_to}; {place.enter}")
        if self._vault is None:
            raise SecretError("the secret is sealed, and store.master_key is not set or not readable here")
        try:
            return self._vault.open(sealed, _bound(place)).decode()
        except VaultError as error:
            raise SecretError(str(error)) from error

    def state(self, place: SecretPlace) -> SecretState:
        """The state of the secret. Needs no vault, and reads no file."""
        if place.file:
            return SecretState.FILE
        stored = self._content(place.name)
        if stored is None:
            return SecretState.MISSING
        known = stored.partition(_BETWEEN)[0].decode("ascii", "replace")
        return SecretState.SEALED if known == place.destination else SecretState.STALE

    def sealed(self, place: SecretPlace, secret: str) -> dict[str, bytes]:
        """A secret as content for `ConfigStore.apply`. Raises SecretError without a master key, or for no secret."""
        check_secret(secret)
        if self._vault is None:
            raise SecretError(f"a secret is stored only sealed: set store.master_key, or name a {place.field}")
        content = place.destination.encode() + _BETWEEN + self._vault.seal(secret.encode(), _bound(place))
        return {place.name: content}


def stored_secrets(settings: Settings) -> SealedSecrets:
    """Those in the store of a gateway that may run or not, which is opened for each of them."""

    def content(name: str) -> bytes | None:
        with closing(Storage.of(settings).configuration()) as store:
            return store.content(name)

    try:
        vault = Vault.of(settings.store.master_key)
    except VaultError:
        vault = None  # said once a secret is asked for
    return SealedSecrets(content, vault)


def check_secret(secret: str) -> None:
    """Raises SecretError for a text that no server can take as a secret."""
    if not secret:
        raise SecretError("the secret is empty")
    if len(secret.encode()) > _MOST:
        raise SecretError(f"the secret has more than {_MOST} octets")
    if any(ord(char) < 32 or ord(char) == 127 for char in secret):
        raise SecretError("the secret has a control character; write it on one line")


def destination_of(connector: OutboundConnector) -> str:
    """Where the secret of a connector goes, and by what that proves itself, as a digest."""
    token_url = connector.authentication.token_url if connector.authentication is not None else ""
    hosts = sorted(map(str, connector.smart_hosts))
    parts = (*hosts, connector.tls_domain or "", connector.trust_anchors, token_url)
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def content_name(organization: str, connector: str) -> str:
    """The name of a secret's content in the store, which no other connector can have; names are alike in any case."""
    return f"login/{organization}/{connector.lower()}"


def connector_place(organization: str, connector: OutboundConnector) -> SecretPlace:
    """The place of the secret of a connector as it is now."""
    file = connector.authentication.secret_file if connector.authentication is not None else ""
    return secret_place(organization, connector.name, destination_of(connector), file)


def secret_place(organization: str, connector: str, destination: str, file: str) -> SecretPlace:
    """The place of the secret of a connector. destination: as `destination_of` has it. file: "" if it is sealed."""
    return SecretPlace(
        content_name(organization, connector),
        destination,
        f"enter it: gatepost connector secret {last_argument(connector)}",
        "other smart hosts, another tls_domain, other trust_anchors or another token_url",
        "secret_file",
        file,
    )


def _bound(place: SecretPlace) -> str:
    """What a secret is sealed for: moved elsewhere, it does not open."""
    return f"{place.name} {place.destination}"


def places(organization: str, document: Mapping[str, Any] | None) -> Iterable[str]:
    """Names of content that the connectors of an organization need, by its document."""
    return {
        content_name(organization, str(table["name"]))
        for table in (document or {}).get("outbound_connector", [])
        if table.get("authentication") and not table["authentication"].get("secret_file")
    }


def _from_file(path: str, field: str) -> str:
    try:
        data = read_secret(f"file:{path}", {}, what=field, gone="write the secret into it, mode 0600")
        secret = data.decode().split("\n", 1)[0].rstrip("\r")
        check_secret(secret)
    except VaultError as error:
        raise SecretError(str(error)) from error
    except UnicodeDecodeError:
        raise SecretError(f"{field} {path}: its first line is not UTF-8") from None
    except SecretError as error:
        raise SecretError(f"{field} {path}: {error}") from None
    return secret
