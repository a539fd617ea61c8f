"""The certificates of another gateway. Records of REST become the values that `manage.use_cases.certificates` gives."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gatepost.manage.use_cases.certificates import Listing
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.pki.certificates.entry import Entry, Origin, Purpose, State
from gatepost.pki.certificates.inventory import CertificateUnknown, find_among
from gatepost.pki.certificates.request import Request, Wish
from gatepost.protocols.tls.facts import CertificateFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.manage.remote.connection import Connection


_LEAF = (
    "subject",
    "issuer",
    "serial",
    "common_name",
    "sha256",
    "sha1",
    "spki_sha256",
    "not_before",
    "not_after",
    "key",
)
_PLAIN = ("id", "organization", "label", "key_file", "chain_file", "must_staple", "forced", "held")
_TIMES = ("added", "since", "current_from", "current_until", "switch_at")


def everything(connection: Connection) -> Listing:
    """As `manage.use_cases.certificates.everything`."""
    found = connection.get("/certificate_inventory").value
    return Listing(
        found["version"],
        tuple(map(entry_of, found["certificates"])),
        tuple(map(request_of, found["requests"])),
        tuple(found["directories"]),
        tuple(found["trouble"]),
    )


def details(connection: Connection, number: str) -> dict[str, Any]:
    """As `manage.use_cases.certificates.details`."""
    found: dict[str, Any] = connection.get(step_path(connection, number)).value
    return found


def change_records(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """As `manage.use_cases.certificates.change_records`."""
    return list(connection.items("/certificate_history", limit))


def step_path(connection: Connection, number: str, step: str = "") -> str:
    """The path of a certificate, or of something that is done to it. Raises Refusal (MISSING).

    One whose label would be no part of a path is looked for, and named by its id.
    """
    if not number or "/" in number or not number.strip("."):
        try:
            number = find_among(everything(connection).entries, number).id
        except CertificateUnknown as error:
            raise Refusal(Kind.MISSING, f"{error}; `gatepost certificate list` shows those there are") from error
    return f"/certificates/{quote(number, safe='')}{step and f'/{step}'}"


def entry_of(record: Mapping[str, Any]) -> Entry:
    """As `manage.use_cases.certificates.entry_record` made it."""
    names = record["names"]
    addresses = tuple(one for one in names if _is_address(one))
    leaf = CertificateFacts(
        **{name: record[name] for name in _LEAF},
        dns_names=tuple(one for one in names if one not in addresses),
        ip_addresses=addresses,
    )
    rest: dict[str, Any] = {name: record[name] for name in _PLAIN}
    rest |= {name: record[name] or 0.0 for name in _TIMES}
    return Entry(
        leaf=leaf,
        purpose=Purpose(record["purpose"]),
        state=State(record["state"]),
        origin=Origin(record["origin"]),
        replaces=tuple(record["replaces"]),
        told=tuple(record["told"]),
        **rest,
    )


def request_of(record: Mapping[str, Any]) -> Request:
    """As `manage.use_cases.certificates.request_record` made it."""
    wish = Wish(
        tuple(record["names"]),
        record["key"],
        Purpose(record["purpose"]),
        record["organization"],
        record["label"],
        must_staple=record["must_staple"],
    )
    return Request(record["id"], wish, record["added"], record["key_file"])


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
