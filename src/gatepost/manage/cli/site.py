"""`gatepost site status|nodes|root|history`, and how every `site` command opens what is stored of the site."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.manage.cli.named_files import fill_file, made_file
from gatepost.manage.cli.options import BAD_INPUT, NO, UNKNOWN, author, fail, gateway_options, local_settings
from gatepost.manage.cli.output import (
    _,
    ours,
    print_records,
    print_table,
    printed_json,
    say,
    table_language,
    wants_json,
)
from gatepost.manage.use_cases.context import Gateway
from gatepost.manage.use_cases.sealed_store import store_and_vault
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.pki.site.membership import Member
from gatepost.pki.site.records import JoinRefused, Membership, SiteError, SiteRefusal, SiteState, SiteUnreachable
from gatepost.pki.site.site import Site
from gatepost.pki.site.store import KINDS, MEMBERSHIP, SiteStore
from gatepost.policy.connectors.names import domain_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gatepost.settings.model import Settings
    from gatepost.store.changes import Change


@contextmanager
def opened(settings: Settings, *, keys: bool = True) -> Iterator[SiteStore]:
    """The records of a data directory; ends the command, with what to do, if something of it cannot be used.

    keys: whether the master key is needed, which not everybody may read who may look.
    """
    if keys and not settings.store.master_key:
        fail(
            BAD_INPUT,
            "store.master_key is not set, and keys of a site are stored only sealed; set it (docs/certificates.md)",
        )
    try:
        with store_and_vault(Gateway(settings), keys=keys) as (store, vault):
            yield SiteStore(store, vault, settings.server)
    except SiteUnreachable as failure:
        fail(UNKNOWN, str(failure))
    except JoinRefused as refused:
        fail(UNKNOWN if refused.reason in {SiteRefusal.BUSY, SiteRefusal.EARLY} else NO, str(refused))
    except SiteError as error:
        fail(BAD_INPUT, str(error))


def checked_host(option: str, text: str) -> str:
    """A host name as certificates have it; ends the command if it is none."""
    try:
        return domain_name(text)
    except ValueError as error:
        fail(BAD_INPUT, f"{option}: {ours(str(error))}")


_DIGITS = 16


@click.command()
@gateway_options
def status() -> None:
    """Show the site of this gateway and, where the authority is kept, its roots, nodes, open tokens and certificates.

    Exit codes: 0 its node certificate is valid, 1 it belongs to no site, or its certificate has expired, 2 usage error,
    3 the data cannot be read.
    """
    settings, now = local_settings(), time.time()
    with opened(settings, keys=False) as records:
        member, state = records.membership(), records.state()
        sharing = records.memberships() if records.store.is_shared else {}
    if not printed_json(_record(member, state, settings.site.address, now) | _shared(sharing)):
        _print(member, state, (settings.site.address, settings.server.hostname), now)
        if len(sharing) > 1:
            rows = [
                (name, other.node, other.sha256[:_DIGITS], _end(other.not_after, now))
                for name, other in sharing.items()
            ]
            _table(_("nodes of this database"), ("name", "node", "certificate", "valid_until"), sorted(rows))
    if member is None:
        fail(NO, "this gateway belongs to no site: gatepost site init creates one, gatepost site join joins one")
    if member.not_after <= now:
        here = _("its authority is here; check that gatepost serve is running")
        there = _("create a token for it at the site (--for) and run gatepost site join")
        fail(NO, "the certificate of this node has expired; %(there)s", there=there if member.address else here)


def _record(member: Membership | None, state: SiteState, address: str, now: float) -> dict[str, Any]:
    """Stable keys; times in seconds since 1970."""
    issuer = state.issuer(now)
    return {
        "membership": None if member is None else msgspec.structs.asdict(member) | {"renew_at": member.renew_at},
        "address": address or None,
        "authorities": [
            msgspec.structs.asdict(authority) | {"signs": authority is issuer} for authority in state.authorities
        ],
        "nodes": [msgspec.structs.asdict(node) for node in state.nodes.values()],
        "tokens": [
            _without(msgspec.structs.asdict(token), "sha256") for token in state.tokens.values() if token.expires > now
        ],
        "issued": [msgspec.structs.asdict(server) for server in state.issued.values()],
    }


def _shared(memberships: Mapping[str, Membership]) -> dict[str, Any]:
    """The nodes of this database that are in the site; nothing with SQLite."""
    nodes = [{"name": name} | msgspec.structs.asdict(member) for name, member in sorted(memberships.items())]
    return {"database": nodes} if nodes else {}


def _without(record: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != key}


def _print(member: Membership | None, state: SiteState, place: tuple[str, str], now: float) -> None:
    address, hostname = place
    if member is not None:
        where = _("at %(address)s", address=member.address) if member.address else _("here")
        say(
            "node %(node)s of site %(site)s, whose authority is %(where)s",
            node=member.node,
            site=member.site,
            where=where,
        )
        say(
            "certificate %(sha256)s until %(not_after)s, renewal at %(renew_at)s",
            sha256=member.sha256[:_DIGITS],
            not_after=moment(member.not_after),
            renew_at=moment(member.renew_at),
        )
    if member is not None and member.address and member.node != hostname:
        say(
            "server.hostname is now %(hostname)s: create a token for it at the site, and join with --replace",
            hostname=hostname,
        )
    if state.authorities:
        _print_authorities(state, address, now)


def _print_authorities(state: SiteState, address: str, now: float) -> None:
    """Print roots, nodes, tokens and certificates, which are known only where the authority is kept."""
    click.echo(
        _("nodes join at %(address)s", address=address) if address else _("no node can join: [site] address is not set")
    )
    issuer = state.issuer(now)
    roots = (
        (
            authority.sha256,
            _("signs") if authority is issuer else _role(authority.signs_from, now),
            _end(authority.not_after, now),
            _limits(authority.domains),
        )
        for authority in state.authorities
    )
    _table(_("authorities"), ("sha256", "state", "valid_until", "domains"), roots)
    nodes = (
        (node.name, node.thumbprints[0][:_DIGITS], _end(node.not_after, now), moment(node.renewed), moment(node.joined))
        for node in sorted(state.nodes.values(), key=lambda node: node.name)
    )
    _table(_("nodes"), ("node", "certificate", "valid_until", "renewed", "joined"), nodes)
    tokens = (
        (token.id, token.node or _("any"), moment(token.expires), token.by)
        for token in state.tokens.values()
        if token.expires > now
    )
    _table(_("open tokens"), ("token", "for", "valid_until", "by"), tokens)
    issued = (
        (", ".join(server.names), server.serial, server.sha256[:_DIGITS], _end(server.not_after, now))
        for server in sorted(state.issued.values(), key=lambda server: server.not_after)
    )
    _table(_("issued for other servers"), ("names", "serial", "certificate", "valid_until"), issued)


def _table(title: str, columns: tuple[str, ...], rows: Iterable[Sequence[str]]) -> None:
    with table_language():
        lines = list(rows)
    click.echo(f"\n{title}{'' if lines else _(': none')}")
    if lines:
        print_table(columns, lines)


def _role(signs_from: float, now: float) -> str:
    return (
        _("signs from %(signs_from)s", signs_from=moment(signs_from))
        if signs_from > now
        else _("trusted, no longer signs")
    )


def _limits(domains: tuple[str, ...]) -> str:
    return ", ".join(domains) or _("any")


def _end(not_after: float, now: float) -> str:
    return moment(not_after) + (_(" (expired)") if not_after <= now else "")


_COLUMNS = ("at", "author", "what", "name", "note")


@click.group()
def nodes() -> None:
    """Remove nodes, and tokens that were not used. `gatepost site status` lists both."""


@nodes.command()
@click.argument("name")
@click.option("--note", default="", help="Reason, for the history.")
@gateway_options
def remove(name: str, note: str) -> None:
    """Remove node NAME: it gets no further certificates. Open tokens for it are revoked.

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
