"""Choose the certificates to present: the current ones of the inventory, and those of the settings' files.

Called by `node.assembly` at the start, after SIGHUP, and when the stored version grows. A file of the settings whose
certificate the inventory knows as next or deprecated is not presented: a changeover has taken its place.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.net.engine import TlsFailure, client_context, server_context, shake_hands
from gatepost.net.identity import IdentityError, ServerIdentity, read_identity
from gatepost.pki.certificates.entry import Entry, Origin, Purpose, State, entry_id
from gatepost.pki.certificates.files import CertificateFileError, IdentityFiles, OtherCertificate
from gatepost.protocols.tls.profile import PROFILES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gatepost.pki.certificates.inventory import Inventory


_log = logging.getLogger(__name__)


def presented(inventory: Inventory, files: Sequence[ServerIdentity]) -> list[ServerIdentity]:
    """The certificates that listeners present, the latest to become current first. files: of the settings, as on disk.

    A stored one whose key is not available is left out, with a line in the log that says what to do. If no other would
    be left, the files are presented whatever the inventory says: no certificate is no STARTTLS. Raises
    CertificateFileError if some are current and none can be presented: a wrong master key must not make mail come
    unencrypted.
    """
    _, entries = inventory.entries()
    stored, failures = _stored(inventory, entries.values())
    wanted = [file for file in files if _wanted(file, entries)]
    if failures and not stored and not files:
        raise CertificateFileError(
            "\n".join(failures)
            + "\nso nothing can be presented, and mail would come unencrypted: put the master key back "
            "that was used, or name files in [[certificate]]"
        )
    for failure in failures:
        _log.error("a current certificate is not presented: %s", failure)
    if not stored and not wanted and files:
        _log.error("no certificate is current: the gateway presents those of the settings")
        return list(files)
    return [*stored, *wanted]


def settings_identities(inventory: Inventory, pairs: Sequence[tuple[Path, Path]]) -> list[ServerIdentity]:
    """The certificates in the settings' files, as last approved: a renewal counts once it is recorded.

    Raises CertificateFileError, which names all files that are wrong.
    """
    _, entries = inventory.entries()
    holders = {(entry.chain_file, entry.key_file): entry for entry in entries.values() if entry.chain_file}
    identities, errors = [], []
    for chain, key in pairs:
        holder = holders.get((str(chain), str(key)))
        try:
            identities.append(inventory.files.read(chain, key, holder.id if holder else ""))
        except OtherCertificate as other:
            if holder is not None and holder.state is State.CURRENT:
                identities.append(other.identity)
        except CertificateFileError as error:
            errors.append(str(error))
    if errors:
        raise CertificateFileError("\n".join(errors))
    return identities


def files_read_again(inventory: Inventory, pairs: Iterable[tuple[Path, Path]]) -> IdentityFiles:
    """The files of current certificates, servers' and clients', as they are now. pairs: those of the settings.

    Blocks. Raises CertificateFileError, which names all files that could be used before and cannot be any more;
    StoreFailure; ValueError as `Inventory.entries`.
    """
    _, entries = inventory.entries()
    current = (entry for entry in entries.values() if entry.chain_file and entry.state is State.CURRENT)
    files, lost = IdentityFiles(), []
    for pair in dict.fromkeys([*pairs, *((Path(entry.chain_file), Path(entry.key_file)) for entry in current)]):
        try:
            files.fetch(*pair)
        except CertificateFileError as error:
            if inventory.files.holds(*pair):
                lost.append(str(error))
    if lost:
        raise CertificateFileError("\n".join(lost))
    return files


def refused_by_tls(identity: ServerIdentity, profile: str) -> str:
    """Explain why a listener under a TLS profile could not present an identity, such as for too small a key; or "".

    A client of ours tries it, unless the key is in a token: no client has the curve of every key.
    """
    try:
        context = server_context([identity], PROFILES[profile], ask_client_certificate=False)
        if not identity.in_token:
            shake_hands(client_context(PROFILES[profile]).engine(), context.engine())
    except IdentityError as error:
        return str(error)
    except TlsFailure as failure:
        return f"no client can complete a handshake with it ({failure})"
    return ""


def _stored(inventory: Inventory, entries: Iterable[Entry]) -> tuple[list[ServerIdentity], list[str]]:
    """The current ones that can be had, and why the others cannot."""
    current = [
        candidate for candidate in entries if candidate.state is State.CURRENT and candidate.purpose is Purpose.SERVER
    ]
    identities, failures = [], []
    for entry in sorted(current, key=lambda candidate: -candidate.current_from):
        if entry.origin is Origin.SETTINGS:
            continue
        try:
            identities.append(inventory.identity(entry))
        except OtherCertificate as other:  # renewed while nothing ran; it is looked at more closely in a moment
            identities.append(other.identity)
        except CertificateFileError as failure:
            failures.append(str(failure))
    return identities, failures


def _wanted(identity: ServerIdentity, entries: Mapping[str, Entry]) -> bool:
    known = entries.get(entry_id(read_identity(identity).leaf))
    return known is None or known.state is State.CURRENT
