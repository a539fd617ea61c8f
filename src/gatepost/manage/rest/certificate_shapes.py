"""What calls about certificates take and answer, as types.

Used by `manage.rest.certificates` and `manage.rest.certificate_inventory`. They are the records of
`manage.use_cases.certificates`, `changeover` and `changeover_steps`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

type Reason = Annotated[str, Meta(max_length=1000)]
type _Pem = Annotated[str, Meta(max_length=200_000)]


class Certificate(msgspec.Struct):
    """One of our certificates. Times: seconds since 1970, null if not yet or not known.

    state: next, current, deprecated or retired. purpose: server or client. since: in this state. current_from,
    current_until: presented. switch_at: planned. replaces: ids of those whose place it takes, or took. told: partners
    that know of it. forced: why it is to become current whatever the gates say. held: why it did not at its time.
    """

    id: str
    state: str
    purpose: str
    organization: str
    label: str
    names: list[str]
    subject: str
    issuer: str
    key: str
    not_before: float
    not_after: float
    days_left: int
    origin: str
    added: float | None
    since: float | None
    current_from: float | None
    current_until: float | None
    switch_at: float | None
    replaces: list[str]
    must_staple: bool
    common_name: str
    serial: str
    sha1: str
    sha256: str
    spki_sha256: str
    key_file: str
    chain_file: str
    told: list[str]
    forced: str
    held: str


class CertificateLink(msgspec.Struct):
    """A certificate of a chain. crl, ocsp, aia: addresses that it names."""

    subject: str
    issuer: str
    serial: str
    sha256: str
    key: str
    not_before: float
    not_after: float
    crl: list[str]
    ocsp: list[str]
    aia: list[str]


class CertificateDetail(Certificate):
    """Everything about one. tlsa: data of a TLSA record. key_is: where its private key is. chain: leaf first."""

    tlsa: str
    key_is: str
    chain: list[CertificateLink]


class NewCertificateBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A certificate to come in.

    encoding: of chain and key. "pem", or "base64" of files as they are: PEM, DER, PKCS#7 or PKCS#12. chain: it and its
    intermediates, in any order. key: its private key, if it is not in chain and does not wait here since a request.
    password: of the key. client: a client identity of an organization, which connectors name by its label. current:
    present it at once, without asking the gates. note: for the history.
    """

    chain: _Pem
    key: _Pem = ""
    encoding: Literal["pem", "base64"] = "pem"
    password: Annotated[str, Meta(max_length=1000)] = ""
    client: bool = False
    organization: Annotated[str, Meta(max_length=100)] = ""
    label: Annotated[str, Meta(max_length=100)] = ""
    current: bool = False
    note: Reason = ""


class CertificateAdded(msgspec.Struct):
    """deprecated: ids of those whose place it took. notes: what was put right. warnings: what to think about.

    certificates: as they are now, the new one first.
    """

    certificate: Certificate
    deprecated: list[str]
    certificates: list[Certificate]
    notes: list[str]
    warnings: list[str]


class GateFinding(msgspec.Struct):
    """What was found at a gate. verdict: pass, info, warn, fail or unknown. until: when waiting alone mends it."""

    gate: str
    verdict: str
    text: str
    evidence: str
    fix: str
    until: float | None


class Gates(msgspec.Struct):
    """A look at the gates. light: green, red or unknown. green_at: when waiting alone opens all of them."""

    id: str
    at: float
    seconds: float
    light: str
    fails: int
    warnings: int
    unknown: int
    green_at: float | None
    findings: list[GateFinding]


class GatesLook(Gates):
    """The same, with the certificate that it is of."""

    certificate: Certificate


class StageBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """replaces: ids of current ones whose place it takes beside those that are plain."""

    replaces: Annotated[list[str], Meta(max_length=50)] = msgspec.field(default_factory=list)


class SwitchBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """at: when, "2h" or a date with time (UTC); empty is now. force: why, though gates are not green."""

    at: Annotated[str, Meta(max_length=64)] = ""
    force: Reason = ""


class ReasonBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """note: why, for the history."""

    note: Reason = ""


class ForceBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """force: why, though it could still be rolled back to."""

    force: Reason = ""


class Switched(msgspec.Struct):
    """switched: whether it is current now. planned: when it will be. replaced: whose place it took.

    certificates: as they are now, the one that was named first.
    """

    id: str
    switched: bool
    planned: float | None
    replaced: list[str]
    gates: Gates
    certificates: list[Certificate]


class RolledBack(msgspec.Struct):
    """current: those that are presented again. warnings: what of the DNS does not fit them.

    certificates: as they are now, the one that was named first.
    """

    id: str
    current: list[str]
    warnings: list[str]
    certificates: list[Certificate]


class ToldBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """partners: domains as the notice lists them. everybody: all that are known now. waive: they need not be told."""

    partners: Annotated[list[Annotated[str, Meta(max_length=255)]], Meta(max_length=1000)] = msgspec.field(
        default_factory=list
    )
    everybody: bool = False
    waive: bool = False
    note: Reason = ""


class PartnersTold(msgspec.Struct):
    """told: all who know by now. left: who does not."""

    certificate: Certificate
    told: list[str]
    left: list[str]


class NoticePartner(msgspec.Struct):
    """A domain that might know our certificate. why: what makes us think so."""

    partner: str
    why: list[str]
    told: bool


class Notice(msgspec.Struct):
    """The text of a mail to partners, and who they are."""

    id: str
    text: str
    partners: list[NoticePartner]
    certificate: Certificate


class RemovalQuery(msgspec.Struct, kw_only=True):
    """note, force: for the history; force: why, though it is needed."""

    force: Reason = ""
    note: Reason = ""


class Removed(msgspec.Struct):
    """What was done, in a sentence."""

    text: str
