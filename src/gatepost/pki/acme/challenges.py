"""Prove control of names to an ACME authority: HTTP tokens and DNS TXT records (RFC 8555 section 8).

Used by `pki.acme.issuer`, in its thread. What is published is written down before, so that a run which ended in the
middle is tidied up by the next one. Tokens lie in the store, where whichever process serves port 80 finds them.

For dns-01 a program publishes the records: run without a shell, bounded. It gets its own arguments, then "present" or
"remove", the name of the record, and its value; it says by its exit status whether it is done.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.decoding import from_json
from gatepost.net.listener import parse_address
from gatepost.settings.acme import Acme, Challenge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.store.changes import ConfigStore


_SHOWN: Final = 500  # characters of what it wrote
_READ: Final = 4096
_PIPE: Final = 65536  # octets that a pipe holds
_LOOK_MILLISECONDS: Final = 50
_PASSED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "CREDENTIALS_DIRECTORY")


class HookFailed(Exception):  # noqa: N818 - it names what happened
    """The program did not do it; the text says what became of it, and the end of what it wrote."""


def run_hook(command: Sequence[str], action: str, name: str, value: str, *, timeout: float) -> None:
    """Run it and wait, for at most `timeout` seconds; then it is killed with all that it started. Raises HookFailed.

    Of what it writes the end is kept, for the error. Of our environment it gets where programs and credentials are, and
    no secret of ours.
    """
    try:
        child = subprocess.Popen(  # noqa: S603 - the operator's own program, from the settings; no shell
            [*command, action, name, value],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={key: os.environ[key] for key in _PASSED if key in os.environ},
            start_new_session=True,
        )
    except OSError as error:
        raise HookFailed(f"{command[0]} cannot be run: {error.strerror}; see acme.dns_hook") from error
    with child:
        said = _follow(child, time.monotonic() + timeout)
        if child.returncode is None:
            _kill(child)
            raise HookFailed(f"{command[0]} {action} did not end within {timeout:g} s, and was killed")
    if child.returncode:
        said = said or "it said nothing"
        raise HookFailed(f"{command[0]} {action} {name} ended with {child.returncode}: {said}")


def _follow(child: subprocess.Popen[bytes], deadline: float) -> str:
    """Read until it has ended or the time is over; the end of what it said. What it left running is not waited for."""
    assert child.stdout is not None  # noqa: S101 - it was asked for
    file = child.stdout.fileno()
    os.set_blocking(file, False)
    poller, ended, kept = select.poll(), False, b""
    poller.register(file, select.POLLIN)
    while not ended and time.monotonic() < deadline:
        ended = child.poll() is not None  # what it wrote before is read once more
        data = os.read(file, _PIPE) if poller.poll(0 if ended else _LOOK_MILLISECONDS) else None
        if data == b"":  # it closed its end, and may work on
            with suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, deadline - time.monotonic()))
            break
        kept = (kept + (data or b""))[-_READ:]
    shown = "".join(char if char.isprintable() else " " for char in kept.decode("utf-8", "replace"))
    return " ".join(shown.split())[-_SHOWN:]


def _kill(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # its own group, of which it is the first
    child.wait()


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
    """A certificate was not issued; the text says why and what to do.

    retry_after: seconds, as the authority said. code: the type of its problem (RFC 8555 section 6.7), "" for none.
    """

    def __init__(self, text: str, retry_after: float = 0.0, code: str = "") -> None:
        super().__init__(text)
        self.retry_after = retry_after
        self.code = code


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


class Proofs(msgspec.Struct):
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
