"""Explain what would happen to a message, and why, with `policy.decisions.explain`.

Decided by the stored configuration with the code that decides for real sessions. Nothing is sent. Only a question that
is `live` asks the network. What belongs to an organization that who asks does not see is cut by `explain_seen`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from gatepost.decoding import converted
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.declaration import Cli, Visibility, use_cases
from gatepost.manage.use_cases.explain_live import ExplainLogin, login_of
from gatepost.manage.use_cases.explain_visibility import cut, is_concerned
from gatepost.manage.use_cases.jobs import ConcurrencyLimit
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, refusing, wrong_field
from gatepost.policy.connectors.directory import Directory, address_key
from gatepost.policy.connectors.errors import FieldError
from gatepost.policy.connectors.facts import SessionFacts
from gatepost.policy.connectors.mail_flow import Content
from gatepost.policy.connectors.values import TlsVersion
from gatepost.policy.decisions.explain import Explanation
from gatepost.policy.decisions.explain import explain as decide
from gatepost.policy.decisions.forwarding import expand
from gatepost.policy.decisions.home import ALONE, Nodes
from gatepost.protocols.message.fields import decode_words
from gatepost.protocols.smtp.grammar import GrammarError, parse_address, parse_path
from gatepost.protocols.smtp.grammar import Path as MailPath
from gatepost.quantity import quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatepost.analysis.checks.tasks import HostReport
    from gatepost.manage.use_cases.context import Context, Gateway


use_case = use_cases(scope=Scope.READ, visibility=Visibility.SEEN, tag="explain")

CLEAR = "none"
"""As a version of TLS: the session is unencrypted."""
VERSIONS = (*map(str, TlsVersion), CLEAR)
MAX_PEM = 1 << 17
"""Characters of a certificate with its intermediates."""

_STRANGERS = ("203.0.113.1", "198.51.100.1", "192.0.2.1", "2001:db8::1", "100.64.0.1")
_LIVE = ConcurrencyLimit(4, 3, "other looks at next hops are under way; ask again when one of them has ended")
_BEGIN = b"-----BEGIN CERTIFICATE-----"


class ExplainMessage(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, rename={"sender": "from"}):
    """A message, and the session that it comes by.

    from: reverse-path, empty for the null one. to: forward-path. ip: empty is a stranger's. certificate: PEM, leaf
    first. tls: what the session is under; empty is TLSv1.3 with a certificate, and unencrypted without. header: "NAME:
    VALUE". live: also look up and connect to the next hops.
    """

    sender: Annotated[
        str,
        Meta(max_length=1000),
        Cli(option="from", metavar="ADDRESS", help="Reverse-path; '' or '<>' for the null one."),
    ]
    to: Annotated[str, Meta(max_length=1000), Cli(metavar="ADDRESS", help="Forward-path.")]
    ip: Annotated[
        str,
        Meta(max_length=100),
        Cli(metavar="ADDRESS", help="IP address of the client. Default: an unknown address."),
    ] = ""
    certificate: Annotated[str, Meta(max_length=MAX_PEM)] = ""
    tls: Annotated[
        Literal["", "TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3", "none"],
        Cli(help="TLS version of the session. Default: TLSv1.3 with a certificate, otherwise none (unencrypted)."),
    ] = ""
    header: Annotated[
        list[Annotated[str, Meta(max_length=20_000)]],
        Meta(max_length=500),
        Cli(metavar="'NAME: VALUE'", help="A header field of the message, for mail flow rules; or TLS-Required."),
    ] = msgspec.field(default_factory=list)
    requiretls: Annotated[bool, Cli(help="The message has REQUIRETLS (RFC 8689), and arrives over TLS.")] = False
    live: Annotated[bool, Cli(help="Also look up the next hops, connect to them, and check what they present.")] = False

    @property
    def question(self) -> ExplainRequest:
        """The same, as it is decided."""
        return ExplainRequest(
            self.sender,
            self.to,
            self.ip,
            self.certificate.encode(),
            self.tls,
            tuple(self.header),
            require_tls=self.requiretls,
            live=self.live,
        )


class ExplainAssumption(msgspec.Struct, frozen=True):
    """An assumption in place of what was not given. field: of the request."""

    field: str
    text: str


class ExplainKeys(msgspec.Struct):
    """The keys that would sign or seal it, and why these or none."""

    keys: list[str]
    why: str


class ExplainCertificates(msgspec.Struct, frozen=True):
    """Certificates to encrypt it with S/MIME, in a sentence. missing: why it waits, empty if it does not."""

    found: str
    missing: str


class ExplainReport(msgspec.Struct, rename={"sender": "from"}, omit_defaults=True):
    """Explanation of a message's way, under the names that the trace uses for real decisions.

    ip, tls, certificate: the session that is meant; tls is empty if unencrypted. inbound, outbound: null if it is
    another organization's affair (withheld says so), outbound also if it is nobody's mail. failures: what each kind of
    TLS failure would do. held_below_memory: mail is held where the destination does less than it did. dkim: null if it
    does not leave or nobody has a key. arc: of the seal; null if it is not mail of others that leaves. expires_after:
    seconds. succeeds: it is accepted, and its way does what is demanded; null where others decide. empty: nothing is
    stored. live: what each next hop presents. certificates: if it must be encrypted. login: to the smart hosts.
    """

    configuration: int
    sender: str
    to: str
    ip: str
    tls: str
    certificate: bool
    assumed: list[ExplainAssumption]
    stage: str
    inbound: dict[str, Any] | None
    outbound: dict[str, Any] | None
    failures: list[dict[str, Any]]
    held_below_memory: bool
    dkim: ExplainKeys | None
    arc: ExplainKeys | None
    expires_after: float
    succeeds: bool | None
    empty: bool
    withheld: list[str]
    live: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET
    certificates: ExplainCertificates | None = None
    login: ExplainLogin | None = None


@dataclass(frozen=True, slots=True)
class ExplainRequest:
    """A message and the session that it comes by.

    sender: reverse-path, "" or "<>" is the null one. ip: "" is a stranger's. certificate: PEM, leaf first, b"" for
    none. tls: of VERSIONS; "" is TLS 1.3 with a certificate, and unencrypted without. headers: "NAME: VALUE".
    require_tls: it comes with REQUIRETLS (RFC 8689). live: also look up and connect to the next hops. session: that of
    real mail, in place of ip, certificate and tls.
    """

    sender: str
    recipient: str
    ip: str = ""
    certificate: bytes = b""
    tls: str = ""
    headers: tuple[str, ...] = ()
    require_tls: bool = False
    live: bool = False
    session: SessionFacts | None = None


class ExplainSession(NamedTuple):
    """The session that is meant. tls: version, "" if unencrypted. certificate: whether one is presented."""

    ip: str
    tls: str
    certificate: bool
    assumed: tuple[ExplainAssumption, ...]


@dataclass(frozen=True, slots=True)
class ExplainResult:
    """Explanation of a message's way.

    reports: what the next hops present, None where nobody asked. expiration: seconds until what waits is returned.
    certificates, login: None where no encryption of the message and no log-in to the next hops is demanded. empty: no
    organization is stored yet. withheld: "inbound" and "outbound" as far as they are another organization's affair;
    what `explanation` says there is to be shown to nobody.
    """

    explanation: Explanation
    asked: ExplainSession
    reports: Sequence[HostReport] | None
    expiration: float
    certificates: ExplainCertificates | None
    empty: bool
    withheld: frozenset[str] = frozenset()
    login: ExplainLogin | None = None

    @property
    def succeeds(self) -> bool | None:
        """Whether it is accepted, and there is a way for it, and all that the way demands; None if others decide."""
        if self.withheld:
            return None
        usable = not self.reports or any(report.usable for report in self.reports)
        ready = self.certificates is None or not self.certificates.missing
        logs_in = self.login is None or not self.login.missing
        return self.explanation.succeeds and usable and ready and logs_in


@use_case(action="explain")
def explain_to_page(context: Context, request: ExplainMessage) -> ExplainResult:
    """Explain what would happen to a message, with all facts of the decision."""
    return _explained(context, request)


@use_case("POST /explain", action="explain")
def explain_message(context: Context, request: ExplainMessage) -> ExplainReport:
    """Explain what would happen to a message, and why.

    Nothing is sent. Who sees some organizations only asks about their senders and recipients.
    """
    return converted(explain_record(_explained(context, request)), ExplainReport)


def _explained(context: Context, request: ExplainMessage) -> ExplainResult:
    detail: dict[str, Any] = {"from": request.sender, "live": request.live}
    context.audit.describe(subject=request.to, **detail)
    return explain(context.gateway, context.principal, request.question)


def explain(gateway: Gateway, principal: Principal, question: ExplainRequest) -> ExplainResult:
    """Raises Refusal: INPUT with an error for each field that is wrong, or if it concerns nobody whom they see.

    Busy if it is live and too many others are under way, in all or of one tenant.
    """
    if not question.live:
        return _explain(gateway, principal, question)
    with _LIVE.slot(principal.share_key):
        return _explain(gateway, principal, question)


def _explain(gateway: Gateway, principal: Principal, question: ExplainRequest) -> ExplainResult:
    settings = gateway.settings
    directory = gateway.directory()
    errors: list[FieldError] = []
    reverse_path = _sender(question.sender, errors)
    recipient = _recipient(question.recipient, settings.server.postmaster, errors)
    content = _content(question.headers, errors)
    session = _session_meant(directory, question, errors)
    if errors or reverse_path is None or recipient is None or session is None:
        raise Refusal(RefusalKind.INPUT, f"{quantity(len(errors), 'error')}; nothing was decided.", errors)
    if not is_concerned(directory, principal, reverse_path, recipient):
        text = "neither this nor the sender is an address of an organization that you see"
        raise wrong_field("to", text, f"to: {text}")
    explanation = decide(
        directory,
        question.session or _session(gateway, directory, session, question),
        reverse_path,
        recipient,
        content=content,
        require_tls=question.require_tls,
        profile=settings.tls.profile,
        nodes=_nodes(gateway, directory),
    )
    withheld: frozenset[str] = frozenset()
    if not principal.is_of_gateway:
        explanation, withheld = cut(directory, principal, explanation)
    return ExplainResult(
        explanation,
        session,
        _live(gateway, principal, explanation) if question.live else None,
        settings.queue.message_expiration if explanation.expiration is None else explanation.expiration,
        _certificates(gateway, directory, explanation),
        not directory.resources.organizations,
        withheld,
        login_of(gateway, explanation.route),
    )


def explain_record(answer: ExplainResult) -> dict[str, Any]:
    """For machines, as `gatepost explain --json` prints it. What is another organization's affair is None."""
    session = answer.asked
    record = answer.explanation.record() | {
        "ip": session.ip,
        "tls": session.tls,
        "certificate": session.certificate,
        "assumed": [msgspec.structs.asdict(assumption) for assumption in session.assumed],
        "expires_after": answer.expiration,
        "succeeds": answer.succeeds,
        "empty": answer.empty,
        "withheld": sorted(answer.withheld),
    }
    record |= dict.fromkeys(answer.withheld)
    if answer.reports is not None:
        from gatepost.analysis.checks.tasks import host_records  # noqa: PLC0415 - only `live` needs what it imports

        record["live"] = host_records(answer.reports)
    if answer.certificates is not None:
        record["certificates"] = msgspec.structs.asdict(answer.certificates)
    if answer.login is not None:
        record["login"] = msgspec.structs.asdict(answer.login)
    return record


