"""`gatepost smime identity …`: certificates of our own with their sealed keys, which sign and decrypt."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gatepost.analysis.checks.chain_file import ChainFileError
from gatepost.analysis.checks.pem_import import PasswordNeeded, PemImport, PemSource, chain_pem_of, key_of, taken_in
from gatepost.manage.cli.named_files import read_file
from gatepost.manage.cli.options import (
    BAD_INPUT,
    NO,
    author,
    fail,
    force_option,
    gateway_options,
    local_settings,
)
from gatepost.manage.cli.output import _, print_table, printable, printed_json, say
from gatepost.manage.cli.smime_store import opened, organization_of, owner_given, reason_against, soon, view
from gatepost.manage.use_cases.gateway import Gateway
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.net.certificate import parse, subject_text
from gatepost.pki.smime.certificate import unfit_to_encrypt, unfit_to_sign

if TYPE_CHECKING:
    from cryptography import x509

    from gatepost.pki.smime.store import SmimeIdentity
    from gatepost.settings.model import Settings


_COLUMNS = ("id", "owner", "organization", "key", "until", "signs", "decrypts")
_MOST = 1 << 20


@click.group()
def identity() -> None:
    """Manage the organization's own certificates with their keys, by address or domain: they sign and decrypt."""


@identity.command()
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
def add(**given: Any) -> None:
    """Add the certificate in FILE with its key, which is sealed with store.master_key.

    FILE: the certificate and its intermediates, as PEM, DER, PKCS#7 or PKCS#12 (.p12, .pfx). With an ADDRESS it signs
    and decrypts mail from and to that address, with a DOMAIN all mail from and to the domain. An owner can have
    several: the newest signs, and all decrypt, even after they expire. A certificate is used while the domain, or one
    above it, is a verified accepted domain of the organization.

    Exit codes: 0 added, 1 it cannot be used, or not for this owner, 2 usage error or unusable files, 3 the data cannot
    be read.
    """
    settings = local_settings()
    organization, owner = organization_of(settings, given["organization"]), owner_given(given["owner"])
    intake = _taken_in(given)
    leaf = parse(intake.certificates[0])
    why = _why_not(leaf, owner) or _not_owned(settings, organization, owner)
    if why and not given["force"]:
        fail(
            NO, "%(subject)s %(why)s; to add it anyway: --force REASON", subject=subject_text(leaf), why=printable(why)
        )
    note = f"forced: {given['force']}" if given["force"] else given["note"]
    with opened(settings, keys=True) as store:
        smime_identity = store.add_identity(
            organization, owner, chain_pem_of(intake.certificates), intake.key_pem, author=author(), note=note
        )
    if not printed_json(_view(smime_identity, time.time())):
        say(
            "%(id)s: added for %(owner)s; its key is sealed\n  %(subject)s",
            id=smime_identity.id,
            owner=owner,
            subject=printable(subject_text(leaf)),
        )


@identity.command("list")
@click.option("--organization", default="", help="Only for this one.")
@gateway_options
def list_(organization: str) -> None:
    """List our own certificates: who signs, who decrypts, until when.

    Exit codes: 0 done (also if there are none), 3 the data cannot be read.
    """
    now = time.time()
    with opened(local_settings()) as store:
        identities = [
            smime_identity for smime_identity in store.identities() if organization in {"", smime_identity.organization}
        ]
    if not printed_json([_view(smime_identity, now) for smime_identity in identities]):
        print_table(_COLUMNS, (_row(smime_identity, now) for smime_identity in identities))


@identity.command()
@click.argument("number", metavar="ID")
@click.option("--note", default="", help="Reason, for the history.")
@gateway_options
def remove(number: str, note: str) -> None:
    """Remove a certificate with its key. Mail that is encrypted to it can then no longer be decrypted here.

    Exit codes: 0 removed, 2 ID does not name exactly one certificate, 3 the data cannot be read.
    """
    with opened(local_settings()) as store:
        identities = [
            smime_identity for smime_identity in store.identities() if smime_identity.id.startswith(number.lower())
        ]
        if len(identities) != 1:
            many = ", ".join(smime_identity.name for smime_identity in identities) or _("none")
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
    return reason_against(leaf, owner, sign if sign and encrypt else "")


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
    try:
        password = _password(given["password_file"])
        key_pem = key_of(read_file(key, _MOST), str(key), password) if key else b""
        pem_source = PemSource(read_file(file, _MOST), str(file), key_pem, password, "mail")
        try:
            intake = taken_in(pem_source, now=time.time())
        except PasswordNeeded:
            if password is not None or not sys.stdin.isatty():
                raise
            typed: str = click.prompt(_("password of %(file)s", file=file), hide_input=True, err=True)
            intake = taken_in(
                PemSource(pem_source.content, pem_source.source, key_pem, typed.encode(), "mail"), now=time.time()
            )
    except ChainFileError as error:
        fail(BAD_INPUT, printable(error))
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
        **view(leaf, sign),
    }


def _row(one: SmimeIdentity, now: float) -> tuple[str, ...]:
    leaf = one.chain[0]
    until = moment(leaf.not_valid_after_utc.timestamp())[:10]
    shown = view(leaf, "")
    return one.id, one.owner, one.organization, shown["key"], until, soon(leaf, unfit_to_sign(leaf, now)), _("yes")
