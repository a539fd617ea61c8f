"""`gatepost smime recipient|identity`: certificates that mail is encrypted to, and our own, which sign and decrypt.

Those of a recipient are for an address, or for a whole domain. Our own have their sealed keys.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.analysis.checks.chain_file import ChainFileError
from gatepost.analysis.checks.chain_file import read_file as read_chain
from gatepost.analysis.checks.pem_import import PasswordNeeded, PemImport, PemSource, chain_pem_of, key_of, taken_in
from gatepost.manage.cli.named_files import read_file
from gatepost.manage.cli.options import (
    BAD_INPUT,
    NO,
    UNKNOWN,
    author,
    ending,
    fail,
    force_option,
    gateway_options,
    local_settings,
)
from gatepost.manage.cli.output import _, ours, print_table, printable, printed_json, quantity, say
from gatepost.manage.use_cases.context import Gateway
from gatepost.manage.use_cases.name_lookup import choose_organization
from gatepost.manage.use_cases.sealed_store import store_and_vault
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.certificate import certificate_facts, parse, subject_text
from gatepost.net.chain import judge
from gatepost.node.privileges import as_caller
from gatepost.pki.smime.certificate import (
    ID_DIGITS,
    addresses,
    bears,
    fingerprint,
    owner_of,
    unfit_to_encrypt,
    unfit_to_sign,
)
from gatepost.pki.smime.store import NotAdded, SmimeIdentity, SmimeStore, SmimeStoreError
from gatepost.protocols.tls.facts import ChainStatus
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography import x509

    from gatepost.settings.model import Settings


_SOON = timedelta(days=30).total_seconds()


@contextmanager
def _opened(settings: Settings, *, keys: bool = False) -> Iterator[SmimeStore]:
    """The store of a data directory; ends the command, with what to do, if something of it cannot be used.

    keys: whether the master key is wanted, which not everybody may read who may look.
    """
    with (
        ending(UNKNOWN, SmimeStoreError),
        ending(BAD_INPUT, NotAdded),
        store_and_vault(Gateway(settings), keys=keys) as (store, vault),
    ):
        yield SmimeStore(store, vault)


def _organization_of(settings: Settings, name: str) -> str:
    """The organization that is named, or the only one there is; ends the command if there is no single one."""
    resources = Gateway(settings).directory().resources
    if name:
        return choose_organization(resources, name).name
    names = [organization.name for organization in resources.organizations]
    if len(names) != 1:
        fail(
            BAD_INPUT,
            "--organization is needed: there are %(names)s",
            names=", ".join(names) or (_("none; add one with gatepost apply")),
        )
    return names[0]


def _owner_given(text: str) -> str:
    """The address or domain that a person wrote; ends the command if it is neither."""
    with ending(BAD_INPUT, ValueError, text=N_("%(error)s; write an address, or the domain whose gateway decrypts")):
        return owner_of(text)


def _reason_against(certificate: x509.Certificate, owner: str, unfit: str) -> str:
    """Why a certificate is not one of an owner: that it names others, and why it is unfit. "" if it is one."""
    if bears(certificate, owner):
        return unfit
    names = ", ".join(addresses(certificate)) or _("no address")
    more = _("; and %(why)s", why=ours(unfit)) if unfit else ""
    return _("does not name %(owner)s, but %(names)s", owner=owner, names=names) + more


def _note(leaf: x509.Certificate, why: str, given: dict[str, Any]) -> str:
    """For the history; ends the command if there is a reason against a certificate that is not forced."""
    if why and not given["force"]:
        fail(NO, "%(subject)s %(why)s; to add it anyway: --force REASON", subject=subject_text(leaf), why=ours(why))
    return f"forced: {given['force']}" if given["force"] else str(given["note"])


def _soon(certificate: x509.Certificate, unfit: str) -> str:
    """State of a certificate, in a few words."""
    if unfit:
        return unfit
    left = certificate.not_valid_after_utc.timestamp() - time.time()
    return _("expires in %(days)s", days=quantity(int(left // 86400), "day")) if left < _SOON else "usable"


def _facts(certificate: x509.Certificate, unfit: str) -> dict[str, Any]:
    """A certificate for machines; `usable` is now."""
    facts = certificate_facts(certificate.public_bytes(Encoding.DER))
    return {
        "sha256": facts.sha256,
        "subject": facts.subject,
        "issuer": facts.issuer,
        "serial": facts.serial,
        "addresses": list(addresses(certificate)),
        "dns_names": list(facts.dns_names),
        "key": facts.key,
        "not_before": moment(facts.not_before),
        "not_after": moment(facts.not_after),
        "usable": not unfit,
        "why": unfit,
    }


_RECIPIENT_COLUMNS = ("owner", "organization", "certificate", "key", "until", "state")


@click.group()
def recipient() -> None:
    """Manage certificates that mail is encrypted to, by address; or by domain, where a gateway decrypts."""


@recipient.command("add")
@click.argument("owner", metavar="ADDRESS|DOMAIN")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--organization", default="", help="Organization whose mail uses it. Needed if there are several.")
@click.option("--trust-anchors", default="", metavar="FILE|DIR|system", help="Check its chain before adding it.")
@force_option("Add it even if it does not name the owner, or cannot be used. The history records the reason.")
@click.option("--note", default="", help="Reason, for the history.")
@gateway_options
def add_recipient(**given: Any) -> None:
    """Add the certificate in FILE: PEM, DER or PKCS#7 (.p7b). Intermediates in it only prove the certificate.

    The gateway trusts what an administrator adds; with --trust-anchors it checks the chain first. The certificate must
    name ADDRESS, or for a DOMAIN the domain or an address in it. Mail is encrypted to all usable certificates of
    ADDRESS, or if there are none, to those of its domain.

    Exit codes: 0 added, 1 it cannot be used, or not for this owner, 2 usage error or no certificate, 3 the data cannot
    be read.
    """
    settings = local_settings()
    organization, owner = _organization_of(settings, given["organization"]), _owner_given(given["owner"])
    chain = _read(given["file"])
    leaf = _leaf(chain, given["file"])
    if given["trust_anchors"]:
        _check_chain(leaf, chain, given["trust_anchors"])
    why = _reason_against(leaf, owner, unfit_to_encrypt(leaf, time.time()))
    note = _note(leaf, why, given)
    with _opened(settings) as store:
        version = store.add_recipient(organization, owner, [leaf], author=author(), note=note)
    if printed_json({"organization": organization, "owner": owner, "version": version, **_facts(leaf, why)}):
        return
    say(
        "%(owner)s: added %(fingerprint)s\n  %(subject)s",
        owner=owner,
        fingerprint=fingerprint(leaf),
        subject=subject_text(leaf),
    )
    say("  compare this fingerprint with the owner over another channel than mail", err=True)


@recipient.command("list")
@click.option("--organization", default="", help="Only certificates of this organization.")
@gateway_options
def list_recipients(organization: str) -> None:
    """List certificates of recipients, and until when they can be used.

    Exit codes: 0 done (also if there are none), 3 the data cannot be read.
    """
    now = time.time()
    with _opened(local_settings()) as store:
        recipients = [(mine, owner, store.certificates(mine, owner)) for mine, owner in store.recipients()]
    rows = [
        (owner, mine, certificate, unfit_to_encrypt(certificate, now))
        for mine, owner, certificates in recipients
        for certificate in certificates
        if organization in {"", mine}
    ]
    if printed_json([{"organization": mine, "owner": owner, **_facts(row, why)} for owner, mine, row, why in rows]):
        return
    print_table(_RECIPIENT_COLUMNS, (_recipient_row(*row) for row in rows))


def _recipient_row(owner: str, organization: str, certificate: x509.Certificate, why: str) -> tuple[str, ...]:
    shown = _facts(certificate, why)
    until = moment(certificate.not_valid_after_utc.timestamp())[:10]
    return owner, organization, fingerprint(certificate)[:ID_DIGITS], shown["key"], until, _soon(certificate, why)


@recipient.command()
@click.argument("owner", metavar="ADDRESS|DOMAIN")
@click.option("--organization", default="", help="Organization whose mail uses it. Needed if there are several.")
@gateway_options
def show(owner: str, organization: str) -> None:
    """Show what mail for ADDRESS is encrypted to now: its own certificates, or else those of its domain.

    Exit codes: 0 mail can be encrypted, 1 it cannot, 2 usage error, 3 the data cannot be read.
    """
    settings, now = local_settings(), time.time()
    mine, address = _organization_of(settings, organization), _owner_given(owner)
    with _opened(settings) as store:
        whose, certificates = _counting(store, mine, address)
    views = [_facts(certificate, unfit_to_encrypt(certificate, now)) for certificate in certificates]
    if not printed_json({"organization": mine, "owner": address, "certificates_of": whose, "certificates": views}):
        _show(address, whose, views)
    if not any(row["usable"] for row in views):
        fail(
            NO,
            "mail to %(address)s cannot be encrypted; add a certificate: gatepost smime "
            "recipient add %(address2)s FILE",
            address=address,
            address2=address,
        )


def _counting(store: SmimeStore, organization: str, owner: str) -> tuple[str, tuple[x509.Certificate, ...]]:
    if "@" in owner:
        return store.certificates_for(organization, owner)
    return owner, store.certificates(organization, owner)


def _show(address: str, whose: str, views: list[dict[str, Any]]) -> None:
    for row in views:
        of = _(" (of %(whose)s)", whose=whose) if whose != address else ""
        click.echo(f"{row['sha256']}{of}: {printable(row['why']) or 'usable'}")
        for name in ("subject", "issuer", "key", "not_before", "not_after"):
            click.echo(f"  {name:12}{printable(row[name])}")
        click.echo(f"  {'addresses':12}{printable(', '.join(row['addresses']) or _('none'))}")


@recipient.command("remove")
@click.argument("owner", metavar="ADDRESS|DOMAIN")
@click.argument("certificate", nargs=-1, metavar="[SHA256]...")
@click.option("--organization", default="", help="Organization whose mail uses it. Needed if there are several.")
@click.option("--note", default="", help="Reason, for the history.")
@gateway_options
def remove_recipient(owner: str, certificate: tuple[str, ...], organization: str, note: str) -> None:
    """Remove certificates: those whose fingerprint begins with SHA256, or all of the owner.

    Mail that requires encryption then waits.

    Exit codes: 0 removed, 2 there is no such certificate, 3 the data cannot be read.
    """
    settings = local_settings()
    mine, whose = _organization_of(settings, organization), _owner_given(owner)
    with _opened(settings) as store:
        kept = [fingerprint(stored) for stored in store.certificates(mine, whose)]
        beginnings = [text.lower().replace(":", "") for text in certificate]
        chosen = [sha256 for text in beginnings for sha256 in kept if sha256.startswith(text)]
        if not kept or (certificate and not chosen):
            fail(
                BAD_INPUT,
                "%(whose)s has no such certificate; there are: %(kept)s",
                whose=whose,
                kept=", ".join(kept) or _("none"),
            )
        store.remove_recipient(mine, whose, chosen, author=author(), note=note)
    if printed_json({"owner": whose, "removed": chosen or kept}):
        return
    for removed in chosen or kept:
        say("%(whose)s: removed %(removed)s", whose=whose, removed=removed)


def _read(file: Path) -> list[x509.Certificate]:
    with ending(BAD_INPUT, ChainFileError), as_caller():
        return [parse(der) for der in read_chain(file).certificates]


def _leaf(chain: list[x509.Certificate], file: Path) -> x509.Certificate:
    """The one that no other of them was issued by."""
    issuers = {certificate.issuer for certificate in chain if certificate.issuer != certificate.subject}
    leaves = [certificate for certificate in dict.fromkeys(chain) if certificate.subject not in issuers]
    if len(leaves) != 1:
        names = "; ".join(printable(subject_text(leaf)) for leaf in leaves) or _("none")
        fail(
            BAD_INPUT,
            "%(file)s: it contains certificates of several recipients, but one is expected: %(names)s",
            file=file,
            names=names,
        )
    return leaves[0]


def _check_chain(leaf: x509.Certificate, chain: list[x509.Certificate], anchors: str) -> None:
    ders = [
        certificate.public_bytes(Encoding.DER)
        for certificate in (leaf, *(certificate for certificate in chain if certificate is not leaf))
    ]
    with ending(BAD_INPUT, AnchorsError, place="--trust-anchors: "):
        with as_caller():
            trusted = TrustAnchors.load(anchors)
        verdict = judge(ders, trusted, now=time.time(), purpose="mail")
    if verdict.status is not ChainStatus.TRUSTED:
        fail(NO, "%(subject)s is not trusted: %(detail)s", subject=subject_text(leaf), detail=ours(verdict.detail))


_IDENTITY_COLUMNS = ("id", "owner", "organization", "key", "until", "signs", "decrypts")
_MOST = 1 << 20


@click.group()
def identity() -> None:
    """Manage the organization's own certificates with their keys, by address or domain: they sign and decrypt."""


