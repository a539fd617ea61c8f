"""Convert the tables of recipients that Postfix has into who knows the recipients of accepted domains.

Called by `analysis.migration.postfix` with the accepted domains that it has made. Addresses that can be listed become
`recipients`, a directory (ldap:) `recipient_directory`. Where neither is possible the report says so; where Postfix
asks the server behind (reject_unverified_recipient), so does the domain.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from gatepost.analysis.migration.postfix_config import DIRECTORY_PARAMETERS, LDAP, MainConfig, table
from gatepost.analysis.migration.postfix_ldap import LdapTable, ldap_parameters, read_ldap_table
from gatepost.policy.connectors.names import covers, mail_address

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatepost.analysis.migration.report import Part


type Files = Mapping[str, tuple[str | None, str]]

_RELAYED: Final = "relay_recipient_maps"
_ASKED: Final = "reject_unverified_recipient"
_RESTRICTIONS: Final = ("smtpd_recipient_restrictions", "smtpd_relay_restrictions")
_ADVICE: Final = 'write the addresses in recipients of the domain, or recipient_validation = "callout"'
_ONWARD: Final = ("smtp", "relay")
# Of domains whose mailboxes Postfix itself has: their recipients, what delivers to them, and its default.
_OF_MAILBOXES: Final = {
    "virtual_mailbox_domains": ("virtual_mailbox_maps", ("virtual_transport",), "virtual"),
    "mydestination": ("local_recipient_maps", ("mailbox_transport", "local_transport"), "local"),
}


@dataclass(slots=True)
class _Sources:
    """The tables of one parameter. keys: of all that can be listed, None if there is none. unreadable: why one is not.

    secrets: folder of the files that passwords will be in, "" for none. kept: directories whose password is in one.
    """

    parameter: str
    keys: list[str] | None = None
    directories: list[LdapTable] = field(default_factory=list)
    unreadable: str = ""
    secrets: str = ""
    kept: list[LdapTable] = field(default_factory=list)


def add_recipients(config: MainConfig, files: Files, domains: Sequence[Part], secrets: str = "") -> frozenset[str]:
    """Write into accepted domains who knows their recipients. Returns the parameters that this carried over.

    domains: each with the parameter that names it as its origin. secrets: folder of the files that passwords will be
    in, "" for none.
    """
    kept: list[LdapTable] = []
    carried = set(ldap_parameters(config, (name for key in DIRECTORY_PARAMETERS for name in config.listed(key))))
    for origin, (parameter, transports, default) in _OF_MAILBOXES.items():
        parts = [part for part in domains if part.origin == origin]
        if parts and any(LDAP.fullmatch(reference) for reference in config.listed(parameter)):
            sources = _read(config, files, parameter, secrets, kept)
            onward = next((config[name] for name in transports if config[name].strip()), default)
            if _turn_to_relayed(sources, parts, onward.strip()):
                carried.add(parameter)
    relayed = [
        part for part in domains if part.table.get("type") == "internal-relay" and part.origin == "relay_domains"
    ]
    sources = _read(config, files, _RELAYED, secrets, kept)
    is_asked = any(_ASKED in config[name] for name in _RESTRICTIONS if name in config.written)
    for part in relayed:
        _validate(part, sources)
        if is_asked and "recipient_validation" not in part.table:
            part.table["recipient_validation"] = "callout"
    return frozenset(carried)


def _read(config: MainConfig, files: Files, parameter: str, secrets: str, kept: list[LdapTable]) -> _Sources:
    sources = _Sources(parameter, secrets=secrets, kept=kept)
    for reference in config.listed(parameter) if parameter in config.written else []:
        if LDAP.fullmatch(reference):
            made = read_ldap_table(reference, config, files, local=parameter == "local_recipient_maps")
            if isinstance(made, str):
                sources.unreadable = sources.unreadable or made
            else:
                sources.directories.append(made)
            continue
        entries = table(reference, files, parameter)
        if isinstance(entries, str):
            sources.unreadable = sources.unreadable or entries
        else:
            sources.keys = [*(sources.keys or []), *(entry.key for entry in entries)]
    return sources


def _turn_to_relayed(sources: _Sources, parts: Sequence[Part], onward: str) -> bool:
    """Have the gateway ask for domains whose mailboxes a server behind has; whether it does.

    onward: what delivers to the mailboxes, as Postfix writes it.
    """
    service, _, next_hop = onward.partition(":")
    for part in parts:
        if service not in _ONWARD or not next_hop:
            part.lost(
                sources.parameter,
                f"a directory is asked for relayed domains alone, and {onward} has the mailboxes of this one; write "
                'each as a [[mailbox]]; if another server has them, write type = "internal-relay" and '
                "recipient_directory",
            )
            continue
        part.table["type"] = "internal-relay"
        part.differs(
            sources.parameter,
            f'type = "internal-relay", since mail goes on to {onward}; write an outbound connector with this as '
            "smart_hosts",
        )
        _validate(part, sources)
    return service in _ONWARD and bool(next_hop)


def _validate(part: Part, sources: _Sources) -> None:
    """Write into a relayed domain who knows its recipients, as far as that can be carried over."""
    name = str(part.table["name"])
    if sources.unreadable:
        part.lost(sources.parameter, f"{sources.unreadable}; {_ADVICE}")
        return
    directories = [made for made in sources.directories if made.takes(name)]
    own = [key for key in sources.keys or () if "@" in key and covers(name, key.rpartition("@")[2])]
    if any(key.startswith("@") for key in own):
        part.differs(
            sources.parameter, f"it takes every recipient of {name}, so they are not validated here; {_ADVICE}"
        )
        return
    recipients = _addresses(part, own, sources.parameter)
    if recipients:
        part.table |= {"recipient_validation": "list", "recipients": recipients}
    if directories:
        _ask(part, directories, sources)
    elif not recipients and (sources.keys is not None or sources.directories):
        part.lost(sources.parameter, f"it has no recipient of {name}, and Postfix refuses all its mail; {_ADVICE}")


def _addresses(part: Part, keys: Sequence[str], parameter: str) -> list[str]:
    recipients = []
    for key in keys:
        try:
            recipients.append(mail_address(key))
        except ValueError as error:
            part.lost(parameter, str(error))
    return recipients


def _ask(part: Part, directories: Sequence[LdapTable], sources: _Sources) -> None:
    """One directory of those that Postfix asks: those that differ in nothing but the filter are one."""
    first, *others = directories
    filters = [first.directory["search_filter"]]
    for other in others:
        alike = first.directory | {"search_filter": ""} == other.directory | {"search_filter": ""}
        if alike and first.password == other.password:
            filters.append(other.directory["search_filter"])
            continue
        part.lost(
            sources.parameter,
            f"{other.reference}: a domain has one directory, and recipients of this one would be refused, so nothing "
            "is validated. Have recipient_directory find them as well, for instance by a base_dn above both, and write "
            'recipient_validation = "ldap"',
        )
        part.table.pop("recipient_validation", None)
        filters = []
        break
    part.table["recipient_directory"] = dict(first.directory)
    if len(filters) > 1:
        part.table["recipient_directory"]["search_filter"] = f"(|{''.join(filters)})"
    if filters:
        part.table["recipient_validation"] = "ldap"
    _tell(part, first, sources)


def _tell(part: Part, made: LdapTable, sources: _Sources) -> None:
    """What differs, what is lost, and where the password is."""
    for name, said in made.differs.items():
        part.differs(f"{sources.parameter}: {name}", said)
    for name, said in made.lost.items():
        part.lost(f"{sources.parameter}: {name}", said)
    if not made.password:
        return
    if not sources.secrets:
        part.lost(
            f"{sources.parameter}: bind_pw",
            f"the password of {made.directory['bind_dn']} is not printed; enter it once the resources are applied: "
            f"gatepost domain password {part.table['name']}; or import with --secrets DIR",
        )
        return
    if all(made is not other for other in sources.kept):
        sources.kept.append(made)
    place = next(place for place, other in enumerate(sources.kept, 1) if other is made)
    path = PurePosixPath(sources.secrets) / f"recipient-directory-{place}.password"
    part.table["recipient_directory"]["password_file"] = str(path)
    part.secret = made.password
