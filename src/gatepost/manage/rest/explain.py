"""What would happen to a message, and why: `gatepost explain` as a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.rest.endpoint import Endpoint, Reach
from gatepost.manage.use_cases.explain import MAX_PEM, Question, explained

if TYPE_CHECKING:
    from gatepost.manage.rest.endpoint import Asked


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


class ExplainAssumption(msgspec.Struct):
    """What was not said, and is taken to be so. field: of the question."""

    field: str
    text: str


class ExplainDkim(msgspec.Struct):
    """The keys that would sign it, and why these or none."""

    keys: list[str]
    why: str


class ExplainCertificates(msgspec.Struct):
    """What there is to encrypt it with S/MIME. missing: why it waits, empty if it does not."""

    found: str
    missing: str


class Explained(msgspec.Struct, rename={"sender": "from"}):
    """What would happen, under the names that the trace keeps of real decisions.

    ip, tls, certificate: the session that is meant; tls is empty in clear. inbound, outbound: null if it is another
    organization's affair (withheld says so), outbound also if it is nobody's mail. failures: what each kind of TLS
    failure would do. held_below_memory: mail is held where the destination does less than it did. dkim: null if it
    does not leave or nobody has a key. expires_after: seconds. succeeds: it is accepted, and has a way that does what
    is demanded; null where others decide. empty: nothing is stored yet. live: what each next hop presents, if that was
    asked for. certificates: if it must be encrypted.
    """

    configuration: int
    sender: str
    to: str
    ip: str
    tls: str
    certificate: bool
    assumed: list[ExplainAssumption]
    stage: str
    inbound: dict[str, Any] | None
    outbound: dict[str, Any] | None
    failures: list[dict[str, Any]]
    held_below_memory: bool
    dkim: ExplainDkim | None
    expires_after: float
    succeeds: bool | None
    empty: bool
    withheld: list[str]
    live: list[dict[str, Any]] = msgspec.field(default_factory=list)
    certificates: ExplainCertificates | None = None


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
    return explained(asked.gateway, asked.principal, question)


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