# what was given


def _path(field: str, text: str, errors: list[FieldError]) -> MailPath | None:
    try:
        return parse_path(f"<{text.removeprefix('<').removesuffix('>')}>", smtputf8=True)
    except GrammarError as error:
        errors.append(FieldError(field, f"{text!r} is not a mail address: {error.why}"))
        return None


def _sender(text: str, errors: list[FieldError]) -> MailPath | None:
    return _path("from", text.strip(), errors)


def _recipient(text: str, postmaster: str, errors: list[FieldError]) -> MailPath | None:
    path = _path("to", text.strip(), errors)
    if path is not None and not path.text:
        errors.append(FieldError("to", "a recipient is needed; only the sender may be the null reverse-path"))
    if path is not None and path.text and not path.domain and postmaster:
        return parse_address(postmaster)  # as a session takes <postmaster> (RFC 5321 section 4.5.1)
    return path


def _content(headers: Iterable[str], errors: list[FieldError]) -> Content:
    found: dict[str, tuple[str, ...]] = {}
    for text in headers:
        name, colon, value = text.partition(":")
        if not colon or not name.strip() or any(not "!" <= char <= "~" for char in name.strip()):
            errors.append(FieldError("header", f"{text!r} is not a field: write it as 'X-Confidential: yes'"))
            continue
        key = name.strip().lower()
        found[key] = (*found.get(key, ()), decode_words(value.strip()))
    return Content(found)


