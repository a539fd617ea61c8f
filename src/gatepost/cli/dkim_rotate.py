"""`gatepost dkim rotate`: lets the next keys of a domain sign in place of the current ones, once they are published."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from gatepost.administration.change import Edit, change
from gatepost.administration.choice import choose_part, chosen_organizations
from gatepost.administration.parts import DKIM, Part
from gatepost.administration.resources import part_set
from gatepost.certificates.dkim_keys import DkimKeyError, DkimKeys
from gatepost.checks.dkim_record import Seen
from gatepost.cli.chosen import stored_directory
from gatepost.cli.dkim_published import Sought, look
from gatepost.cli.edit import Asked, change_options, edit
from gatepost.cli.options import BAD_INPUT, NO, UNKNOWN, config_option, fail, force_option, json_option, settings_of
from gatepost.cli.sealed_store import store_and_vault
from gatepost.cli.tables import printable
from gatepost.connectors.values import DkimState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.connectors.model import Resources
    from gatepost.settings.model import Settings

__all__ = ["rotate"]


@click.command()
@click.argument("domain")
@click.option("--selector", default="", help="Only the next key of this selector. Default: every next key of DOMAIN.")
@click.option("--organization", default="", help="Needed where there are several it could be.")
@force_option("Although the record is not seen in the DNS: mail may fail to verify meanwhile. REASON is kept.")
@change_options
@config_option
@json_option
def rotate(domain: str, selector: str, organization: str, force: str, **given: Any) -> None:
    """Let the next keys of DOMAIN sign, and retire the current ones of the same algorithm, in one step.

    Refused unless the record of each is seen in the DNS and is right, and its private key can be opened. A retired key
    signs no more; leave its record in the DNS until the mail it signed has arrived everywhere, a week or so, then
    `gatepost dkim remove` it.

    Exit codes: 0 done, 1 a record is missing or wrong, or a key cannot be used; 2 there is no next key, or several of
    one algorithm; 3 not readable or writable, or the DNS could not be asked.
    """
    asked = Asked(**given)
    settings = settings_of(asked.config)
    parts = _next(stored_directory(settings).resources, domain.lower(), selector.lower(), organization)
    _check_private(settings, parts)
    if not force:
        _check_records(settings, parts)
    note = "; ".join(filter(None, (asked.note, f"forced: {force}" if force else "")))

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        done = Edit((parts[0].organization.name,), f"organization.{parts[0].organization.name}")
        for part in parts:
            found = choose_part(resources, DKIM, part.name, part.organization.name)
            for other in _current_like(found):
                part_set(other, [f"state={DkimState.RETIRED}"], draft)
            done = part_set(found, [f"state={DkimState.CURRENT}"], draft)
        return done

    edit(replace(asked, note=note), change, step)


def _next(resources: Resources, domain: str, selector: str, organization: str) -> list[Part]:
    """The keys that are to sign; ends the command if there are none, or several of which only one can."""
    owners = chosen_organizations(resources, organization)
    found = [
        Part(DKIM, owner, key)
        for owner in owners
        for key in owner.dkim_keys
        if key.domain == domain and key.state is DkimState.NEXT and selector in {"", key.selector}
    ]
    if not found:
        which = f"with the selector {selector}" if selector else "yet"
        fail(BAD_INPUT, f"{domain} has no next key {which}; make one: gatepost dkim add {domain}")
    kinds = [(part.record.algorithm, part.record.service_type) for part in found]
    if len(set(kinds)) < len(kinds):
        names = ", ".join(part.record.selector for part in found)
        fail(BAD_INPUT, f"{domain} has several next keys of one algorithm ({names}); say which: --selector")
    return found


def _current_like(part: Part) -> list[Part]:
    """The current keys in whose place it signs."""
    key = part.record
    return [
        Part(DKIM, part.organization, one)
        for one in part.organization.dkim_keys
        if (one.domain, one.algorithm, one.service_type) == (key.domain, key.algorithm, key.service_type)
        and one.state is DkimState.CURRENT
    ]


def _check_private(settings: Settings, parts: Sequence[Part]) -> None:
    with store_and_vault(settings, keys=True) as (store, vault):
        keys = DkimKeys(store, vault)
        for part in parts:
            try:
                keys.signer(part.organization.name, part.record)
            except DkimKeyError as error:
                fail(NO, f"{error}; nothing was changed")


def _check_records(settings: Settings, parts: Sequence[Part]) -> None:
    sights = look(settings, [Sought(part.name, part.record.record) for part in parts])
    wrong = [(part, sight) for part, sight in zip(parts, sights, strict=True) if sight.seen is not Seen.PUBLISHED]
    for part, sight in wrong:
        click.echo(printable(f"{part.name}: {sight}"), err=True)
        click.echo(f"the zone needs: {part.record.record.zone_line(part.name)}", err=True)
    if wrong:
        unknown = all(sight.seen is Seen.UNKNOWN for _, sight in wrong)
        click.echo("nothing was changed; --force REASON does it all the same", err=True)
        sys.exit(UNKNOWN if unknown else NO)
