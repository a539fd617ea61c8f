"""`gatepost certificate add`: a certificate into the inventory, or a directory in which others renew some.

Key and certificate are checked together by `checks.intake`; what was put right is said, what cannot be is one error.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.certificates.course import Refused, names_of, replaced, switch
from gatepost.certificates.directories import pairs_in
from gatepost.certificates.entry import Entry, Origin, Purpose, State
from gatepost.certificates.files import CertificateFileError, load_identity
from gatepost.certificates.inventory import entry_from
from gatepost.certificates.presented import refused_by_tls
from gatepost.checks.chain_file import ChainFileError
from gatepost.checks.intake import Given, PasswordNeeded, chain_pem_of, key_of, taken_in
from gatepost.cli.certificate_store import check_client, listed_certificates, opened
from gatepost.cli.certificate_view import list_record
from gatepost.cli.options import BAD_INPUT, NO, author, config_option, fail, json_option, settings_of
from gatepost.cli.tables import print_json, printable
from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.identity import ServerIdentity
from gatepost.tls.names import matches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gatepost.certificates.inventory import Inventory
    from gatepost.certificates.listed import Listed
    from gatepost.certificates.request import Request
    from gatepost.checks.intake import Intake
    from gatepost.settings.model import Settings

__all__ = ["add"]

_MOST = 16 * 1024 * 1024
_PASSWORDS = 3


@dataclass(frozen=True, slots=True)
class _Asked:
    """The options."""

    chain: str | None
    key: str | None
    leave_key: bool
    password_file: str | None
    label: str
    client: bool
    organization: str
    current: bool
    directory: str | None
    note: str
    as_json: bool


@click.command()
@click.argument("chain", required=False, metavar="[CHAIN]", type=click.Path(dir_okay=False))
@click.option("--key", type=click.Path(dir_okay=False), metavar="FILE", help="Its private key, unless it is in CHAIN.")
@click.option("--leave-key", is_flag=True, help="Use both files where they are, and notice when others renew them.")
@click.option(
    "--password-file", type=click.Path(dir_okay=False), metavar="FILE", help="Has the password in its first line."
)
@click.option("--label", default="", help="A name for people; connectors name client identities by it.")
@click.option("--client", is_flag=True, help="A client identity, which outbound connectors present.")
@click.option("--organization", default="", help="Whose client identity it is.")
@click.option("--current", is_flag=True, help="Present it at once, in the place of what is current for its names.")
@click.option(
    "--directory", type=click.Path(file_okay=False), metavar="DIR", help="Watch a directory, such as certbot's live."
)
@click.option("--note", default="", help="Why, for the history.")
@config_option
@json_option
def add(config: str | None, **options: object) -> None:
    """Add a certificate: what CHAIN holds, with its key.

    CHAIN: the certificate and its intermediates in any order, as PEM, DER, PKCS#7 (.p7b) or PKCS#12 (.p12, .pfx). The
    key is in CHAIN, in --key, or waits since `gatepost certificate request`. It is sealed with store.master_key and
    stored; with --leave-key both files stay where they are, mode 0600, and are watched.

    The certificate is next until a changeover, unless nothing is current yet for its names, or --current says so.

    Exit codes: 0 added, 1 it is there already or may not become current, 2 wrong use or files that cannot be used,
    3 not readable.
    """
    asked, settings = _Asked(**options), settings_of(config)  # type: ignore[arg-type] # click gives what the options say
    if (asked.chain is None) == (asked.directory is None):
        fail(BAD_INPUT, "name CHAIN, the file with the certificate, or --directory, to watch one")
    try:
        with opened(settings) as inventory:
            if asked.directory is not None:
                _add_directory(inventory, Path(asked.directory).absolute(), asked)
            else:
                _add_certificate(inventory, asked, settings)
    except ChainFileError as error:
        fail(BAD_INPUT, printable(error))


# a directory


def _add_directory(inventory: Inventory, path: Path, asked: _Asked) -> None:
    if asked.key or asked.label or asked.client or asked.current:
        fail(BAD_INPUT, "--directory takes no other option but --note: what is in it says the rest")
    try:
        pairs = pairs_in(path)
    except OSError as error:
        fail(BAD_INPUT, f"--directory {path}: {error.strerror}")
    for chain, key in pairs:
        try:
            load_identity(chain, key)
            click.echo(f"found: {chain}", err=True)
        except CertificateFileError as error:
            click.echo(f"cannot be used: {error}", err=True)
    if not pairs:
        click.echo("no certificate is in it yet: looked for are fullchain.pem with privkey.pem, here or in a directory "
                   "below, and NAME.pem or NAME.crt with NAME.key", err=True)  # fmt: skip
    version = inventory.directories.add(path, author=author(), note=asked.note)
    if asked.as_json:
        print_json(
            {"directory": str(path), "version": version, "pairs": [[str(one) for one in pair] for pair in pairs]}
        )
    else:
        click.echo(f"{path}: watched; a gateway that runs takes up what is in it within seconds")


# a certificate


def _add_certificate(inventory: Inventory, asked: _Asked, settings: Settings) -> None:
    now, source = time.time(), Path(str(asked.chain))
    found, request = _found(inventory, asked, settings, now)
    if not found.key_pem:
        fail(
            BAD_INPUT,
            f"{source}: no private key is in it, and none waits for this certificate (`gatepost certificate list` "
            "shows what waits): name the key with --key",
        )
    key_file = _key_file(asked, source, request)
    if key_file is None:
        identity = ServerIdentity(chain_pem_of(found.certificates), found.key_pem)
    else:
        identity = load_identity(source.absolute(), key_file)
    entry = _described(entry_from(identity, now=now), asked, request)
    if key_file is not None:
        entry = replace(entry, origin=Origin.FILES, chain_file=str(source.absolute()), key_file=str(key_file))
    check_client(settings, entry.purpose, entry.organization, entry.label)
    _tell(found, entry, settings)
    _store(inventory, entry, asked, identity, settings)
    if asked.key and not entry.key_file:
        click.echo(f"note: the key is sealed in the store; {asked.key} is not needed any more", err=True)
    if request is not None:
        inventory.requests.remove(request, author=author(), note=f"its certificate {entry.id} came")


def _found(inventory: Inventory, asked: _Asked, settings: Settings, now: float) -> tuple[Intake, Request | None]:
    """What the files hold, and the request whose key waited for it."""
    source, password = str(asked.chain), _Password(asked.password_file)
    key_pem = b""
    if asked.key:
        name, content = asked.key, _read(Path(asked.key))
        key_pem = _with_password(lambda word: key_of(content, name, word), password)
    chain, anchors = _read(Path(source)), _anchors(settings)
    known = _known(inventory, inventory.entries()[1].values())
    purpose: Literal["server", "client"] = "client" if asked.client else "server"

    def read(word: bytes | None) -> Intake:
        return taken_in(Given(chain, source, key_pem, word, purpose), known=known, anchors=anchors, now=now)

    found = _with_password(read, password)
    if found.key_pem:
        return found, None
    request = inventory.requests.of(x509.load_der_x509_certificate(found.certificates[0]))
    if request is None:
        return found, None
    key_pem, purpose = inventory.requests.key_pem(request), request.wish.purpose.value
    return read(None), request


def _key_file(asked: _Asked, source: Path, request: Request | None) -> Path | None:
    """The file in which the key stays; None if it is to be sealed."""
    if asked.leave_key:
        return Path(asked.key or source).absolute()
    return Path(request.key_file) if request is not None and request.key_file else None


def _described(entry: Entry, asked: _Asked, request: Request | None) -> Entry:
    if request is not None:
        wish = request.wish
        entry = replace(entry, purpose=wish.purpose, organization=wish.organization, label=wish.label)
    purpose = Purpose.CLIENT if asked.client else entry.purpose
    owner, label = asked.organization or entry.organization, asked.label or entry.label
    return replace(entry, purpose=purpose, organization=owner, label=label)


def _tell(found: Intake, entry: Entry, settings: Settings) -> None:
    """What was put right, or in files that stay as they are should be, and what partners may stumble over."""
    hostname = settings.server.hostname
    warnings = list(found.warnings)
    if entry.purpose is Purpose.SERVER and not matches(hostname, entry.leaf):
        warnings.append(f"it does not bear the gateway's own name {hostname}")
    heading = "warning: the files are used as they are, though" if entry.key_file else "note:"
    for text in [f"{heading} {note}" for note in found.notes] + [f"warning: {one}" for one in warnings]:
        click.echo(printable(text), err=True)


def _must_be_presentable(entry: Entry, source: str | None, identity: ServerIdentity, settings: Settings) -> None:
    """Ends the command for what nobody could accept, or no listener present."""
    if entry.leaf.not_after <= entry.added:
        fail(BAD_INPUT, f"{source}: the certificate has expired; get a new one")
    if entry.purpose is Purpose.CLIENT:
        return
    if refused := refused_by_tls(identity, settings.tls.profile):
        fail(BAD_INPUT, f"{source}: no listener could present it: {refused}; use RSA of 2048 bits or more, or EC")
    if not names_of(entry):
        fail(
            BAD_INPUT,
            f"{source}: {printable(entry.leaf.subject)} has no subjectAltName, and nothing else counts (RFC 9525); "
            "have it issued with the names of the MX hosts (the key of an authority does not belong here)",
        )


def _store(inventory: Inventory, entry: Entry, asked: _Asked, identity: ServerIdentity, settings: Settings) -> None:
    now = entry.added
    _must_be_presentable(entry, asked.chain, identity, settings)
    found = listed_certificates(inventory, settings)
    known = found.entries.get(entry.id)
    if known is not None and (known.origin is Origin.SETTINGS or _usable(inventory, known)):
        fail(NO, f"{entry.id} is there already, and is {known.state}: see gatepost certificate show {entry.id}")
    others: tuple[Entry, ...] = ()
    if asked.current or not replaced(entry, found.entries):
        try:
            entry, *changed = switch(entry, found.entries, now=now)
            others = tuple(changed)
        except Refused as why:
            if asked.current:
                fail(NO, f"it cannot become current: {why}; nothing was added")
    version = _record_settings(inventory, found, others)
    inventory.add(entry, identity, author=author(), note=asked.note, others=others, expected=version)
    if others:
        way = "gatepost certificate changeover"
        click.echo(f"warning: no gate was asked, so see now: {way} status; to take it back: {way} roll-back", err=True)
    if asked.as_json:
        print_json(list_record(entry, now) | {"deprecated": [one.id for one in others]})
        return
    for one in others:
        click.echo(f"{one.id}: deprecated")
    then = "" if entry.state is State.CURRENT else f"; to present it: gatepost certificate changeover check {entry.id}"
    click.echo(f"{entry.id}: {entry.state}{then}")


def _record_settings(inventory: Inventory, found: Listed, others: tuple[Entry, ...]) -> int:
    """Those of the settings which a gateway that never ran could not record, before they are deprecated.

    The version then, if nobody else changed what `found` says.
    """
    (_, stored), version = inventory.entries(), found.version
    for one in others:
        if one.id not in stored:
            note = f"found in {one.chain_file}"
            version = inventory.record(found.entries[one.id], found.chains[one.id], note=note, expected=version)
    return version


def _usable(inventory: Inventory, entry: Entry) -> bool:
    try:
        inventory.identity(entry)
    except CertificateFileError:
        return False
    return True


def _known(inventory: Inventory, entries: Iterable[Entry]) -> list[bytes]:
    """Intermediates of certificates that are here already: the next one often comes from the same."""
    found: dict[bytes, None] = {}
    for entry in entries:
        try:
            _, *above = x509.load_pem_x509_certificates(inventory.chain_pem(entry))
        except CertificateFileError:
            continue
        found |= dict.fromkeys(one.public_bytes(Encoding.DER) for one in above)
    return list(found)


def _anchors(settings: Settings) -> TrustAnchors | None:
    try:
        return TrustAnchors.load(settings.tls.trust_anchors)
    except AnchorsError as error:
        click.echo(f"warning: whether the chain is complete is not known: {error}", err=True)
        return None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST + 1)
    except OSError as error:
        fail(BAD_INPUT, f"{path}: {error.strerror}")


# passwords


class _Password:
    """What opens encrypted files: from a file, or asked for on a terminal, so that it is in no process list."""

    def __init__(self, file: str | None) -> None:
        self.word: bytes | None = None
        self.asked = 0
        self.fixed = file is not None
        if file is not None:
            self.word = next(iter(_read(Path(file)).splitlines()), b"")

    def ask(self, why: PasswordNeeded) -> None:
        """Another try. Raises PasswordNeeded if there is none."""
        if self.fixed:
            raise why
        if not sys.stdin.isatty() or self.asked >= _PASSWORDS:
            raise PasswordNeeded(f"{why}: --password-file FILE") from why
        self.asked += 1
        click.echo(str(why), err=True)
        self.word = click.prompt("Password", hide_input=True, err=True).encode()


def _with_password[T](read: Callable[[bytes | None], T], password: _Password) -> T:
    while True:
        try:
            return read(password.word)
        except PasswordNeeded as why:
            password.ask(why)