def _session_meant(directory: Directory, question: ExplainRequest, errors: list[FieldError]) -> ExplainSession | None:
    """The session that is meant, and what of it was assumed; None if that is not possible."""
    if (real := question.session) is not None:
        tls = real.tls.version if real.tls else ""
        return ExplainSession(real.peer_ip, tls, real.client_chain is not None, ())
    before = len(errors)
    _check_tls(question, errors)
    assumed = []
    ip = question.ip.strip()
    if not ip:
        ip = _stranger(directory)
        assumed.append(ExplainAssumption("ip", f"from {ip}, a stranger's address"))
    else:
        try:
            ip = str(ipaddress.ip_address(ip))
        except ValueError:
            errors.append(FieldError("ip", f"{ip!r} is not an IP address: write it as 192.0.2.1 or 2001:db8::1"))
    over_tls = bool(question.certificate) or question.require_tls
    tls = question.tls or (str(TlsVersion.TLS_1_3) if over_tls else CLEAR)
    if not question.tls:
        assumed.append(ExplainAssumption("tls", f"over {tls}" if over_tls else "unencrypted"))
    if tls != CLEAR:
        from gatepost.analysis.checks.presented import assumed_agreement  # noqa: PLC0415 - only TLS needs it

        group, suite = assumed_agreement(tls)
        assumed.append(ExplainAssumption("tls", f"key exchange {group}, cipher suite {suite or 'unknown'}"))
    if question.certificate and not question.live:
        assumed.append(ExplainAssumption("revocation", "the certificate is not revoked"))
    if len(errors) > before:
        return None
    return ExplainSession(ip, "" if tls == CLEAR else tls, bool(question.certificate), tuple(assumed))


