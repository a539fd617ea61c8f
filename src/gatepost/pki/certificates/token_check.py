"""Try the keys in tokens that are, or are to be, presented, before this process logs in to a token itself.

Called where a process starts and where somebody asks for a key once. The trial (`net.token_trial`) is another process,
and the only one that tries a PIN which nobody proved: a worker that is started over and over locks no token.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from gatepost.net.token_access import TOKEN_KEYS
from gatepost.pki.certificates.entry import State
from gatepost.pki.certificates.files import CertificateFileError, load_identity
from gatepost.protocols.tls.token_uri import is_token_uri

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from gatepost.net.identity import ServerIdentity
    from gatepost.pki.certificates.inventory import Inventory


_log = logging.getLogger(__name__)

_TOGETHER: Final = 30.0  # seconds
_IN_USE: Final = frozenset({State.CURRENT, State.NEXT})


def token_keys(inventory: Inventory, pairs: Iterable[tuple[Path, Path]] = ()) -> dict[str, bytes]:
    """The chains (PEM) of current and next certificates by the `pkcs11:` URI of their key. pairs: of the settings.

    Raises ValueError if an entry is not of this version.
    """
    _, entries = inventory.entries()
    named = [load for chain, key in pairs if is_token_uri(str(key)) for load in _loaded(chain, key)]
    usable = (entry for entry in entries.values() if entry.in_token and entry.state in _IN_USE)
    named += [(entry.key_file, inventory.chain_pem(entry)) for entry in usable if not entry.chain_file]
    return dict(named)


def problems_of(keys: Mapping[str, bytes]) -> dict[str, str]:
    """The problems of keys, by URI; those that can be used are left out. Waits for a process: seconds at most."""
    from gatepost.net.token_trial import try_keys  # noqa: PLC0415 - few have keys in tokens

    access = TOKEN_KEYS.access
    if access is None:
        return dict.fromkeys(keys, "pkcs11.module is not set in the settings of this machine")
    return {uri: why for uri, why in try_keys(access, keys).items() if why} if keys else {}


def try_at_start(inventory: Inventory, pairs: Iterable[tuple[Path, Path]]) -> dict[str, str]:
    """The problems of the keys in use, by URI, found once for all processes that start together, and logged."""
    if time.monotonic() < TOKEN_KEYS.tried_at + _TOGETHER:
        return {}
    problems = problems_of(token_keys(inventory, pairs))
    TOKEN_KEYS.tried_at = time.monotonic()
    for uri, why in problems.items():
        _log.error("the key %s cannot be used: %s", uri, why)
    return problems


def problem_of(identity: ServerIdentity) -> str:
    """The same of one identity with its key in a token, "" if it can be used."""
    uri = identity.key_pem.decode("ascii", "replace")
    return problems_of({uri: identity.chain_pem}).get(uri, "")


def _loaded(chain: Path, key: Path) -> list[tuple[str, bytes]]:
    try:
        return [(str(key), load_identity(chain, key).chain_pem)]
    except CertificateFileError:  # whoever presents it says so
        return []
