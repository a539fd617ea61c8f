"""Judge what nodes present: whether each certificate that is current is presented by all of them, and no other one is.

Used by `node.alarms`, and by all that shows nodes and certificates. From what workers hold, from handshakes with the
listeners of each node, and from keys that nodes could not use (`node.certificate_observer`). Pure.

The handshake with a listener of this node is made here as a partner would make it, for
`manage.use_cases.presentation_places` and `node.certificate_observer`. It blocks, for some seconds at most.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.analysis.alarms.alarm import Alarm, Kind, Severity
from gatepost.analysis.checks.certificate_alarm_texts import title_of
from gatepost.pki.certificates.entry import Entry, Origin, Purpose, State
from gatepost.protocols.message.header_text import shown_text
from gatepost.protocols.tls.profile import PROFILES
from gatepost.quantity import quantity
from gatepost.settings.roles import ListenerRole
from gatepost.texts import N_, own

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from gatepost.protocols.tls.facts import CertificateFacts
    from gatepost.store.nodes import Node


_SECONDS: Final = 3.0
_REPLY: Final = 64 * 1024
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - where such a listener is reached
_SUITES: Final = {"RSA": "aRSA", "EC": "aECDSA"}


class HandshakeFailed(Exception):  # noqa: N818 - an outcome
    """Nothing was presented; why, in our words: what others say is not repeated."""


def server_name(leaf: CertificateFacts, hostname: str) -> str:
    """The name by which a client asks for a certificate: its first one in full, else our own."""
    return next((name for name in leaf.dns_names if not name.startswith("*.")), hostname)


def presented_leaf(
    role: ListenerRole,
    address: str,
    name: str,
    *,
    key_family: str,
    profile: str,
    connect: Callable[[tuple[str, int], float], socket.socket] = socket.create_connection,
) -> bytes:
    """The leaf that one session is shown, DER. Raises HandshakeFailed.

    address: as in the settings. name: for the server name indication. key_family: "RSA" or "EC", the kind of key that
    the client knows; others are for a client that knows all. profile: of the listener.
    """
    context = _context(key_family, profile)
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        with connect((_ANY.get(host, host), int(port)), _SECONDS) as plain:
            if role is not ListenerRole.SUBMISSIONS:
                _start_tls(plain)
            with context.wrap_socket(plain, server_hostname=name) as session:
                return session.getpeercert(binary_form=True) or b""
    except ssl.SSLError as failure:
        raise HandshakeFailed("no handshake with this kind of key") from failure
    except OSError as failure:
        raise HandshakeFailed("nobody answers") from failure


def _context(key_family: str, profile: str) -> ssl.SSLContext:
    """Of TLS 1.2, whose suites name the kind of key, where the listener's profile allows it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    suites = _SUITES.get(key_family)
    if suites and PROFILES[profile].min_version != "TLSv1.3":
        with contextlib.suppress(ssl.SSLError):
            context.set_ciphers(suites)
            context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def _start_tls(plain: socket.socket) -> None:
    """Raises HandshakeFailed, OSError."""
    for command, code in ((b"", b"220"), (b"EHLO [127.0.0.1]\r\n", b"250"), (b"STARTTLS\r\n", b"220")):
        if not _reply(plain, command).startswith(code):
            raise HandshakeFailed("it offers no TLS now" if command else "it takes no sessions now")


def _reply(plain: socket.socket, command: bytes) -> bytes:
    """The reply to a command (RFC 5321 section 4.2), of several lines perhaps; b"" if it does not end."""
    if command:
        plain.sendall(command)
    text = b""
    while not text.endswith(b"\r\n") or text.splitlines()[-1][3:4] == b"-":
        part = plain.recv(4096)
        text += part
        if not part or len(text) > _REPLY:
            return b""
    return text


SETTLING_SECONDS: Final = 30.0
"""After a change, before a node that does not present it is at fault."""

_LONG: Final = 400
_STATES: Final[Mapping[State | None, str]] = {
    State.NEXT: N_("not presented yet"),
    State.CURRENT: N_("current"),
    State.DEPRECATED: N_("deprecated"),
    State.RETIRED: N_("retired"),
}


class PresentationProblem(msgspec.Struct, frozen=True):
    """A fault of one node. certificate: the id of the one that it is about, "" if that is not known here.

    unusable: it is about a key, and not about what was presented. text: a sentence without its full stop.
    """

    node: str
    certificate: str
    text: str
    unusable: bool = False


