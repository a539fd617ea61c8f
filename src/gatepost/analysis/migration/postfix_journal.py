"""Convert Postfix's copies of mail into the journal: always_bcc into that of the organization, BCC tables into rules.

Called by `analysis.migration.postfix`. Our own checks refuse an address that mail would reach without verified TLS; the
report says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.analysis.migration.postfix_config import table
from gatepost.analysis.migration.report import Part, unique_name
from gatepost.policy.connectors.names import mail_address
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gatepost.analysis.migration.postfix_config import MainConfig


_ALWAYS = "always_bcc"
_TABLES = {"sender_bcc_maps": "senders", "recipient_bcc_maps": "recipients"}
_MOST = 1000
_FORM = (
    "written as journal_form copy; unlike Postfix's, the copy never returns to the sender and leaves over verified TLS"
)


def add_journal(config: MainConfig, part: Part) -> None:
    """Write into the organization where a copy of all its mail goes."""
    address = config[_ALWAYS].strip() if _ALWAYS in config.written else ""
    if not address:
        return
    try:
        part.table |= {"journal_to": mail_address(address), "journal_form": "copy"}
    except ValueError as error:
        part.lost(_ALWAYS, f"{error}; write journal_to")
    else:
        part.differs(_ALWAYS, _FORM)


def journal_rules(config: MainConfig, files: Mapping[str, tuple[str | None, str]]) -> Iterator[Part]:
    """A mail flow rule for each entry of a BCC table."""
    taken: dict[str, int] = {}
    log = Part("", N_("copies"))
    for parameter, column in _TABLES.items():
        for reference in config.listed(parameter) if parameter in config.written else ():
            entries = table(reference, files, parameter)
            if isinstance(entries, str):
                log.lost(parameter, f"{entries}; write a mail flow rule with {column} and journal_to")
                continue
            if len(entries) > _MOST:
                log.lost(parameter, f"{reference} has more than {_MOST} entries; write mail flow rules for domains")
                continue
            for entry in entries:
                if "@" not in entry.key:
                    log.lost(parameter, f"{entry.where}: {entry.key!r} names no domain; write a mail flow rule")
                    continue
                name = unique_name(f"copy of {entry.key}", taken)
                rule = Part("mail_flow_rule", f"mail flow rule {name!r}")
                rule.table = {
                    "name": name,
                    column: [entry.key.removeprefix("@")],
                    "journal_to": entry.value,
                    "journal_form": "copy",
                }
                rule.differs(parameter, _FORM)
                yield rule
    if log.findings:
        yield log
