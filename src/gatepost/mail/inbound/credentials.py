"""The stored credentials of a mailbox: Argon2id for PLAIN (`policy.logins.passwords`), a verifier for SCRAM.

Made by `manage.use_cases.mailbox_passwords`, read by `mail.inbound.login`. It lies beside the resources as content of
the configuration store, so that no export, history, log or trace ever has it; the password itself is nowhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from gatepost.decoding import from_json
from gatepost.policy.logins.passwords import argon2_hash, prepared_password
from gatepost.protocols.smtp.scram import Verifier, make_verifier

_LEAST: Final = 8
_MOST: Final = 256


class Credential(msgspec.Struct, frozen=True):
    """argon2: in PHC form. organization: whose mailbox it was set for; it is worth nothing in another's."""

    organization: str
    set_at: float
    argon2: str
    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes

    @property
    def verifier(self) -> Verifier:
        """For SCRAM."""
        return Verifier(self.salt, self.iterations, self.stored_key, self.server_key)

    def __repr__(self) -> str:
        """Nothing of it is shown, wherever it may get to."""
        return f"Credential({self.organization!r})"

    def encode(self) -> bytes:
        """As it is stored."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes | None) -> Credential | None:
        """What was stored; None if nothing was, or what nobody here can read."""
        try:
            return from_json(data, cls) if data else None
        except msgspec.MsgspecError:
            return None


def content_name(address: str) -> str:
    """Where the credential of a mailbox lies in the store. address: as the resource has it."""
    return f"password/{address.lower()}"


def make_credential(password: str, organization: str, now: float) -> Credential:
    """The credential of a new password, with salts of its own. Raises PasswordError. Takes about 40 ms."""
    prepared = prepared_password(password, _LEAST, _MOST)
    argon2 = argon2_hash(prepared, os.urandom(16))
    scram = make_verifier(prepared, os.urandom(16))
    return Credential(organization, now, argon2, scram.salt, scram.iterations, scram.stored_key, scram.server_key)


def orphaned(
    before: Mapping[str, Any], wanted: Mapping[str, Any], content: Callable[[str], bytes | None]
) -> dict[str, None]:
    """Content to be removed with a change, as `ConfigStore.apply` takes it: passwords of mailboxes that go with it.

    before: the stored document; wanted: the organizations that change; content: what is stored under a name. Who gets
    the address later starts anew. What another organization set for an address of the same name stays.
    """
    old = before.get("organization", {})
    new = wanted.get("organization", {})
    gone = {(name, address) for name in new for address in _addresses(old.get(name)) - _addresses(new[name])}
    owners = {address: Credential.decode(content(content_name(address))) for _, address in gone}
    return {
        content_name(address): None
        for name, address in sorted(gone)
        if (owner := owners[address]) is None or owner.organization == name
    }


def _addresses(organization: Mapping[str, Any] | None) -> set[str]:
    return {str(mailbox["address"]).lower() for mailbox in (organization or {}).get("mailbox", [])}
