"""`gatepost rule …`: mail flow rules, which send messages another way, or demand TLS or S/MIME for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gatepost.manage.cli.output import _
from gatepost.manage.cli.part_commands import add_commands, add_list
from gatepost.manage.use_cases.name_lookup import RULE
from gatepost.policy.connectors.values import ContentProtection

if TYPE_CHECKING:
    from gatepost.policy.connectors.mail_flow_rule import MailFlowRule


_COLUMNS = ("status", "priority", "name", "organization", "if", "then")


@click.group()
def rule() -> None:
    """Manage mail flow rules: choose a route for certain messages, or require TLS for them on every route."""


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


add_list(
    rule,
    RULE,
    "List mail flow rules, in the order in which they apply.",
    _COLUMNS,
    lambda flow_rule: (flow_rule.priority, flow_rule.name),
    **{"if": _conditions, "then": _actions},
)
add_commands(
    rule,
    RULE,
    example="secrets --organization contoso \\\n"
    "  header_name=Sensitivity header_contains=confidential require_tls=true",
)
