"""What would happen to a message, and why: `gatepost explain` as a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gatepost.access.principal import Scope
from gatepost.administration.explain import MAX_PEM, Question, answer_record, explain
from gatepost.administration.refusal import Refusal
from gatepost.api.endpoint import Endpoint, Reach
from gatepost.api.problem import later

if TYPE_CHECKING:
    from gatepost.api.endpoint import Asked

__all__ = ["ENDPOINTS"]

type _Address = Annotated[str, Meta(max_length=1000)]


class ExplainQuestion(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, rename={"sender": "from"}):
    """A message, and the session that it comes by.

    from: reverse-path, empty for the null one. to: forward-path. ip: empty is a stranger's. certificate: PEM, leaf
    first. tls: what the session is under; empty is TLSv1.3 with a certificate, and in clear without. header: "NAME:
    VALUE". live: also look up and connect to the next hops.
    """

    sender: _Address
    to: _Address
    ip: Annotated[str, Meta(max_length=100)] = ""
    certificate: Annotated[str, Meta(max_length=MAX_PEM // 8)] = ""
    tls: Literal["", "TLSv1.2", "TLSv1.3", "none"] = ""
    header: Annotated[list[Annotated[str, Meta(max_length=2000)]], Meta(max_length=50)] = msgspec.field(
        default_factory=list
    )
    requiretls: bool = False
    live: bool = False


class Explained(msgspec.Struct):
    """What would happen, under the names that the trace keeps of real decisions.

    inbound, outbound: null if it is another organization's affair, outbound also if it is nobody's mail. failures: what
    each kind of TLS failure would do. live: what each next hop presents, if that was asked for. expires_after: seconds.
    """

    configuration: int
    stage: str
    inbound: dict[str, Any] | None
    outbound: dict[str, Any] | None
    failures: list[dict[str, Any]]
    expires_after: float
    live: list[dict[str, Any]] = msgspec.field(default_factory=list)


def _explain(asked: Asked) -> dict[str, Any]:
    body: ExplainQuestion = asked.body
    asked.told[0].subject, asked.told[0].detail = body.to, {"from": body.sender, "live": body.live}
    question = Question(
        body.sender,
        body.to,
        body.ip,
        body.certificate.encode(),
        body.tls,
        tuple(body.header),
        require_tls=body.requiretls,
        live=body.live,
    )
    try:
        return answer_record(explain(asked.gateway, asked.principal, question))
    except Refusal as refusal:
        raise later(refusal) from refusal


ENDPOINTS = (
    Endpoint(
        "POST",
        "/explain",
        "What would happen to a message, and why",
        _explain,
        Explained,
        Scope.READ,
        Reach.SEEN,
        "explain",
        body=ExplainQuestion,
        action="explain",
        description="Nothing is sent. Who sees some organizations only asks about their senders and recipients.",
    ),
)