def _check_tls(question: ExplainRequest, errors: list[FieldError]) -> None:
    pem = question.certificate
    if question.tls not in {"", *VERSIONS}:
        errors.append(FieldError("tls", f"{question.tls!r} is not a version; there are {', '.join(VERSIONS)}"))
    if pem and question.tls == CLEAR:
        text = "none with a certificate: one is presented in a TLS handshake; leave one away"
        errors.append(FieldError("tls", text))
    if question.require_tls and question.tls == CLEAR:
        text = "none with REQUIRETLS: that is offered over TLS only; leave one away"
        errors.append(FieldError("tls", text))
    if pem and _BEGIN not in pem:
        errors.append(FieldError("certificate", f"has no certificate in PEM form ({_BEGIN.decode()})"))


def _stranger(directory: Directory) -> str:
    """An address for documentation that no connector holds."""
    entries = [
        directory.entry(organization, connector)
        for organization in directory.resources.organizations
        for connector in organization.inbound_connectors
    ]
    free = (stranger for stranger in _STRANGERS if not any(entry.holds(address_key(stranger)) for entry in entries))
    return next(free, _STRANGERS[-1])


def _session(gateway: Gateway, directory: Directory, asked: ExplainSession, question: ExplainRequest) -> SessionFacts:
    if not asked.tls:
        return SessionFacts("", asked.ip)
    from gatepost.analysis.checks.presented import (  # noqa: PLC0415 - only TLS needs what they import
        checked_session,
        presented_session,
    )
    from gatepost.analysis.checks.probe import revocation_checker  # noqa: PLC0415
    from gatepost.analysis.checks.validation import CannotValidate  # noqa: PLC0415

    settings, pem, now = gateway.settings, question.certificate, time.time()
    try:
        session = presented_session(pem, asked.ip, directory, settings.tls.trust_anchors, now=now, version=asked.tls)
    except CannotValidate as error:
        text = str(error).removeprefix("certificate: ")
        raise wrong_field("certificate", text, f"certificate: {text}") from error

    async def check() -> SessionFacts:
        from gatepost.manage.use_cases.listener_checks import resolver_of  # noqa: PLC0415

        async with resolver_of(settings) as resolver:
            checker = revocation_checker(settings, resolver, directory.organizations)
            try:
                return await checked_session(session, directory, partial(checker.check, now=now))
            finally:
                await checker.close()

    return asyncio.run(check()) if question.live and pem else session


