"""`gatepost rule …`: mail flow rules, which send messages another way, or demand TLS or S/MIME for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gatepost.manage.cli.client import client
from gatepost.manage.cli.language import _
from gatepost.manage.cli.options import config_option, json_option
from gatepost.manage.cli.part_commands import add_commands
from gatepost.manage.cli.tables import print_json, print_table
from gatepost.manage.use_cases.name_lookup import chosen_organizations
from gatepost.manage.use_cases.parts import RULE
from gatepost.policy.connectors.values import ContentProtection, Mode

if TYPE_CHECKING:
    from gatepost.policy.connectors.mail_flow_rule import MailFlowRule


_COLUMNS = ("status", "priority", "name", "organization", "if", "then")


@click.group()
def rule() -> None:
    """Manage mail flow rules: choose a route for certain messages, or require TLS for them on every route."""


@rule.command("list")
@click.option("--organization", default="", help="Only for this one.")
@config_option
@json_option
def list_(organization: str, config: str | None, as_json: bool) -> None:
    """List mail flow rules, in the order in which they apply.

    Exit codes: 0 done (also if there are none), 2 no such organization, 3 the data cannot be read.
    """
    owners = chosen_organizations(client(config).directory().resources, organization)
    rows = (
        (
            _status(flow_rule),
            flow_rule.priority,
            flow_rule.name,
            owner.name,
            _conditions(flow_rule),
            _actions(flow_rule),
        )
        for owner in owners
        for flow_rule in sorted(owner.mail_flow_rules, key=lambda each: (each.priority, each.name))
    )
    if as_json:
        print_json([dict(zip(_COLUMNS, row, strict=True)) for row in rows])
    else:
        print_table(_COLUMNS, rows)


def _status(one: MailFlowRule) -> str:
    if not one.enabled:
        return "disabled"
    return "rehearsal" if one.mode is Mode.REHEARSE else "enabled"


def _conditions(one: MailFlowRule) -> str:
    header = one.header_name and (
        _("header %(header_name)s has ", header_name=one.header_name)
        + (" or ".join(map(repr, one.header_contains)) or _("any value"))
    )
    texts = [
        one.senders and _("from %(senders)s", senders=", ".join(one.senders)),
        one.except_senders and _("not from %(except_senders)s", except_senders=", ".join(one.except_senders)),
        one.recipients and _("to %(recipients)s", recipients=", ".join(one.recipients)),
        one.except_recipients and _("not to %(except_recipients)s", except_recipients=", ".join(one.except_recipients)),
        header,
    ]
    return "; ".join(text for text in texts if text) or _("every message")


def _actions(one: MailFlowRule) -> str:
    texts = [
        one.route_via_connector
        and _("by connector %(route_via_connector)s", route_via_connector=repr(one.route_via_connector)),
        one.require_tls and _("only over TLS"),
        one.encrypt is ContentProtection.SMIME and _("encrypted (S/MIME)"),
        one.sign is ContentProtection.SMIME and _("signed (S/MIME)"),
        one.stop_rule_processing and _("no further rule"),
    ]
    return "; ".join(text for text in texts if text)


add_commands(
    rule,
    RULE,
    example="secrets --organization contoso \\\n"
    "  header_name=Sensitivity header_contains=confidential require_tls=true",
)
