"""A certificate comes into the inventory: pasted, or out of files, with its key or for one that waits.

Key and certificate are checked together by `analysis.checks.pem_import`; what was put right is said, what cannot be is
one Refusal. No key is in anything that is said.
"""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Meta

from gatepost.analysis.checks.chain_file import ChainFileError
from gatepost.analysis.checks.pem_import import PasswordNeeded, PemImport, PemSource, chain_pem_of, key_of, taken_in
from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.certificates import CertificateSummary, Note, certificate_of
from gatepost.manage.use_cases.declaration import Cli, UseCaseReply, Visibility, use_cases
from gatepost.manage.use_cases.inventory import (
    check_client,
    describe_certificate,
    inventory_of,
    listed_certificates,
    recorded_changes,
)
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, wrong_field
from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.identity import ServerIdentity
from gatepost.pki.certificates.directories import pairs_in
from gatepost.pki.certificates.entry import Entry, Origin, PendingRequest, Purpose
from gatepost.pki.certificates.files import CertificateFileError, load_identity
from gatepost.pki.certificates.inventory import Inventory, Listed, entry_from
from gatepost.pki.certificates.lifecycle import Refused, names_of, replaced, switch
from gatepost.pki.certificates.presented import refused_by_tls
from gatepost.pki.certificates.token_check import problem_of
from gatepost.policy.connectors.errors import FieldError
from gatepost.protocols.tls.names import matches
from gatepost.protocols.tls.token_uri import TokenUriError, is_token_uri, parse_token_uri
from gatepost.store.changes import on_newest
from gatepost.values import copy_fields, replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatepost.manage.use_cases.context import Context, Gateway


use_case = use_cases(scope=Scope.CERTIFICATES, visibility=Visibility.GATEWAY, tag="certificates")
MAX_TEXT: Final = 200_000
"""Characters of a chain or a key, as PEM or base64."""

type _Pem = Annotated[str, Meta(max_length=MAX_TEXT)]


