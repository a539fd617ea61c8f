"""Trust the issuer that a validation saw: a partner's own authority becomes a trust anchor of one connector.

Never by itself: whoever asks gives the SHA-256 fingerprint that they have compared with the partner by another way than
this connection, since whoever is on its way can present any issuer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases import resources
from gatepost.manage.use_cases.change_shapes import ChangeReport, ChangeRequest, change_reply, options_of
from gatepost.manage.use_cases.declaration import Cli, UseCaseReply, Visibility, use_case
from gatepost.manage.use_cases.name_lookup import OUTBOUND, choose_connector
from gatepost.manage.use_cases.refusal import wrong_field
from gatepost.manage.use_cases.resources import PartName
from gatepost.manage.use_cases.validation import last_validation
from gatepost.policy.connectors.trust_anchors import is_pem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.manage.use_cases.context import Context


_BETWEEN: Final = str.maketrans("", "", ": \t\r\n")


class SeenIssuer(msgspec.Struct, frozen=True):
    """An authority that a host presented. sha256: of its certificate. pem: the certificate."""

    host: str
    subject: str
    issuer: str
    sha256: str
    not_before: float
    not_after: float
    pem: str

    @property
    def fingerprint(self) -> str:
        """The SHA-256 as people compare it: pairs in capital letters."""
        return ":".join(self.sha256[place : place + 2] for place in range(0, len(self.sha256), 2)).upper()


class TrustIssuer(ChangeRequest, kw_only=True):
    """sha256: of the issuer's certificate, as it was compared with the partner by another way."""

    organization: Annotated[str, Meta(max_length=100)]
    connector: Annotated[str, Meta(max_length=200, description="Outbound connector."), Cli(argument=True)]
    sha256: Annotated[
        str,
        Meta(
            max_length=200,
            description="SHA-256 fingerprint of the issuer, confirmed by another way; colons may stand in it.",
        ),
        Cli(metavar="FINGERPRINT"),
    ]


def seen_issuers(record: Mapping[str, Any] | None) -> list[SeenIssuer]:
    """The issuers that hosts presented, of the record of a validation; each once."""
    issuers: dict[str, SeenIssuer] = {}
    for host in (record or {}).get("hosts", ()):
        if issuer := host.get("issuer"):
            issuers.setdefault(issuer["sha256"], SeenIssuer(host=host["host"], **issuer))
    return list(issuers.values())


@use_case(
    "POST /organizations/{organization}/trusted_issuers/{connector:path}",
    scope=Scope.CONNECTORS,
    visibility=Visibility.ORGANIZATION,
    tag="connectors",
    dry_run=True,
    guarded=True,
    versioned=True,
    may_404=True,
)
def trust_issuer(context: Context, request: TrustIssuer) -> UseCaseReply[ChangeReport]:
    """Add the issuer that the last validation saw to the trust anchors of a connector.

    Confirm its fingerprint with the partner by another way than this connection first.
    """
    chosen = choose_connector(context.seen(), request.connector, request.organization, "outbound")
    wanted = request.sha256.translate(_BETWEEN).lower()
    known = seen_issuers(last_validation(context.gateway, chosen))
    match = next((issuer for issuer in known if issuer.sha256 == wanted), None)
    if match is None:
        said = ", ".join(issuer.fingerprint for issuer in known) or "none; validate the connector again"
        raise wrong_field("sha256", f"is of no issuer that the last validation saw ({said})", "Nothing was done.")
    anchors = chosen.connector.trust_anchors
    kept = anchors if is_pem(anchors) else ""
    part = PartName(OUTBOUND, chosen.organization.name, chosen.connector.name)
    fields = {"trust_anchors": kept + match.pem}
    outcome = resources.set_part(context.gateway, context.principal, part, fields, options_of(context, request))
    return change_reply(context, outcome)
