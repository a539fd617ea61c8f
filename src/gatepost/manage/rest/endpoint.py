"""An endpoint of `/api/v1`, declared as data: `rest.serving` makes routes of it, `rest.openapi` the document.

So no route exists that the document does not know, and no rule of access, of conditions or of errors is written twice.
A handler is a plain function on a thread: it is given what was asked, checked and of its types, and returns a value or
raises a Refusal or a Problem.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.manage.use_cases.declaration import SAFE as SAFE  # noqa: PLC0414 - for endpoints by hand
from gatepost.manage.use_cases.declaration import Document as Document  # noqa: PLC0414 - for endpoints by hand
from gatepost.manage.use_cases.declaration import File as File  # noqa: PLC0414 - for endpoints by hand
from gatepost.manage.use_cases.declaration import UseCase, Visibility

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatepost.manage.access.accounts import Accounts
    from gatepost.manage.access.actions import Action
    from gatepost.manage.access.principal import Principal, Scope
    from gatepost.manage.access.records import Actor
    from gatepost.manage.use_cases.gateway import Gateway


Reach = Visibility
_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
_KILOBYTE = 1024


class NoQuery(msgspec.Struct):
    """No parameters."""


@dataclass(frozen=True, slots=True)
class ListOf:
    """A page of items."""

    item: type[msgspec.Struct] | Document


@dataclass(frozen=True, slots=True)
class FileOf:
    """A file of that media type, which is no JSON."""

    media_type: str


type Shape = type[Any] | Document | ListOf | FileOf


@dataclass(slots=True)
class Told:
    """What the audit keeps of a call beside who, when, and how it ended. organization: "" is the gateway itself.

    detail: for JSON; "before" and "after" are shown field by field.
    """

    action: Action
    organization: str = ""
    subject: str = ""
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a handler is given.

    path: the values in the path's braces. query, body: as the endpoint declares them; body is None where there is none,
    and plain values where it is a Document. expected: the version that must still be in force for a change, None if
    any will do (`If-Match: *`). dry_run: say what would change, change nothing. accounts: users, tokens and the audit.
    by: who asks, for the audit. told: what `manage.rest.audit` keeps of the call, to which a handler may add.
    """

    principal: Principal
    gateway: Gateway
    accounts: Accounts
    by: Actor
    path: Mapping[str, str]
    query: Any
    body: Any = None
    expected: int | None = None
    dry_run: bool = False
    told: list[Told] = field(default_factory=lambda: [Told("request")])


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler returns where a value alone is not enough.

    version: of the configuration that the value is of. location: path below /api/v1 of what was made. status: None for
    the endpoint's own.
    """

    value: Any
    version: int | None = None
    location: str = ""
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path.

    path: below /api/v1; "{name:path}" takes slashes, too, and stands last. scope: needed; None lets everyone who is
    known. answer: what a success returns; a `ListOf` makes pages, a `FileOf` no JSON. changes: it takes `dry_run`.
    guarded: and If-Match, without which nothing is changed. may_create: it may answer 201. grave: a session must have
    proved lately who it is (`manage.web.confirmed`), and the state may forbid it. seeks: it may answer 404 for what its
    query or body names. most: bytes of a body. tag: its chapter. action: what the audit calls it; every call that is
    not safe is kept there, and a safe one that has an action. recorded: its use case keeps a success itself, as guarded
    ones without an action do. case: the declaration that it was derived from (`manage.rest.derived`), whose calls go
    through `execute`.
    """

    method: str
    path: str
    summary: str
    handler: Callable[[Asked], Any]
    answer: Shape
    scope: Scope | None
    reach: Reach
    tag: str
    description: str = ""
    query: type[msgspec.Struct] = NoQuery
    body: type[msgspec.Struct] | Document | None = None
    status: int = 200
    changes: bool = False
    guarded: bool = False
    versioned: bool = False
    may_create: bool = False
    grave: bool = False
    seeks: bool = False
    most: int = 256 * _KILOBYTE
    action: Action | None = None
    recorded: bool = False
    parameters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    case: UseCase[Any, Any] | None = None

    def __post_init__(self) -> None:
        """What cannot be meant is found when the module is imported. Raises ValueError."""
        if self.reach is Reach.ORGANIZATION and "organization" not in self.path_names:
            raise ValueError(f"{self.method} {self.path}: it is of an organization, but names none")
        if self.guarded and not self.changes:
            raise ValueError(f"{self.method} {self.path}: what changes nothing needs no guard")

    @property
    def path_names(self) -> list[str]:
        """The names in the path's braces."""
        return _PARAMETER.findall(self.path)

    @property
    def template(self) -> str:
        """The path as OpenAPI writes it."""
        return _PARAMETER.sub(r"{\1}", self.path)

    @property
    def is_kept(self) -> bool:
        """Whether a call of it is in the audit."""
        return self.method not in SAFE or bool(self.action)

    @property
    def keeps_itself(self) -> bool:
        """Whether a success is on record without `manage.rest.audit`."""
        return self.recorded or (self.guarded and not self.action)

    @property
    def name(self) -> str:
        """Its operationId: "get_organizations_organization_mailbox"."""
        return "_".join([self.method.lower(), *re.findall(r"[a-z0-9]+", self.template.lower())])


def takes_merge_patch(endpoint: Endpoint) -> bool:
    """Whether its body may also be called a merge patch (RFC 7396), which it is."""
    return endpoint.method == "PATCH" and isinstance(endpoint.body, Document) and not endpoint.body.named