@identity.command("add")
@click.argument("owner", metavar="ADDRESS|DOMAIN")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with the private key, unless FILE contains it.",
)
@click.option(
    "--password-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with the password in its first line.",
)
@click.option("--organization", default="", help="Organization of the certificate. Needed if there are several.")
@force_option(
    "Add it even if it does not name the owner, can neither sign nor decrypt, or if its domain is not verified for the "
    "organization. The history records the reason."
)
@click.option("--note", default="", help="Reason, for the history.")
@gateway_options
def add_identity(**given: Any) -> None:
    """Add the certificate in FILE with its key, which is sealed with store.master_key.

    FILE: the certificate and its intermediates, as PEM, DER, PKCS#7 or PKCS#12 (.p12, .pfx). With an ADDRESS it signs
    and decrypts mail from and to that address, with a DOMAIN all mail from and to the domain. An owner can have
    several: the newest signs, and all decrypt, even after they expire. A certificate is used while the domain, or one
    above it, is a verified accepted domain of the organization.

    Exit codes: 0 added, 1 it cannot be used, or not for this owner, 2 usage error or unusable files, 3 the data cannot
    be read.
    """
    settings = local_settings()
    organization, owner = _organization_of(settings, given["organization"]), _owner_given(given["owner"])
    intake = _taken_in(given)
    leaf = parse(intake.certificates[0])
    why = _why_not(leaf, owner) or _not_owned(settings, organization, owner)
    note = _note(leaf, why, given)
    with _opened(settings, keys=True) as store:
        own = store.add_identity(
            organization, owner, chain_pem_of(intake.certificates), intake.key_pem, author=author(), note=note
        )
    if not printed_json(_view(own, time.time())):
        say(
            "%(id)s: added for %(owner)s; its key is sealed\n  %(subject)s",
            id=own.id,
            owner=owner,
            subject=subject_text(leaf),
        )