class AddCertificate(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A certificate to come in.

    encoding: of chain and key. "pem", or "base64" of files as they are: PEM, DER, PKCS#7 or PKCS#12. chain: it and its
    intermediates, in any order. key: its private key, if it is not in chain and does not wait here since a request; or
    the pkcs11: URI of a key in the gateway's token, which stays there.
    password: of the key. client: a client certificate of an organization, which connectors name by its label. current:
    present it at once, without asking the gates. note: for the history.
    """

    chain: _Pem
    key: _Pem = ""
    encoding: Literal["pem", "base64"] = "pem"
    password: Annotated[str, Meta(max_length=1000)] = ""
    client: Annotated[bool, Cli(help="A client certificate, which outbound connectors present.")] = False
    organization: Annotated[str, Meta(max_length=100), Cli(help="Whose client certificate it is.")] = ""
    label: Annotated[
        str,
        Meta(max_length=100),
        Cli(help="Label, by which people recognize the certificate, and connectors name a client certificate."),
    ] = ""
    current: Annotated[bool, Cli(help="Present it at once, instead of the current certificate for its names.")] = False
    note: Note = ""


class AddCertificateFiles(AddCertificate, kw_only=True):
    """The same of files of this machine.

    chain_file, key_file: where both came from, key_file "" if it is the same. leave: both files stay where they are.
    """

    chain_file: str
    key_file: str = ""
    leave: bool = False


class WatchDirectory(msgspec.Struct, kw_only=True):
    """directory: its whole path. note: for the history."""

    directory: str
    note: Note = ""


class CertificateAdded(msgspec.Struct):
    """deprecated: ids of those whose place it took. notes: what was put right. warnings: what to think about.

    certificates: as they are now, the new one first.
    """

    certificate: CertificateSummary
    deprecated: list[str]
    certificates: list[CertificateSummary]
    notes: list[str]
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class NewCertificate:
    """A certificate to add.

    content: certificates and perhaps the key: PEM, DER, PKCS#7 or PKCS#12. key: the key, if it came apart, b"" if not.
    token_key: the URI of a key in a token instead, "" if it is in none.
    source, key_source: what both are called in errors. file: where the content came from, None if it was pasted; then a
    key that waits in a file is sealed as well. files: chain and key if they stay where they are. client: a client
    identity of `organization`, which connectors name by `label`; a server's label is for people. current:
    present it at once, in the place of what is current for its names. note: why, for the history.
    """

    content: bytes = field(repr=False)
    source: str
    key: bytes = field(default=b"", repr=False)
    token_key: str = ""
    key_source: str = ""
    password: bytes | None = field(default=None, repr=False)
    file: Path | None = None
    files: tuple[Path, Path] | None = None
    client: bool = False
    organization: str = ""
    label: str = ""
    current: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class PreparedCertificate:
    """A certificate that was read and may be stored. request: the one whose key waited. notes: what was put right.

    warnings: what partners may stumble over.
    """

    new: NewCertificate
    entry: Entry
    identity: ServerIdentity = field(repr=False)
    request: PendingRequest | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class AddedCertificate(NamedTuple):
    """entry: as it was stored. deprecated: those whose place it took, without asking any gate."""

    entry: Entry
    deprecated: tuple[Entry, ...]


class WatchedDirectory(msgspec.Struct):
    """A directory that is watched from now on. pairs: what is in it now. troubles: what of that cannot be used."""

    version: int
    pairs: list[tuple[str, str]]
    usable: list[str]
    troubles: list[str]


@use_case("POST /certificates", status=201, dry_run=True, may_404=True, action="certificate-add")
def add_certificate(context: Context, request: AddCertificate) -> UseCaseReply[CertificateAdded]:
    """Add a certificate with its key.

    It is next until a switch, unless nothing is current yet for its names. Its key is sealed.
    """
    context.audit.describe(organization=request.organization)
    added = _added(context, _new(request))
    return UseCaseReply(added, location=f"/certificates/{added.certificate.id}")


@use_case(action="certificate-add")
def add_certificate_files(context: Context, request: AddCertificateFiles) -> CertificateAdded:
    """Add a certificate out of files of this machine.

    They may stay where they are; and a key that waits in a file since a request stays there.
    """
    file, key_file = Path(request.chain_file), Path(request.key_file or request.chain_file)
    fresh = _new(request)
    if fresh.token_key and request.leave:
        text = "a key in a token always stays there; leave that option out"
        raise Refusal(RefusalKind.INPUT, text, [FieldError("key", text)], options=["leave-key"])
    new = replace(
        fresh,
        source=request.chain_file,
        key_source=request.key_file,
        file=file.absolute(),
        files=(file.absolute(), key_file.absolute()) if request.leave else None,
    )
    return _added(context, new)


def _new(request: AddCertificate) -> NewCertificate:
    key = _content("key", request.key, request.encoding)
    named = key.decode("utf-8", "replace").strip()
    token_key = _token_key(named) if is_token_uri(named) else ""
    return copy_fields(
        NewCertificate,
        request,
        content=_content("chain", request.chain, request.encoding),
        source="chain",
        key=b"" if token_key else key,
        token_key=token_key,
        key_source="key",
        password=request.password.encode() or None,
    )


def _token_key(text: str) -> str:
    """The URI in the form in which it is stored."""
    try:
        return str(parse_token_uri(text))
    except TokenUriError as error:
        raise _wrong("key", f"the key cannot be used: {error}") from error


def _content(name: str, text: str, encoding: str) -> bytes:
    if encoding == "pem":
        if name == "chain" and not text.strip():
            wrong = "paste the certificate, starting with -----BEGIN CERTIFICATE-----"
            raise wrong_field(name, wrong)
        return text.encode()
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise wrong_field(name, "is not base64", "nothing was done") from None


def _added(context: Context, new: NewCertificate) -> CertificateAdded:
    """Read, check and store it in one, or all but the storing. The errors of a Refusal are about fields."""
    context.audit.describe(organization=new.organization)
    with inventory_of(context.gateway) as inventory:
        try:
            prepared = prepare(context.gateway, inventory, new)
        except PasswordNeeded as why:
            raise wrong_field("password", str(why).rpartition(": ")[2], str(why)) from why
        with recorded_changes(context):
            entry, others = store(context, inventory, prepared)
    describe_certificate(context, entry)
    deprecated = [other.id for other in others]
    context.audit.describe(state=str(entry.state), names=list(names_of(entry)), deprecated=deprecated)
    certificates = [certificate_of(imported) for imported in (entry, *others)]
    return CertificateAdded(certificates[0], deprecated, certificates, list(prepared.notes), list(prepared.warnings))


def prepare(gateway: Gateway, inventory: Inventory, new: NewCertificate) -> PreparedCertificate:
    """Read it and hold it against its key. Raises Refusal (INPUT), and PasswordNeeded as it is, so that one may ask."""
    now = time.time()
    try:
        pem_import, request, anchors_trouble = _read(gateway, inventory, new, now)
    except PasswordNeeded:
        raise
    except ChainFileError as error:
        about_key = bool(new.key_source) and str(error).startswith(f"{new.key_source}:")
        path = "key" if about_key or "private key does not belong" in str(error) else "chain"
        raise _wrong(path, str(error)) from error
    if not pem_import.key_pem and not new.token_key:
        text = (
            f"{new.source}: no private key is in it, and none waits for this certificate since a request: "
            "give the key, too"
        )
        wrong = FieldError("key", "is required: it is not part of the certificate text, and no pending request matches")
        raise Refusal(RefusalKind.INPUT, text, [wrong], options=["key"])
    files = new.files or _waiting_file(new, request)
    key_pem = new.token_key.encode() or pem_import.key_pem
    identity = load_identity(*files) if files else ServerIdentity(chain_pem_of(pem_import.certificates), key_pem)
    if new.token_key:
        _try_token_key(identity)
    entry = _described(entry_from(identity, now=now), new, request)
    if files:
        entry = replace(entry, origin=Origin.FILES, chain_file=str(files[0]), key_file=str(files[1]))
    if new.token_key:
        entry = replace(entry, key_file=new.token_key)
    check_client(gateway, entry.purpose, entry.organization, entry.label)
    warnings = [*anchors_trouble, *pem_import.warnings]
    hostname = gateway.settings.server.hostname
    if entry.purpose is Purpose.SERVER and not matches(hostname, entry.leaf):
        warnings.append(f"it does not bear the gateway's own name {hostname}")
    return PreparedCertificate(new, entry, identity, request, tuple(pem_import.notes), tuple(warnings))


def _try_token_key(identity: ServerIdentity) -> None:
    """Raises Refusal unless the key is in the token, belongs to the certificate, and signs."""
    if problem := problem_of(identity):
        raise _wrong("key", f"the key cannot be used: {problem}")


def store(context: Context, inventory: Inventory, prepared: PreparedCertificate) -> AddedCertificate:
    """Put it into the inventory; its key is sealed unless it stays in a file.

    It is next until a changeover, unless nothing is current yet for its names, or `new.current` says so. Raises
    Refusal: INPUT for what nobody could present, CONFLICT if it is there already or may not become current.
    """
    # The gateway itself records at its start, and each minute, what it finds in files.
    return on_newest(lambda: _stored(context, inventory, prepared))


def _stored(context: Context, inventory: Inventory, prepared: PreparedCertificate) -> AddedCertificate:
    """Raises ConfigConflict, and as `store`."""
    gateway, new, entry, identity = context.gateway, prepared.new, prepared.entry, prepared.identity
    now = entry.added
    _must_be_presentable(gateway, entry, new.source, identity)
    listing = listed_certificates(inventory, gateway)
    known = listing.entries.get(entry.id)
    if known is not None and (known.origin is Origin.SETTINGS or _usable(inventory, known)):
        text = f"{entry.id} exists already and is {known.state}: see gatepost certificate show {entry.id}"
        raise Refusal(RefusalKind.CONFLICT, text, [FieldError("chain", f"exists already and is {known.state}")])
    others: tuple[Entry, ...] = ()
    if new.current or not replaced(entry, listing.entries):
        try:
            entry, *changed = switch(entry, listing.entries, now=now)
            others = tuple(changed)
        except Refused as why:
            if new.current:
                text = f"it cannot become current: {why}; nothing was added"
                raise Refusal(RefusalKind.CONFLICT, text, [FieldError("current", f"cannot be: {why}")]) from why
    if context.dry_run:
        return AddedCertificate(entry, others)
    version = _record_settings(inventory, listing, others)
    inventory.add(entry, identity, author=context.principal.name, note=new.note, others=others, expected=version)
    if prepared.request is not None:
        came = f"its certificate {entry.id} came"
        inventory.requests.remove(prepared.request, author=context.principal.name, note=came)
    return AddedCertificate(entry, others)


@use_case(action="certificate-directory-add")
def watch_directory(context: Context, request: WatchDirectory) -> WatchedDirectory:
    """Watch a directory in which others renew certificates, such as certbot's live."""
    path = Path(request.directory)
    context.audit.describe(subject=str(path))
    with inventory_of(context.gateway) as inventory:
        try:
            pairs = pairs_in(path)
        except OSError as error:
            raise Refusal(RefusalKind.INPUT, f"the directory {path} cannot be read: {error.strerror}") from error
        usable, troubles = [], []
        for chain, key in pairs:
            try:
                load_identity(chain, key)
                usable.append(str(chain))
            except CertificateFileError as error:
                troubles.append(str(error))
        version = inventory.directories.add(path, author=context.principal.name, note=request.note)
    return WatchedDirectory(version, [(str(chain), str(key)) for chain, key in pairs], usable, troubles)


# reading


def _read(
    gateway: Gateway, inventory: Inventory, new: NewCertificate, now: float
) -> tuple[PemImport, PendingRequest | None, list[str]]:
    """The PEM as read, the request whose key waited for it, and why the anchors could not be used, "" if they were."""
    key_pem = key_of(new.key, new.key_source, new.password) if new.key else b""
    anchors, trouble = _anchors(gateway)
    known = _known(inventory, inventory.entries()[1].values())

    def read(key: bytes, purpose: Literal["server", "client"]) -> PemImport:
        pem_source = PemSource(new.content, new.source, key, new.password, purpose)
        return taken_in(pem_source, known=known, anchors=anchors, now=now)

    pem_import = read(key_pem, "client" if new.client else "server")
    if pem_import.key_pem or new.token_key:
        return pem_import, None, trouble
    request = inventory.requests.of(x509.load_der_x509_certificate(pem_import.certificates[0]))
    if request is None:
        return pem_import, None, trouble
    return read(inventory.requests.key_pem(request), request.wish.purpose.value), request, trouble


def _waiting_file(new: NewCertificate, request: PendingRequest | None) -> tuple[Path, Path] | None:
    """Where a key that waited in a file stays; the certificate beside it stays in its own file, too."""
    if request is None or not request.key_file or new.file is None:
        return None
    return new.file, Path(request.key_file)


def _described(entry: Entry, new: NewCertificate, request: PendingRequest | None) -> Entry:
    if request is not None:
        wish = request.wish
        entry = replace(entry, purpose=wish.purpose, organization=wish.organization, label=wish.label)
    purpose = Purpose.CLIENT if new.client else entry.purpose
    owner, label = new.organization or entry.organization, new.label or entry.label
    return replace(entry, purpose=purpose, organization=owner, label=label)


def _known(inventory: Inventory, entries: Iterable[Entry]) -> list[bytes]:
    """Intermediates of certificates that are here already: the next one often comes from the same."""
    issuers: dict[bytes, None] = {}
    for entry in entries:
        try:
            _, *above = x509.load_pem_x509_certificates(inventory.chain_pem(entry))
        except CertificateFileError:
            continue
        issuers |= dict.fromkeys(certificate.public_bytes(Encoding.DER) for certificate in above)
    return list(issuers)


def _anchors(gateway: Gateway) -> tuple[TrustAnchors | None, list[str]]:
    try:
        return TrustAnchors.load(gateway.settings.tls.trust_anchors), []
    except AnchorsError as error:
        return None, [f"whether the chain is complete is not known: {error}"]


# what must be


def _must_be_presentable(gateway: Gateway, entry: Entry, source: str, identity: ServerIdentity) -> None:
    """Raises Refusal for what nobody could accept, or no listener present."""
    if entry.leaf.not_after <= entry.added:
        raise _wrong("chain", f"{source}: the certificate has expired; get a new one")
    if entry.purpose is Purpose.CLIENT:
        return
    if not identity.in_token and (refused := refused_by_tls(identity, gateway.settings.tls.profile)):
        text = (
            f"{source}: listeners cannot present it: {refused}; use RSA of 2048 bits or more, or EC on P-256 or P-384"
        )
        raise _wrong("chain", text)
    if not names_of(entry):
        subject = "".join(character if character.isprintable() else "?" for character in entry.leaf.subject)
        text = (
            f"{source}: {subject} has no subjectAltName, and nothing else counts (RFC 9525); "
            "have it issued with the names of the MX hosts (the key of an authority does not belong here)"
        )
        raise _wrong("chain", text)


def _wrong(path: str, text: str) -> Refusal:
    """About one of the two things that were given."""
    return wrong_field(path, text.partition(": ")[2] or text, text)


def _usable(inventory: Inventory, entry: Entry) -> bool:
    try:
        inventory.identity(entry)
    except CertificateFileError:
        return False
    return True


def _record_settings(inventory: Inventory, listed: Listed, others: Sequence[Entry]) -> int:
    """Those of the settings which a gateway that never ran could not record, before they are deprecated.

    The version then, if nobody else changed what `listed` says.
    """
    (_, stored), version = inventory.entries(), listed.version
    for entry in others:
        if entry.id not in stored:
            note = f"found in {entry.chain_file}"
            version = inventory.record(listed.entries[entry.id], listed.chains[entry.id], note=note, expected=version)
    return version
