"""`gatepost site nodes`, `root`, `history`: what is to be taken back, the root to trust, and who did what."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.manage.cli.named_files import fill_file, made_file
from gatepost.manage.cli.options import BAD_INPUT, author, fail, gateway_options, local_settings
from gatepost.manage.cli.output import _, print_records, printed_json, say, wants_json
from gatepost.manage.cli.site_store import opened
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.pki.site.membership import Member
from gatepost.pki.site.site import Site
from gatepost.pki.site.store import KINDS, MEMBERSHIP

if TYPE_CHECKING:
    from gatepost.store.changes import Change


_COLUMNS = ("at", "author", "what", "name", "note")


@click.group()
def nodes() -> None:
    """Remove nodes, and tokens that were not used. `gatepost site status` lists both."""


@nodes.command()
@click.argument("name")
@click.option("--note", default="", help="Reason, for the history.")
@gateway_options
def remove(name: str, note: str) -> None:
    """Remove node NAME: it gets no further certificates.

    Other nodes trust its last certificate until that expires. There is no revocation list, because these certificates
    are short-lived.

    Exit codes: 0 done, 1 changed by somebody else at the same time, 2 there is no such node, 3 the data cannot be read.
    """
    settings = local_settings()
    with opened(settings, keys=False) as records:
        own = records.kept_under()
        for key, member in records.memberships().items():
            if member.node != name or member.address:
                continue
            if key == own:
                fail(BAD_INPUT, "%(name)s is this gateway itself, which keeps the authority", name=name)
            fail(
                BAD_INPUT,
                "%(name)s has the same database, and would certify itself: gatepost node remove %(key)s",
                name=name,
                key=key,
            )
        gone = Site(records).remove_node(name, author=author(), note=note)
    if printed_json(gone):
        return
    say(
        "%(name)s gets no further certificates; its last one ends at %(not_after)s",
        err=True,
        name=name,
        not_after=moment(gone.not_after),
    )


@nodes.command("remove-token")
@click.argument("token")
@gateway_options
def remove_token(token: str) -> None:
    """Revoke TOKEN, by its id. Exit codes: 0 done, 2 there is no such token, 3 the data cannot be read."""
    with opened(local_settings(), keys=False) as records:
        gone = Site(records).remove_token(token, author=author())
    if not printed_json({"id": gone.id}):
        say("token %(id)s can no longer be used", err=True, id=gone.id)


@click.command()
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False), default="-", help="Output file. Default: standard output."
)
@click.option("--der", is_flag=True, help="Only the newest root, in DER, as Windows reads it (.cer).")
@gateway_options
def root(output: str, *, der: bool) -> None:
    """Print the roots of this gateway's site in PEM, the newest first.

    Use them as trust_anchors of a connector with an on-premises server, and in that server's own store.

    Exit codes: 0 done, 2 this gateway belongs to no site, 3 the data cannot be read.
    """
    with opened(local_settings(), keys=False) as records:
        content = Member(records).roots_pem()
    if output == "-" and printed_json({"pem": content.decode("ascii")}):
        return
    if der:
        content = x509.load_pem_x509_certificate(content).public_bytes(Encoding.DER)
    if output == "-":
        sys.stdout.buffer.write(content)
    else:
        file = Path(output)
        fill_file(made_file(file, 0o644), file, content)
        printed_json({"file": output})


@click.command()
@click.option(
    "--limit", default=20, type=click.IntRange(1, 10_000), show_default=True, help="Maximum number of entries."
)
@gateway_options
def history(limit: int) -> None:
    """Show who changed the site, its nodes and tokens, when and why, the newest first. It contains no keys or tokens.

    Exit codes: 0 done (also if there are no entries), 2 usage error, 3 the data cannot be read.
    """
    with opened(local_settings(), keys=False) as records:
        changes = [change for kind in KINDS for change in records.store.history(kind, limit=limit)]
    changes.sort(key=lambda change: -change.version)
    print_records(_COLUMNS, map(_row, changes[:limit]))


def _row(change: Change) -> tuple[object, ...]:
    what = _("added") if change.before is None else _("removed") if change.after is None else _("changed")
    kind = change.kind.removeprefix("site_")
    name = "" if change.name == MEMBERSHIP else change.name
    at = change.at if wants_json() else moment(change.at)
    return at, change.author, f"{kind} {what}", name, change.note