@identity.command("list")
@click.option("--organization", default="", help="Only certificates of this organization.")
@gateway_options
def list_identities(organization: str) -> None:
    """List our own certificates: who signs, who decrypts, until when.

    Exit codes: 0 done (also if there are none), 3 the data cannot be read.
    """
    now = time.time()
    with _opened(local_settings()) as store:
        identities = [own for own in store.identities() if organization in {"", own.organization}]
    if not printed_json([_view(own, now) for own in identities]):
        print_table(_IDENTITY_COLUMNS, (_identity_row(own, now) for own in identities))


@identity.command("remove")
@click.argument("number", metavar="ID")
@click.option("--note", default="", help="Reason, for the history.")
@gateway_options
def remove_identity(number: str, note: str) -> None:
    """Remove a certificate with its key. Mail that is encrypted to it can then no longer be decrypted here.

    Exit codes: 0 removed, 2 ID does not name exactly one certificate, 3 the data cannot be read.
    """
    with _opened(local_settings()) as store:
        identities = [own for own in store.identities() if own.id.startswith(number.lower())]
        if len(identities) != 1:
            many = ", ".join(own.name for own in identities) or _("none")
            fail(
                BAD_INPUT,
                "%(number)s does not name exactly one S/MIME identity (found: %(many)s)",
                number=repr(number),
                many=many,
            )
        store.remove_identity(identities[0], author=author(), note=note)
    if not printed_json({"id": identities[0].id}):
        say("%(id)s: removed, with its key", id=identities[0].id)