def presentation_problems(
    entries: Mapping[str, Entry], nodes: Iterable[Node], *, now: float
) -> list[PresentationProblem]:
    """All that is wrong. entries: all certificates by id. now: seconds since 1970."""
    server = [entry for entry in entries.values() if entry.purpose is Purpose.SERVER]
    current = [entry for entry in server if entry.state is State.CURRENT]
    changed = max((max(entry.since, entry.current_from) for entry in server), default=0.0)
    problems: list[PresentationProblem] = []
    for node in nodes:
        if not node.state.is_alive or not node.workers:
            continue
        unusable = list(_unusable(node, entries))
        problems += unusable
        if now < changed + SETTLING_SECONDS:
            continue  # a switch is under way
        missing = list(_missing(node, current))
        known = {problem.certificate for problem in unusable}  # the key is why it is not presented
        problems += [problem for problem in missing if problem.certificate not in known]
        if not missing:
            problems += _others(node, current, {entry.leaf.sha256: entry.state for entry in server}, changed)
    return problems


def presentation_alarms(problems: Sequence[PresentationProblem], entries: Mapping[str, Entry]) -> Iterator[Alarm]:
    """The alarms for what is wrong, one for each certificate and node."""
    for problem in problems:
        entry = entries.get(problem.certificate)
        what = title_of(entry) if entry is not None else "a certificate"
        if problem.unusable:
            is_current = entry is not None and entry.state is State.CURRENT
            severity, kind = Severity.CRITICAL if is_current else Severity.ERROR, Kind.KEY_UNUSABLE
            title = f"the key of {what} cannot be used on node {problem.node}"
            fix = "Restore the key there; until then a restart of the node ends what it still presents."
            if entry is not None and entry.in_token:
                fix = "Until the token is back, handshakes that need the key fail; then it is used again by itself."
        else:
            severity, kind = Severity.ERROR, Kind.NOT_PRESENTED
            title = f"node {problem.node} does not present {what}"
            fix = "See the log of that node; `gatepost node list` shows what each node presents."
            if entry is None:
                title = f"node {problem.node} presents a certificate that is not current"
        text = shown_text(problem.text, _LONG)
        yield Alarm(kind, severity, problem.certificate, title, f"{text[:1].upper()}{text[1:]}.", fix, problem.node)


def _unusable(node: Node, entries: Mapping[str, Entry]) -> Iterator[PresentationProblem]:
    for key in node.observed.unusable if node.observed is not None else ():
        if key.certificate in entries:
            yield PresentationProblem(node.name, key.certificate, key.why, unusable=True)


def _missing(node: Node, current: Sequence[Entry]) -> Iterator[PresentationProblem]:
    """Certificates that not all workers hold. Those of the settings are each node's own."""
    for entry in current:
        if entry.origin is Origin.SETTINGS:
            continue
        lacking = sum(entry.leaf.sha256 not in worker.figures.certificates for worker in node.workers)
        if lacking:
            shown = "; ".join(_shown(node))
            text = f"missing in {lacking} of {quantity(len(node.workers), 'worker')}" + (f"; {shown}" if shown else "")
            yield PresentationProblem(node.name, entry.id, text)


def _shown(node: Node) -> Iterator[str]:
    for listener in node.observed.listeners if node.observed is not None else ():
        if listener.certificates:
            yield f"{listener.listener} presents {', '.join(sha256[:16] for sha256 in listener.certificates)}"


def _others(
    node: Node, current: Sequence[Entry], known: Mapping[str, State], changed: float
) -> Iterator[PresentationProblem]:
    """Certificates that handshakes showed and that are not to be presented.

    known: states by SHA-256. What a worker holds and nobody knows is of the settings, and about to be recorded.
    """
    observed = node.observed
    if observed is None or observed.at < changed + SETTLING_SECONDS / 2:
        return  # that look was before the change
    good = {entry.leaf.sha256 for entry in current}
    good |= {sha256 for worker in node.workers for sha256 in worker.figures.certificates if sha256 not in known}
    wrong = [
        f"{listener.listener} presents {sha256[:16]}, which is {own(_STATES.get(known.get(sha256), 'not known here'))}"
        for listener in observed.listeners
        for sha256 in listener.certificates
        if sha256 not in good
    ]
    if wrong:
        yield PresentationProblem(node.name, "", "; ".join(wrong))
