"""A use case, declared once: what it takes and returns, who may ask for it, and how it is recorded.

REST routes, OpenAPI, click options, the remote client, the audit and the tables of docs/use-cases.md are derived from
the declaration. `gatepost.manage.use_cases.execution.execute` is the one way to run it. Pure. See decisions 0055 and
0149.
"""

from __future__ import annotations

import inspect
import re
from enum import StrEnum
from functools import cached_property
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Protocol,
    TypeAliasType,
    TypedDict,
    Unpack,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pydantic import BaseModel

    from gatepost.manage.access.actions import Action
    from gatepost.manage.access.principal import Scope
    from gatepost.manage.use_cases.context import Context


SAFE: Final = frozenset({"GET", "HEAD"})
"""Methods that change nothing (RFC 9110 section 9.2.1)."""
MAX_BODY: Final = 256 * 1024
"""Bytes of a request's body, unless a use case declares another limit."""
DOCUMENT: Final = "document"
"""The field of a request that holds the whole body, where the body is a `Document`."""
_PARAMETER: Final = re.compile(r"\{(\w+)(?::\w+)?\}")
_VERBS: Final = {"put": "replace"}
"""Verbs of functions that are called otherwise by people."""


class Visibility(StrEnum):
    """Principals for whom a use case exists.

    GATEWAY: the gateway's; a principal limited to some organizations may not ask (403). ORGANIZATION: that of the
    organization in the path; for a principal that does not see it, it does not exist (404). SEEN: whatever of it
    belongs to organizations that the principal sees; the use case itself filters.
    """

    GATEWAY = "gateway"
    ORGANIZATION = "organization"
    SEEN = "seen"


class InQuery:
    """Marks a field of a request that REST takes from the query although the method has a body."""


class Cli(msgspec.Struct, frozen=True):
    """Command-line form of a field that is not simply an option of its name.

    argument: it stands without a name. option: another name, such as "all". metavar, help: as click shows them.
    """

    argument: bool = False
    option: str = ""
    metavar: str | None = None
    help: str = ""


class Document(msgspec.Struct, frozen=True):
    """JSON described by a model of the resources, and checked by `policy.connectors.model.parse` with all others.

    whole: with everything that has no default. Otherwise it is a merge patch (RFC 7396): what is left out stays, null
    goes back to the default. nameless: without the name, which stands in the path. named: {name: what the model says}
    below the key "organization", each without its name.
    """

    model: type[BaseModel]
    whole: bool = True
    nameless: bool = False
    named: bool = False


class Items[T](msgspec.Struct, frozen=True):
    """A page of a list. after: the cursor of the next page, None on the last. version: of the configuration."""

    items: Sequence[T]
    after: str | None = None
    version: int | None = None


class FileResult(msgspec.Struct, frozen=True):
    """A file. name: to save it under. chunks: read on a thread."""

    name: str
    chunks: Iterable[bytes]


class UseCaseReply[T](msgspec.Struct, frozen=True):
    """A result with what HTTP says beside it.

    version: of the configuration that the value is of. location: path below /api/v1 of what was made. created: it was
    not there before, though the use case may also replace (`may_create`).
    """

    value: T
    version: int | None = None
    location: str = ""
    created: bool = False


class _Options(TypedDict, total=False):
    """Keyword arguments of `use_case`: fields of `UseCase`."""

    scope: Scope | None
    visibility: Visibility
    tag: str
    status: int
    dry_run: bool
    guarded: bool
    versioned: bool
    may_create: bool
    requires_reauth: bool
    may_404: bool
    max_body: int
    action: Action | None
    self_audited: bool
    media_type: str
    body: Document | None
    result_document: Document | None