# what is stored


def _nodes(gateway: Gateway, directory: Directory) -> Nodes:
    """The nodes of the site, if it makes a difference."""
    if not any(organization.home for organization in directory.resources.organizations):
        return ALONE
    from gatepost.pki.site.credentials import nodes_of  # noqa: PLC0415 - only homes need what they import
    from gatepost.pki.site.records import SiteError  # noqa: PLC0415
    from gatepost.pki.site.store import SiteStore  # noqa: PLC0415

    with (
        refusing(RefusalKind.UNREADABLE, SiteError, text="the records of the site: {error}"),
        gateway.config() as store,
    ):
        records = SiteStore(store, None, gateway.settings.server)
        member = records.membership()
        nodes = nodes_of(gateway.settings, member, records.sharing(), records.members())
        return msgspec.structs.replace(nodes, expired=member is not None and member.not_after <= time.time())


def _certificates(gateway: Gateway, directory: Directory, explanation: Explanation) -> ExplainCertificates | None:
    """Whether there is what S/MIME needs; None if nobody demands that the message is encrypted."""
    outbound = explanation.outbound
    if outbound is None or not outbound.content.encrypt.required:
        return None
    from gatepost.pki.smime.certificate import ID_DIGITS, fingerprint  # noqa: PLC0415 - only S/MIME needs what they import
    from gatepost.pki.smime.readiness import readiness_of_all  # noqa: PLC0415
    from gatepost.pki.smime.store import SmimeStore, SmimeStoreError  # noqa: PLC0415

    onward = expand(directory, explanation.recipient).targets[-1].path
    asking = outbound.content.encrypt.asking(explanation.inbound.organization or outbound.organization)
    with (
        refusing(RefusalKind.UNREADABLE, SmimeStoreError, text="the certificates for S/MIME: {error}"),
        gateway.config() as store,
    ):
        ready = readiness_of_all(SmimeStore(store, None), asking, onward.text, time.time())
    count = len(ready.certificates)
    numbers = ", ".join(fingerprint(certificate)[:ID_DIGITS] for certificate in ready.certificates)
    text = f"encrypted to {count} certificate{'s' * (count > 1)} of {ready.owner}: {numbers}"
    return ExplainCertificates(text, ready.missing)


def _live(gateway: Gateway, principal: Principal, explanation: Explanation) -> Sequence[HostReport]:
    """Reports on the next hops, each address; none for a mailbox or without a route."""
    from gatepost.manage.access.principal import may_reach_private_addresses  # noqa: PLC0415
    from gatepost.manage.use_cases.explain_live import probe  # noqa: PLC0415 - only `live` needs what it imports

    bounded = not may_reach_private_addresses(principal)
    return asyncio.run(probe(gateway, explanation.route, explanation.asks, bounded=bounded))
