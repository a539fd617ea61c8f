"""Prove control of names to an ACME authority: HTTP tokens and DNS TXT records (RFC 8555 section 8).

Used by `pki.acme.issuer`, in its thread. What is published is written down before, so that a run which ended in the
middle is tidied up by the next one. Tokens lie in the store, where whichever process serves port 80 finds them.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.decoding import from_json
from gatepost.net.listener import parse_address
from gatepost.pki.acme.hook import HookFailed, run_hook
from gatepost.settings.acme import Challenge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.settings.acme import Acme
    from gatepost.store.changes import ConfigStore


PATH: Final = "/.well-known/acme-challenge/"
PENDING: Final = "acme/pending"
"""The name of the content that lists what is published."""

TOKENS: Final = "acme/http-01/"
"""The beginning of the names of contents that are tokens."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{16,256}")
_TRIES: Final = 10
_PAUSE: Final = 0.5
_PATIENCE: Final = 5.0
_COPIED: Final = 3.0  # seconds until every node of a site serves a token, whichever the authority asks
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where nobody listens, but everywhere


class AcmeFailed(Exception):  # noqa: N818 - it names what happened
    """A certificate was not issued; the text says why and what to do. retry_after: seconds, as the authority said."""

    def __init__(self, text: str, retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class Proof(msgspec.Struct, frozen=True):
    """The proof to publish for one name. place: the token, or the name of the TXT record. value: its content."""

    kind: str
    name: str
    place: str
    value: str


def token_answer(store: ConfigStore, path: str) -> bytes | None:
    """The response of port 80 to a path, None if there is no token."""
    token = path.removeprefix(PATH)
    if token == path or not _TOKEN.fullmatch(token):
        return None
    return store.content(_place(token))


@dataclass(slots=True)
class Proofs:
    """Publishes and takes away. store: where tokens are."""

    settings: Acme
    store: ConfigStore

    def publish(self, proofs: Sequence[Proof]) -> None:
        """Have all of them found. Raises AcmeFailed, StoreFailure."""
        if not proofs:
            return
        if any(proof.kind == Challenge.HTTP_01 and not _TOKEN.fullmatch(proof.place) for proof in proofs):
            raise AcmeFailed("the authority's token has a form that RFC 8555 section 8.3 does not allow")
        self.store.apply({}, author="gatepost", content={PENDING: msgspec.json.encode(list(proofs))})
        tokens = [proof for proof in proofs if proof.kind == Challenge.HTTP_01]
        self.store.apply({}, author="gatepost", content={_place(token.place): token.value.encode() for token in tokens})
        if tokens and self.store.is_shared:
            time.sleep(_COPIED)
        for token in tokens:
            self._see(token)
        records = [proof for proof in proofs if proof.kind == Challenge.DNS_01]
        for record in records:
            self._hook("present", record)
        if records and self.settings.dns_wait:
            time.sleep(self.settings.dns_wait)

    def are_pending(self) -> bool:
        """Whether something that was published was not taken away."""
        return self.store.content(PENDING) is not None

    def tidy(self) -> list[str]:
        """Take away what was published, by whichever run; a sentence for each that stays. Raises StoreFailure."""
        if not self.are_pending():
            return []
        errors: list[str] = []
        content: dict[str, bytes | None] = {PENDING: None}
        for proof in self._pending():
            if proof.kind == Challenge.HTTP_01:
                content[_place(proof.place)] = None
                continue
            try:
                self._hook("remove", proof)
            except AcmeFailed as failure:
                errors.append(f"the TXT record of {proof.place} is not removed: {failure}")
        self.store.apply({}, author="gatepost", content=content)
        return errors

    def _pending(self) -> list[Proof]:
        content = self.store.content(PENDING)
        with suppress(msgspec.MsgspecError):
            return from_json(content, list[Proof]) if content else []
        return []

    def _hook(self, action: str, proof: Proof) -> None:
        if not self.settings.dns_hook:
            raise AcmeFailed("acme.dns_hook is empty; write the program that publishes TXT records")
        try:
            run_hook(self.settings.dns_hook, action, proof.place, proof.value, timeout=self.settings.dns_hook_timeout)
        except HookFailed as failure:
            raise AcmeFailed(str(failure)) from failure

    def _see(self, proof: Proof) -> None:
        """Fetch a token ourselves first: a failure in front of the authority counts against its limits."""
        address, why = self.settings.http_address, ""
        for _ in range(_TRIES):
            why = _fetch(address, proof)
            if not why:
                return
            time.sleep(_PAUSE)
        raise AcmeFailed(
            f"the gateway itself does not find the token for {proof.name} at acme.http_address {address}: {why}; is "
            "`gatepost serve` running with these settings, and nothing else on that port?"
        )


def _fetch(address: str, proof: Proof) -> str:
    """Fetch the token, and explain why it is not there; "" if it is."""
    import http.client  # noqa: PLC0415 - once in a renewal

    host, port = parse_address(address)
    connection = http.client.HTTPConnection(_EVERYWHERE.get(host, host), port, timeout=_PATIENCE)
    try:
        connection.request("GET", PATH + proof.place, headers={"Host": proof.name})
        response = connection.getresponse()
        content = response.read(len(proof.value) + 1)
    except (OSError, http.client.HTTPException) as error:
        return getattr(error, "strerror", None) or str(error) or "no answer"
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        return f"it answers {response.status}"
    return "" if content == proof.value.encode() else "it answers something else"


def _place(token: str) -> str:
    return f"{TOKENS}{token}"


def is_token_place(name: str) -> bool:
    """Whether a content is that of a token."""
    return name.startswith(TOKENS) and bool(_TOKEN.fullmatch(name.removeprefix(TOKENS)))
