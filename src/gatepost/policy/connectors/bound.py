"""Keep resources from leading elsewhere while they use a file or socket that the gateway's owner granted.

A grant is for one value at one place, for what it was granted for. The certificate of a connector proves possession of
the gateway's key to whoever its smart hosts are, so that who moves those moves the grant. As long as a resource uses
what is the machine's, tenants change of it what `_FREE` names, and nothing else: a new field is held until somebody
thought about it. Called by `policy.connectors.grants`, for changes that tenants make. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.policy.connectors.errors import FieldError
from gatepost.texts import own

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gatepost.policy.connectors.mail_flow_rule import MailFlowRule
    from gatepost.policy.connectors.record_base import Record
    from gatepost.policy.connectors.records import Organization


_FOR_PEOPLE: Final = frozenset({"comment", "enabled", "priority"})
_FREE: Final[Mapping[str, frozenset[str]]] = {
    # Mail for the domain alone is judged by its source of recipients; what is asked of a directory stays as it is.
    "accepted_domain": frozenset(
        {
            "name",
            "type",
            "recipient_validation",
            "recipients",
            "recipient_validation_unavailable",
            "verified",
            "mta_sts",
            "mta_sts_mx",
            "mta_sts_max_age",
        }
    ),
    # LMTP names the mailbox's own address, whatever alias mail came for; what is forwarded does not pass the socket.
    "mailbox": frozenset(
        {"address", "aliases", "forwarding_smtp_address", "deliver_to_mailbox_and_forward", "tls_reports"}
    ),
    "inbound_connector": _FOR_PEOPLE | {"name", "mode"},
    # Not mode: in rehearsal the next hop need not be who it should be. Another certificate needs a grant of its own.
    "outbound_connector": _FOR_PEOPLE | {"name", "client_certificate", "encrypt", "sign"},
    "oauth_issuer": _FOR_PEOPLE | {"name"},
    "content_hook": _FOR_PEOPLE
    | {"name", "mode", "direction", "timeout", "on_failure", "over_max_size", "obey", "quarantine", "change_header"},
    "dkim_key": _FOR_PEOPLE | {"name", "state"},
    "mail_flow_rule": _FOR_PEOPLE | {"name"},
}
"""The fields that a tenant may change in a resource with granted files. A name is here as a grant is by name."""


class Holder(msgspec.Struct, frozen=True):
    """A resource that uses what is granted of the machine.

    key: of the list that it is in. path: as errors name it. fields: those that hold what is granted, and what a tenant
    can write there instead.
    """

    key: str
    path: str
    before: Record
    after: Record
    fields: dict[str, str]

    @property
    def advice(self) -> str:
        """Say who may decide this, and what else the tenant can do."""
        field, instead = next(iter(self.fields.items()))
        said = f"the gateway's owner granted {field} for the present destination only; ask the owner"
        return f"{said}, or for {field} {own(instead)}" if instead else said


def moved(holder: Holder) -> Iterator[FieldError]:
    """Yield an error for each field of the resource that a tenant changed and may not change."""
    for field in _changed(holder.key, holder.before, holder.after):
        if field not in holder.fields:
            yield FieldError(f"{holder.path}.{field}", f"you may not change this: {holder.advice}")


def moved_rules(before: Organization, after: Organization, holders: Mapping[str, Holder]) -> Iterator[FieldError]:
    """Rules of a tenant that send other mail by a connector that holds a grant, and goes wherever a domain's MX leads.

    holders: outbound connectors, by their names in lower case.
    """
    known = {rule.name.lower(): rule for rule in before.mail_flow_rules}
    for place, rule in enumerate(after.mail_flow_rules):
        holder = holders.get(rule.route_via_connector.lower())
        if holder is None or not _by_mx(holder.after) or not _is_new(known.get(rule.name.lower()), rule):
            continue
        path = f"organization.{after.name}.mail_flow_rule[{place}] {rule.name!r}.route_via_connector"
        name = rule.route_via_connector
        yield FieldError(path, f"would route other mail by the MX connector {name!r}: {holder.advice}")


def turned_to_mx(before: Record, after: Record) -> bool:
    """Whether MX records say where a connector leads now, and did not before."""
    return _by_mx(after) and not _by_mx(before)


def _is_new(before: MailFlowRule | None, after: MailFlowRule) -> bool:
    return before is None or any(_changed("mail_flow_rule", before, after))


def _changed(key: str, before: Record, after: Record) -> Iterator[str]:
    for field in type(after).model_fields:
        if field not in _FREE[key] and getattr(before, field) != getattr(after, field):
            yield field


def _by_mx(connector: Record) -> bool:
    return bool(getattr(connector, "use_mx_record", False))
