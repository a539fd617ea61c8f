"""Client certificates: the certificates that outbound connectors present, by the label that they name.

Made by `node.certificate_manager` for a worker and by `analysis.checks.probe` for a trial; `mail.outbound.contexts`
asks. An identity belongs to one organization: the connectors of another cannot name it.
"""

from __future__ import annotations

from contextlib import closing
from shlex import quote
from typing import TYPE_CHECKING

from gatepost.net.identity import IdentityError, ServerIdentity
from gatepost.pki.certificates.entry import Entry, Purpose, State
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.pki.certificates.inventory import Inventory
from gatepost.pki.certificates.token_check import problem_of
from gatepost.pki.certificates.vault import Vault, VaultError
from gatepost.store.interface import StoreFailure
from gatepost.store.storage import Storage

if TYPE_CHECKING:
    from gatepost.settings.model import Settings


class ClientIdentities:
    """The client certificates of an inventory, as of the last `refresh`."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._found: dict[tuple[str, str], tuple[Entry, ServerIdentity | str]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take up what is current by now. Raises StoreFailure."""
        _, entries = self._inventory.entries()
        current = [
            entry for entry in entries.values() if entry.purpose is Purpose.CLIENT and entry.state is State.CURRENT
        ]
        current.sort(key=lambda entry: entry.current_from)  # the one that became current last counts
        self._found = {(entry.organization, entry.label): (entry, self._read(entry)) for entry in current}

    def _read(self, entry: Entry) -> ServerIdentity | str:
        try:
            return self._inventory.identity(entry)
        except CertificateFileError as error:
            return str(error)

    def find(self, organization: str, label: str, now: float) -> ServerIdentity:
        """The identity of an organization that is current under a label at `now`. Raises IdentityError."""
        entry, identity = self._found.get((organization, label), (None, ""))
        if entry is None:
            raise IdentityError(
                f"{organization} has no current client certificate {label!r}; see `gatepost certificate list`; add it: "
                f"gatepost certificate add FILE --client --organization {organization} --label {quote(label)}"
            )
        if isinstance(identity, str):
            raise IdentityError(identity)
        if not entry.leaf.not_before <= now < entry.leaf.not_after:
            wrong = "has expired" if now >= entry.leaf.not_after else "is not valid yet"
            raise IdentityError(f"the client certificate {label!r} of {organization} (certificate {entry.id}) {wrong}")
        return identity


def stored_client_identities(settings: Settings, organization: str, label: str, now: float) -> ServerIdentity:
    """The same from the store of a gateway that may run or not, looked at this once. Raises IdentityError."""
    try:
        with closing(Storage.of(settings).configuration()) as store:
            inventory = Inventory(store, Vault.of(settings.store.master_key))
            identity = ClientIdentities(inventory).find(organization, label, now)
    except (StoreFailure, VaultError) as error:
        raise IdentityError(str(error)) from error
    if identity.in_token and (problem := problem_of(identity)):
        raise IdentityError(problem)
    return identity
