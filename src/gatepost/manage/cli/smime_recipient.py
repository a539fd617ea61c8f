"""`gatepost smime recipient …`: the certificates that mail for an address, or for a whole domain, is encrypted to."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.analysis.checks.chain_file import ChainFileError, read_file
from gatepost.manage.cli.options import (
    BAD_INPUT,
    NO,
    author,
    ending,
    fail,
    force_option,
    gateway_options,
    local_settings,
)
from gatepost.manage.cli.output import _, ours, print_table, printable, printed_json, say
from gatepost.manage.cli.smime_store import opened, organization_of, owner_given, reason_against, soon, view
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.certificate import parse, subject_text
from gatepost.net.chain import judge
from gatepost.node.privileges import as_caller
from gatepost.pki.smime.certificate import ID_DIGITS, fingerprint, unfit_to_encrypt
from gatepost.protocols.tls.facts import ChainStatus

if TYPE_CHECKING:
    from cryptography import x509

    from gatepost.pki.smime.store import SmimeStore


_COLUMNS = ("owner", "organization", "certificate", "key", "until", "state")


@click.group()
def recipient() -> None:
    """Manage certificates that mail is encrypted to, by address; or by domain, where a gateway decrypts."""


@recipient.command()
@click.argument("owner", metavar="ADDRESS|DOMAIN")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--organization", default="", help="Organization whose mail uses it. Needed if there are several.")
@click.option("--trust-anchors", default="", metavar="FILE|DIR|system", help="Check its chain before adding it.")
@force_option("Add it even if it does not name the owner, or cannot be used. The history records the reason.")
@click.option("--note", default="", help="Reason, for the history.")
@gateway_options
def add(**given: Any) -> None:
    """Add the certificate in FILE: PEM, DER or PKCS#7 (.p7b). Intermediates in it only prove the certificate.

    The gateway trusts what an administrator adds; with --trust-anchors it checks the chain first. The certificate must
    name ADDRESS, or for a DOMAIN the domain or an address in it. Mail is encrypted to all usable certificates of
    ADDRESS, or if there are none, to those of its domain.

    Exit codes: 0 added, 1 it cannot be used, or not for this owner, 2 usage error or no certificate, 3 the data cannot
    be read.
    """
    settings = local_settings()
    organization, owner = organization_of(settings, given["organization"]), owner_given(given["owner"])
    chain = _read(given["file"])
    leaf = _leaf(chain, given["file"])
    if given["trust_anchors"]:
        _check_chain(leaf, chain, given["trust_anchors"])
    why = reason_against(leaf, owner, unfit_to_encrypt(leaf, time.time()))
    if why and not given["force"]:
        fail(
            NO,
            "%(subject)s %(why)s; to add it anyway: --force REASON",
            subject=subject_text(leaf),
            why=printable(ours(why)),
        )
    note = f"forced: {given['force']}" if given["force"] else given["note"]
    with opened(settings) as store:
        version = store.add_recipient(organization, owner, [leaf], author=author(), note=note)
    if printed_json({"organization": organization, "owner": owner, "version": version, **view(leaf, why)}):
        return
    say(
        "%(owner)s: added %(fingerprint)s\n  %(subject)s",
        owner=owner,
        fingerprint=fingerprint(leaf),
        subject=printable(subject_text(leaf)),
    )
    say("  compare this fingerprint with the owner over another channel than mail", err=True)


@recipient.command("list")
@click.option("--organization", default="", help="Only for this one.")
@gateway_options
def list_(organization: str) -> None:
    """List certificates of recipients, and until when they can be used.

    Exit codes: 0 done (also if there are none), 3 the data cannot be read.
    """
    now = time.time()
    with opened(local_settings()) as store:
        recipients = [(mine, owner, store.certificates(mine, owner)) for mine, owner in store.recipients()]
    rows = [
        (owner, mine, certificate, unfit_to_encrypt(certificate, now))
        for mine, owner, certificates in recipients
        for certificate in certificates
        if organization in {"", mine}
    ]
    if printed_json([{"organization": mine, "owner": owner, **view(row, why)} for owner, mine, row, why in rows]):
        return
    print_table(_COLUMNS, (_row(*row) for row in rows))


def _row(owner: str, organization: str, certificate: x509.Certificate, why: str) -> tuple[str, ...]:
    shown = view(certificate, why)
    until = moment(certificate.not_valid_after_utc.timestamp())[:10]
    return owner, organization, fingerprint(certificate)[:ID_DIGITS], shown["key"], until, soon(certificate, why)


@recipient.command()
@click.argument("owner", metavar="ADDRESS|DOMAIN")
@click.option("--organization", default="", help="Organization whose mail uses it. Needed if there are several.")
@gateway_options
def show(owner: str, organization: str) -> None:
    """Show what mail for ADDRESS is encrypted to now: its own certificates, or else those of its domain.

    Exit codes: 0 mail can be encrypted, 1 it cannot, 2 usage error, 3 the data cannot be read.
    """
    settings, now = local_settings(), time.time()
    mine, address = organization_of(settings, organization), owner_given(owner)
    with opened(settings) as store:
        whose, certificates = _counting(store, mine, address)
    views = [view(certificate, unfit_to_encrypt(certificate, now)) for certificate in certificates]
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


@recipient.command()
@click.argument("owner", metavar="ADDRESS|DOMAIN")
@click.argument("certificate", nargs=-1, metavar="[SHA256]...")
@click.option("--organization", default="", help="Organization whose mail uses it. Needed if there are several.")
@click.option("--note", default="", help="Reason, for the history.")
@gateway_options
def remove(owner: str, certificate: tuple[str, ...], organization: str, note: str) -> None:
    """Remove certificates: those whose fingerprint begins with SHA256, or all of the owner.

    Mail that requires encryption then waits.

    Exit codes: 0 removed, 2 there is no such certificate, 3 the data cannot be read.
    """
    settings = local_settings()
    mine, whose = organization_of(settings, organization), owner_given(owner)
    with opened(settings) as store:
        kept = [fingerprint(stored) for stored in store.certificates(mine, whose)]
        chosen = [
            candidate
            for text in certificate
            for candidate in kept
            if candidate.startswith(text.lower().replace(":", ""))
        ]
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
    try:
        with as_caller():
            return [parse(der) for der in read_file(file).certificates]
    except ChainFileError as error:
        fail(BAD_INPUT, printable(error))


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
        fail(
            NO,
            "%(subject)s is not trusted: %(detail)s",
            subject=subject_text(leaf),
            detail=printable(ours(verdict.detail)),
        )
