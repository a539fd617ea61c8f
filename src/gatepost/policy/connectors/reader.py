"""Read one table of a document into its model, and collect all errors instead of stopping at the first.

Used by `policy.connectors.model` and `settings.loader`. Wrong fields are reported and take their defaults in a draft,
so that rules across the fields that are right can still speak: the author of a document sees everything at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
from pydantic import ValidationError

from gatepost.policy.connectors.errors import Draft, FieldError, dotted, explain
from gatepost.policy.connectors.record_base import Record, keys, known_keys

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from gatepost.policy.connectors.accepted_domain import AcceptedDomain
    from gatepost.policy.connectors.content_hook import ContentHook
    from gatepost.policy.connectors.dkim_key import DkimKey
    from gatepost.policy.connectors.mail_flow_rule import MailFlowRule
    from gatepost.policy.connectors.oauth import OauthIssuer
    from gatepost.policy.connectors.records import InboundConnector, Mailbox, Organization, OutboundConnector


class OrganizationDraft(msgspec.Struct, frozen=True):
    """An organization and its parts, before the rules across them are applied."""

    own: Draft[Organization]
    domains: list[Draft[AcceptedDomain]]
    mailboxes: list[Draft[Mailbox]]
    inbound: list[Draft[InboundConnector]]
    outbound: list[Draft[OutboundConnector]]
    mail_flow: list[Draft[MailFlowRule]]
    oauth: list[Draft[OauthIssuer]]
    hooks: list[Draft[ContentHook]]
    dkim: list[Draft[DkimKey]]

    def assembled(self) -> Organization:
        """The organization with its parts. Only right if no error was found."""
        parts = {
            "accepted_domains": tuple(draft.value for draft in self.domains),
            "mailboxes": tuple(draft.value for draft in self.mailboxes),
            "inbound_connectors": tuple(draft.value for draft in self.inbound),
            "outbound_connectors": tuple(draft.value for draft in self.outbound),
            "mail_flow_rules": tuple(draft.value for draft in self.mail_flow),
            "oauth_issuers": tuple(draft.value for draft in self.oauth),
            "content_hooks": tuple(draft.value for draft in self.hooks),
            "dkim_keys": tuple(draft.value for draft in self.dkim),
        }
        return self.own.value.model_copy(update={name: values for name, values in parts.items() if values})


PLACEHOLDERS: Mapping[str, Any] = MappingProxyType({"name": "unnamed"})
"""The placeholder name of a resource without a usable one, while its other fields are checked."""


def read[M: Record](
    model: type[M],
    table: Mapping[str, Any],
    path: str,
    errors: list[FieldError],
    placeholders: Mapping[str, Any] = PLACEHOLDERS,
    most: int | None = None,
) -> Draft[M] | None:
    """Read a table; append what is wrong with it to `errors`.

    placeholders: the values for obligatory keys that are wrong. None is returned if another obligatory key is
    wrong: there is nothing left to apply rules to. most: the most entries of a list, None for any number.
    """
    long = _long_lists(table, path, errors, most) if most is not None else frozenset()
    table = {key: value for key, value in table.items() if key not in long} if long else table
    try:
        return Draft(path, model.model_validate(table, by_alias=True, by_name=False), long)
    except ValidationError as error:
        # A default that depends on a field with an error is no error of its own.
        matches = [candidate for candidate in error.errors() if candidate["type"] != "default_factory_not_called"]
    # Nor is a list too short for entries that are wrong.
    lists = {match["loc"][:-1] for match in matches}
    matches = [candidate for candidate in matches if candidate["type"] != "too_short" or candidate["loc"] not in lists]
    # Nor is a list missing that is too long to be read.
    errors.extend(_error(model, path, match) for match in matches if match["loc"][0] not in long)
    known = keys(model)
    bad = long | {str(match["loc"][0]) for match in matches}
    good = {key: value for key, value in table.items() if key in known and key not in bad}
    good.update((key, value) for key, value in placeholders.items() if key in bad)
    if any(known[key].is_required() and key not in good for key in known):
        return None
    return Draft(path, model.model_validate(good, by_alias=True, by_name=False), bad)


def _error(model: type[Record], path: str, match: ErrorDetails) -> FieldError:
    known = known_keys(model, match["loc"][:-1]) if match["type"] == "extra_forbidden" else ()
    return FieldError(dotted(path, match["loc"]), explain(match, known))


def _long_lists(table: Mapping[str, Any], path: str, errors: list[FieldError], most: int) -> frozenset[str]:
    """The keys of lists that are not read, since they are too long; each is reported."""
    lengths = {key: len(value) for key, value in table.items() if isinstance(value, list | tuple)}
    long = {key: length for key, length in lengths.items() if length > most}
    errors.extend(
        FieldError(dotted(path, [key]), f"has {length:,} entries; a list may have at most {most:,}")
        for key, length in long.items()
    )
    return frozenset(long)


def tables(value: object, path: str, errors: list[FieldError]) -> list[tuple[str, Mapping[str, Any]]]:
    """The tables of a list of tables, each with its path; what is not one is reported.

    The path names a table by its place and, if it has one, its name: "organization.contoso.mailbox[0] 'a@b.example'".
    """
    if not isinstance(value, Sequence) or isinstance(value, str):
        errors.append(FieldError(path, f"must be a list of tables: write each under its own [[{path}]] heading"))
        return []
    result: list[tuple[str, Mapping[str, Any]]] = []
    for place, table in enumerate(value):
        here = f"{path}[{place}]"
        if isinstance(table, Mapping):
            name = table.get("name", table.get("address"))
            result.append((f"{here} {name!r}" if isinstance(name, str) else here, table))
        else:
            errors.append(FieldError(here, "must be a table of keys and values"))
    return result
