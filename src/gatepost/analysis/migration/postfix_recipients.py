"""Convert Postfix's relay_recipient_maps into the recipient lists of accepted domains.

Called by `analysis.migration.postfix` with the relayed domains that it has made. Where the recipients cannot be listed
the report says so; where Postfix asks the server behind (reject_unverified_recipient), so does the domain.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gatepost.analysis.migration.postfix_tables import table
from gatepost.policy.connectors.names import covers, mail_address

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatepost.analysis.migration.postfix_config import MainConfig
    from gatepost.analysis.migration.report import Part


_PARAMETER = "relay_recipient_maps"
_LDAP = re.compile(r"(proxy:)?ldap:")
_BY_LDAP = (
    'for a directory write recipient_validation = "ldap" and recipient_directory: its urls are server_host, base_dn is '
    "search_base, search_filter is query_filter with {address} for %s, {local} for %u and {domain} for %d, bind_dn the "
    "same; enter bind_pw with `gatepost domain password`"
)
_ASKED = "reject_unverified_recipient"
_RESTRICTIONS = ("smtpd_recipient_restrictions", "smtpd_relay_restrictions")


def add_recipients(config: MainConfig, files: Mapping[str, tuple[str | None, str]], domains: Sequence[Part]) -> None:
    """Write into each relayed domain who knows its recipients. domains: internal-relay ones."""
    listed, unreadable = _listed(config, files)
    is_asked = any(_ASKED in config[name] for name in _RESTRICTIONS if name in config.written)
    for part in domains:
        if unreadable:
            part.lost(_PARAMETER, f"{unreadable}; {_ADVICE}")
        elif listed is not None:
            _list_recipients(part, listed)
        if is_asked and "recipient_validation" not in part.table:
            part.table["recipient_validation"] = "callout"


_ADVICE = 'write the addresses in recipients of the domain, or recipient_validation = "callout"'


def _listed(config: MainConfig, files: Mapping[str, tuple[str | None, str]]) -> tuple[list[str] | None, str]:
    """The keys of all tables, None if there is no table; and why one cannot be read, "" if all can."""
    references = config.listed(_PARAMETER) if _PARAMETER in config.written else []
    keys: list[str] = []
    for reference in references:
        entries = table(reference, files, _PARAMETER)
        if isinstance(entries, str):
            return None, f"{entries}; {_BY_LDAP}" if _LDAP.match(reference) else entries
        keys += [entry.key for entry in entries]
    return keys if references else None, ""


def _list_recipients(part: Part, keys: Sequence[str]) -> None:
    name = str(part.table["name"])
    own = [key for key in keys if "@" in key and covers(name, key.rpartition("@")[2])]
    if any(key.startswith("@") for key in own):
        part.differs(_PARAMETER, f"it takes every recipient of {name}, so they are not validated here; {_ADVICE}")
        return
    recipients = []
    for key in own:
        try:
            recipients.append(mail_address(key))
        except ValueError as error:
            part.lost(_PARAMETER, str(error))
    if not recipients:
        part.lost(_PARAMETER, f"it has no recipient of {name}, and Postfix refuses all its mail; {_ADVICE}")
        return
    part.table |= {"recipient_validation": "list", "recipients": recipients}
