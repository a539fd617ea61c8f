"""A declared use case as `/api/v1` has it: which of its request's fields stand in the path, the query and the body.

`manage.rest.serving` makes routes of endpoints, `manage.rest.openapi` the document. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args, get_origin

import msgspec

from gatepost.manage.use_cases.declaration import DOCUMENT, Document, FileResult, Items, UseCase
from gatepost.manage.use_cases.request_values import path_value

_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")


@dataclass(frozen=True)
class RestEndpoint:
    """One method of one path."""

    case: UseCase[Any, Any]

    @cached_property
    def template(self) -> str:
        """The path as OpenAPI writes it."""
        return _PARAMETER.sub(r"{\1}", self.case.path)

    @property
    def name(self) -> str:
        """Its operationId: "get_organizations_organization_mailbox"."""
        return "_".join([self.case.method.lower(), *re.findall(r"[a-z0-9]+", self.template.lower())])

    @cached_property
    def query(self) -> type[msgspec.Struct]:
        """The fields that stand in the query."""
        return self._part(self.case.query_names, "Query")

    @cached_property
    def body(self) -> type[msgspec.Struct] | Document | None:
        """Type of the body; None where there is none."""
        if self.case.body is not None or not self.case.body_names:
            return self.case.body
        return self._part(self.case.body_names, "")

    @property
    def takes_merge_patch(self) -> bool:
        """Whether its body may also be called a merge patch (RFC 7396), which it is."""
        return self.case.method == "PATCH" and isinstance(self.body, Document) and not self.body.named

    @property
    def is_list(self) -> bool:
        """Whether a success is a page of a list."""
        return get_origin(self.case.result) is Items

    @property
    def is_file(self) -> bool:
        """Whether a success is not JSON."""
        return self.case.result is FileResult

    @property
    def shape(self) -> Any:
        """Type of a successful response, or of each item of its list."""
        return self.case.result_document or (get_args(self.case.result)[0] if self.is_list else self.case.result)

    def request(self, path: Mapping[str, str], query: Any, body: Any) -> Any:
        """The request of a call. query, body: as they are declared, body None if there is none.

        Raises WrongFields for what the path names.
        """
        named = path_value(self._path, path)
        values = msgspec.structs.asdict(named) | msgspec.structs.asdict(query)
        if isinstance(self.body, Document):
            values[DOCUMENT] = body
        elif body is not None:
            values |= msgspec.structs.asdict(body)
        return self.case.request(**values)

    def path_description(self, name: str) -> str:
        """Description of a path parameter, from its `Meta`."""
        return str(msgspec.json.schema(self.case.field_types[name]).get("description", ""))

    @cached_property
    def _path(self) -> type[msgspec.Struct]:
        return self._part(self.case.path_names, "Path")

    def _part(self, names: Collection[str], suffix: str) -> type[msgspec.Struct]:
        """A struct of some of the request's fields."""
        kind = self.case.request
        return msgspec.defstruct(
            kind.__name__ + suffix,
            [_field(field) for field in msgspec.structs.fields(kind) if field.name in names],
            kw_only=True,
            forbid_unknown_fields=True,
            namespace={"__doc__": kind.__doc__},
        )


def _field(field: msgspec.structs.FieldInfo) -> tuple[str, Any, Any]:
    if field.required:
        return field.name, field.type, msgspec.field(name=field.encode_name)
    if field.default_factory is not msgspec.NODEFAULT:
        return field.name, field.type, msgspec.field(name=field.encode_name, default_factory=field.default_factory)
    return field.name, field.type, msgspec.field(name=field.encode_name, default=field.default)
