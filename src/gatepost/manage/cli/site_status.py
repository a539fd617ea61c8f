"""`gatepost site status`: authority, nodes with their certificates, open tokens, what was issued for other servers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click
import msgspec

from gatepost.manage.cli.options import NO, fail, gateway_options, local_settings
from gatepost.manage.cli.output import _, print_table, printable, printed_json, say, table_language
from gatepost.manage.cli.site_store import opened
from gatepost.manage.use_cases.times import stamp as moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gatepost.pki.site.records import Membership, SiteState


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
        click.echo(
            printable(
                _(
                    "node %(node)s of site %(site)s, whose authority is %(where)s",
                    node=member.node,
                    site=member.site,
                    where=where,
                )
            )
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
            moment(authority.not_after),
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