class UseCase[R: msgspec.Struct, A](msgspec.Struct, frozen=True, dict=True):
    """One use case.

    function: does it; called by `execute` alone. method, path: of REST, below /api/v1; "{name:path}" takes slashes,
    too, and stands last; both are empty for what REST does not have. scope: what a principal needs, None for nothing.
    tag: the chapter in OpenAPI. status: of a success. dry_run: it can say what it would do and change nothing. guarded:
    REST demands If-Match. versioned: its `UseCaseReply` has a version. may_create: it may answer 201. requires_reauth:
    a session must have confirmed its password lately. may_404: it may answer 404 for what its query or body names.
    max_body: bytes. action: its name in the audit; without one only methods of REST that are not safe are recorded.
    self_audited: the function records a success itself (in one transaction with the change). media_type: of the
    `FileResult` that it returns. body: its field "document" is the whole body, and is described by this.
    result_document: describes the value that it returns, or each item.
    """

    function: Callable[[Context, R], A]
    method: str
    path: str
    scope: Scope | None
    visibility: Visibility
    tag: str
    status: int = 200
    dry_run: bool = False
    guarded: bool = False
    versioned: bool = False
    may_create: bool = False
    requires_reauth: bool = False
    may_404: bool = False
    max_body: int = MAX_BODY
    action: Action | None = None
    self_audited: bool = False
    media_type: str = ""
    body: Document | None = None
    result_document: Document | None = None
    hints: Mapping[str, Any] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Find what cannot be meant when the module is imported. Raises ValueError."""
        missing = [name for name in self.path_names if name not in self.field_types]
        if missing:
            raise ValueError(f"{self.name}: the path names {', '.join(missing)}, which the request has not")
        if self.visibility is Visibility.ORGANIZATION and "organization" not in self.path_names:
            raise ValueError(f"{self.name}: it is of an organization, but its path names none")
        if self.guarded and not self.dry_run:
            raise ValueError(f"{self.name}: what changes nothing needs no guard")

    @property
    def name(self) -> str:
        """The function's name."""
        return self.function.__name__

    @cached_property
    def request(self) -> type[R]:
        """The type of its request."""
        kind: type[R] = self.hints["request"]
        return kind

    @cached_property
    def result(self) -> Any:
        """The type that it returns, as annotated, without `UseCaseReply`."""
        result = self.hints["return"]
        return get_args(result)[0] if self.replies else result

    @property
    def replies(self) -> bool:
        """Whether it returns a `UseCaseReply`."""
        return get_origin(self.hints["return"]) is UseCaseReply

    @cached_property
    def summary(self) -> str:
        """The first line of its docstring."""
        return inspect.getdoc(self.function).partition("\n")[0].removesuffix(".")  # type: ignore[union-attr] # linted

    @cached_property
    def description(self) -> str:
        """The rest of its docstring, as one line."""
        return " ".join(inspect.getdoc(self.function).partition("\n")[2].split())  # type: ignore[union-attr] # as above

    @cached_property
    def path_names(self) -> list[str]:
        """The names in the path's braces."""
        return _PARAMETER.findall(self.path)

    @cached_property
    def field_types(self) -> Mapping[str, Any]:
        """The types of the request's fields, with what `Annotated` says."""
        return get_type_hints(self.request, include_extras=True)

    @cached_property
    def query_names(self) -> list[str]:
        """The fields that REST takes from the query."""
        in_body = self.method not in SAFE | {"DELETE"}
        rest = [name for name in self.field_types if name not in self.path_names]
        return [name for name in rest if not in_body or any_marker(self.field_types[name], InQuery)]

    @cached_property
    def body_names(self) -> list[str]:
        """The fields that REST takes from the body; ["document"] where the body is a `Document`."""
        return [name for name in self.field_types if name not in {*self.path_names, *self.query_names}]

    @property
    def is_recorded(self) -> bool:
        """Whether the audit has a call of it."""
        return bool(self.action) or self.method not in SAFE | {""}

    @property
    def records_itself(self) -> bool:
        """Whether a success is on record without `execute`: by itself, or in the history of the configuration."""
        return self.self_audited or (self.guarded and not self.action)

    def audit_subject(self, values: Mapping[str, str]) -> str:
        """The subject of a call in the audit: the names in its path, such as that of a certificate.

        What has no action of its own says first what it does, as a command does: "organization set contoso". values: of
        the path; the organization is named if the call is about itself, and has a field of its own otherwise.
        """
        is_about_it = not self.action and self.path.endswith("{organization}")
        named = [str(value) for name, value in values.items() if is_about_it or name != "organization"]
        verb, _, thing = self.name.partition("_")
        does = [] if self.action else [thing.replace("_", " "), _VERBS.get(verb, verb)]
        return " ".join(filter(None, (*does, *named)))


def any_marker(annotation: Any, kind: type) -> Any:
    """The metadata of `Annotated` that is of this kind, or the kind itself; None if there is none."""
    if isinstance(annotation, TypeAliasType):
        return any_marker(annotation.__value__, kind)
    for marker in getattr(annotation, "__metadata__", ()):
        if marker is kind or isinstance(marker, kind):
            return marker
    return None


def use_case[R: msgspec.Struct, A](
    route: str = "", **options: Unpack[_Options]
) -> Callable[[Callable[[Context, R], A]], UseCase[R, A]]:
    """Declare the function below as a use case. route: "POST /queue/actions"; "" for what REST does not have.

    The function takes `context` and `request`, whose types and that of its result must be importable when the module
    is (msgspec reads them).
    """
    method, _, path = route.partition(" ")

    def declared(function: Callable[[Context, R], A]) -> UseCase[R, A]:
        hints = get_type_hints(function, localns={"Context": Any}, include_extras=True)
        return UseCase(function, method, path, hints=hints, **options)

    return declared


class UseCaseDecorator(Protocol):
    """`use_case`, or what stands in its place in a module."""

    def __call__[R: msgspec.Struct, A](
        self, route: str = "", **options: Unpack[_Options]
    ) -> Callable[[Callable[[Context, R], A]], UseCase[R, A]]:
        """As `use_case`."""


def use_cases(**common: Unpack[_Options]) -> UseCaseDecorator:
    """`use_case` for a module, whose use cases have these options in common. What one of them says counts for it."""

    def declared[R: msgspec.Struct, A](
        route: str = "", **options: Unpack[_Options]
    ) -> Callable[[Callable[[Context, R], A]], UseCase[R, A]]:
        merged: _Options = {**common, **options}
        return use_case(route, **merged)

    return declared