def _why_not(leaf: x509.Certificate, owner: str) -> str:
    now = time.time()
    sign, encrypt = unfit_to_sign(leaf, now), unfit_to_encrypt(leaf, now)
    return _reason_against(leaf, owner, sign if sign and encrypt else "")


def _not_owned(settings: Settings, organization: str, owner: str) -> str:
    domain = owner.rpartition("@")[2]
    if Gateway(settings).directory().owns(organization, domain):
        return ""
    return _(
        "would not be used: %(domain)s is not a verified accepted domain of %(organization)s",
        domain=domain,
        organization=organization,
    )


def _taken_in(given: dict[str, Any]) -> PemImport:
    file, key = given["file"], given["key"]
    with ending(BAD_INPUT, ChainFileError):
        password = _password(given["password_file"])
        key_pem = key_of(read_file(key, _MOST), str(key), password) if key else b""
        pem_source = PemSource(read_file(file, _MOST), str(file), key_pem, password, "mail")
        try:
            intake = taken_in(pem_source, now=time.time())
        except PasswordNeeded:
            if password is not None or not sys.stdin.isatty():
                raise
            typed: str = click.prompt(_("password of %(file)s", file=file), hide_input=True, err=True)
            again = PemSource(pem_source.content, pem_source.source, key_pem, typed.encode(), "mail")
            intake = taken_in(again, now=time.time())
    if not intake.key_pem:
        fail(BAD_INPUT, "%(file)s: it contains no private key; name the file with the key: --key FILE", file=file)
    return intake


def _password(file: Path | None) -> bytes | None:
    return read_file(file, _MOST).split(b"\n")[0].rstrip(b"\r") if file else None


def _view(one: SmimeIdentity, now: float) -> dict[str, Any]:
    leaf = one.chain[0]
    sign = unfit_to_sign(leaf, now)
    return {
        "id": one.id,
        "organization": one.organization,
        "owner": one.owner,
        "added": moment(one.added),
        "signs": not sign,
        "decrypts": True,
        **_facts(leaf, sign),
    }


def _identity_row(one: SmimeIdentity, now: float) -> tuple[str, ...]:
    leaf = one.chain[0]
    until = moment(leaf.not_valid_after_utc.timestamp())[:10]
    shown = _facts(leaf, "")
    return one.id, one.owner, one.organization, shown["key"], until, _soon(leaf, unfit_to_sign(leaf, now)), _("yes")
