"""The OpenAPI 3.1 document of `/api/v1`, made of the endpoints that are routes, and of the models they name.

Schemas of resources are pydantic's, those of everything else msgspec's; both stand under components/schemas. Pure.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeGuard

import msgspec
from pydantic.json_schema import models_json_schema

from gatepost import __version__
from gatepost.manage.use_cases.declaration import Document, UseCase, Visibility
from gatepost.manage.web.identity import COOKIE
from gatepost.manage.web.problem import PROBLEMS, ProblemDocument

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gatepost.manage.rest.endpoint import RestEndpoint


type _Schema = dict[str, Any]

_REF = "#/components/schemas/"
_MODEL = _REF + "{model}"
_JSON = "application/json"
_MERGE_PATCH = "application/merge-patch+json"
_PROBLEM = "application/problem+json"
_BODY = frozenset({415})
_ALWAYS = frozenset({400, 401, 403, 413, 421, 422, 429, 500, 503})  # what `web` refuses is among them
_DESCRIPTION = """\
What the command line and the admin centre do, as REST. Errors are problem documents (RFC 9457) with the path of each
field. Resources carry their version as ETag; a change says with If-Match which one it was made from, and with
`?dry_run=true` what it would change.
"""


def document(endpoints: Sequence[RestEndpoint]) -> dict[str, Any]:
    """The document as plain values. Raises ValueError if two different schemas have one name."""
    schemas = _Schemas(endpoints)
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.template, {})[endpoint.case.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "gatepost",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/api/v1"}],
        "security": [{"bearer": []}, {"cookie": []}],
        "tags": [{"name": name} for name in dict.fromkeys(endpoint.case.tag for endpoint in endpoints)],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.components.items())),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API token: `gatepost token add`."},
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": COOKIE,
                    "description": "The session of the admin centre; changes also need its CSRF header.",
                },
            },
        },
    }


def statuses(endpoint: RestEndpoint) -> list[int]:
    """Every status that is no success which the endpoint may answer with."""
    codes, case = _ALWAYS, endpoint.case
    # A query or a body may name what is not seen.
    if case.path_names or case.may_404 or case.visibility is not Visibility.GATEWAY:
        codes |= {404}
    if endpoint.body is not None:
        codes |= _BODY
    if case.dry_run or case.requires_reauth:
        codes |= {409}
    if case.guarded:
        codes |= {412, 428}
    return sorted(codes)


class _Schemas:
    """The components, and where each shape is in them. queries: the parameters of each query, by their names."""

    def __init__(self, endpoints: Iterable[RestEndpoint]) -> None:
        self.components: dict[str, _Schema] = {}
        known = list(endpoints)
        inner = [
            shape
            for endpoint in known
            for shape in (endpoint.shape, endpoint.body)
            if not endpoint.is_file or shape is endpoint.body
        ]
        structs = [candidate for candidate in inner if _is_struct(candidate)]
        self._add(_of_structs([ProblemDocument, *structs]))
        models = {form.model: None for form in inner if isinstance(form, Document)}
        _, described = models_json_schema(
            [(model, "validation") for model in models], by_alias=True, ref_template=_MODEL
        )
        self._add(described.get("$defs", {}))
        for form in inner:
            if isinstance(form, Document):
                self._add({_name(form): _variant(form, self.components[form.model.__name__])})
        self.queries = {endpoint.query: self._query(endpoint.query) for endpoint in known}

    def of_success(self, endpoint: RestEndpoint) -> _Schema:
        """The schema of what a success returns."""
        if endpoint.is_file:
            return {}  # bytes of a media type need none (OpenAPI 3.1 section 4.8.14.4)
        schema = self.of(endpoint.shape)
        if not endpoint.is_list:
            return schema
        behind = {"type": ["string", "null"], "description": "Path and query of the next page; null on the last."}
        properties = {"items": {"type": "array", "items": schema}, "next": behind}
        return {"type": "object", "properties": properties, "required": ["items", "next"]}

    def of(self, shape: Any) -> _Schema:
        """The schema of a shape."""
        if isinstance(shape, Document):
            return self._of_document(shape)
        if _is_struct(shape):
            return {"$ref": _REF + shape.__name__}
        return msgspec.json.schema(shape)

    def _of_document(self, shape: Document) -> _Schema:
        ref: _Schema = {"$ref": _REF + _name(shape)}
        if not shape.named:
            return ref
        each = {"type": "object", "additionalProperties": ref}
        return {"type": "object", "properties": {"organization": each}, "additionalProperties": False}

    def _query(self, kind: type[msgspec.Struct]) -> dict[str, _Schema]:
        schemas = _of_structs([kind])
        properties: dict[str, _Schema] = schemas.pop(kind.__name__)["properties"]
        self._add(schemas)
        return properties

    def _add(self, schemas: dict[str, _Schema]) -> None:
        for name, schema in schemas.items():
            if self.components.setdefault(name, schema) != schema:
                raise ValueError(f"two different schemas have the name {name}")


def _name(shape: Document) -> str:
    """Of the schema: "Mailbox", "MailboxPatch", or "OrganizationTable" without its name."""
    kind = "Table" if shape.named or shape.nameless else "" if shape.whole else "Patch"
    return shape.model.__name__ + kind


def _variant(shape: Document, whole: _Schema) -> _Schema:
    if shape.named or shape.nameless:
        return _table(whole)
    return whole if shape.whole else _patch(whole)


def _table(whole: _Schema) -> _Schema:
    """Without the name, which stands in the heading or the path."""
    table = {key: value for key, value in whole.items() if key != "required"}
    table["properties"] = {name: schema for name, schema in whole["properties"].items() if name != "name"}
    required = [name for name in whole.get("required", ()) if name != "name"]
    return table | {"title": f"{whole['title']}Table"} | ({"required": required} if required else {})


def _is_struct(shape: Any) -> TypeGuard[type[msgspec.Struct]]:
    return isinstance(shape, type) and issubclass(shape, msgspec.Struct)


def _of_structs(kinds: Iterable[type[msgspec.Struct]]) -> dict[str, _Schema]:
    _, result = msgspec.json.schema_components(list(kinds), ref_template=_REF + "{name}")
    return result


def _patch(whole: _Schema) -> _Schema:
    """Of the same fields, none of which must be there, and each of which may be null: back to the default."""
    properties = {name: _nullable(schema) for name, schema in whole["properties"].items()}
    return {key: value for key, value in whole.items() if key != "required"} | {
        "title": f"{whole['title']}Patch",
        "properties": properties,
    }


def _nullable(schema: _Schema) -> _Schema:
    rest = {key: value for key, value in schema.items() if key in {"description", "title"}}
    inner = {key: value for key, value in schema.items() if key not in {"description", "title", "default"}}
    return {"anyOf": [inner, {"type": "null"}], **rest}


def _operation(endpoint: RestEndpoint, schemas: _Schemas) -> dict[str, Any]:
    result: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.case.summary,
        "tags": [endpoint.case.tag],
        "parameters": list(_parameters(endpoint, schemas)),
        "responses": _responses(endpoint, schemas),
    }
    about = " ".join(filter(None, (endpoint.case.description, _needs(endpoint.case))))
    if about:
        result["description"] = about
    if endpoint.body is not None:
        content = {"schema": schemas.of(endpoint.body)}
        types = [_JSON, _MERGE_PATCH] if endpoint.takes_merge_patch else [_JSON]
        result["requestBody"] = {"required": True, "content": dict.fromkeys(types, content)}
    return result


def _needs(case: UseCase[Any, Any]) -> str:
    """Required permissions, for people."""
    scope = f"Needs the scope `{case.scope}`." if case.scope else ""
    is_gateways = case.visibility is Visibility.GATEWAY
    return " ".join(filter(None, (scope, "Not for tokens of some organizations." * is_gateways)))


def _parameters(endpoint: RestEndpoint, schemas: _Schemas) -> Iterator[dict[str, Any]]:
    for name in endpoint.case.path_names:
        yield _parameter(
            name, "path", {"type": "string", "minLength": 1}, endpoint.path_description(name), required=True
        )
    for name, schema in schemas.queries[endpoint.query].items():
        rest = {key: value for key, value in schema.items() if key != "description"}
        yield _parameter(name, "query", rest, schema.get("description", ""), required="default" not in schema)
    if endpoint.case.dry_run:
        about = "Say what would change, and change nothing."
        yield _parameter("dry_run", "query", {"type": "boolean", "default": False}, about)
    if endpoint.case.guarded:
        about = "The ETag of what was read, or * for any version; needed unless dry_run is true."
        yield _parameter("If-Match", "header", {"type": "string"}, about)
    if endpoint.case.versioned and endpoint.case.method == "GET":
        about = "The ETag of what is known already; 304 if it is still in force."
        yield _parameter("If-None-Match", "header", {"type": "string"}, about)


def _parameter(name: str, where: str, schema: _Schema, about: str, *, required: bool = False) -> dict[str, Any]:
    parameter = {"name": name, "in": where, "required": required, "schema": schema}
    return {**parameter, "description": about} if about else parameter


def _responses(endpoint: RestEndpoint, schemas: _Schemas) -> dict[str, Any]:
    case, headers = endpoint.case, _headers(endpoint)
    content = {case.media_type or _JSON: {"schema": schemas.of_success(endpoint)}}
    result: dict[str, Any] = {
        str(case.status): {"description": HTTPStatus(case.status).phrase, "headers": headers}
        | ({} if case.status == HTTPStatus.NO_CONTENT else {"content": content})
    }
    if case.may_create:
        result["201"] = {"description": HTTPStatus.CREATED.phrase, "headers": headers, "content": content}
    if case.dry_run and case.status != HTTPStatus.OK:
        result["200"] = {"description": "Preview of the change (dry_run).", "headers": headers, "content": content}
    if case.versioned and case.method == "GET":
        result["304"] = {"description": "Not changed since If-None-Match.", "headers": headers}
    problem = {_PROBLEM: {"schema": {"$ref": _REF + ProblemDocument.__name__}}}
    for status in statuses(endpoint):
        result[str(status)] = {"description": PROBLEMS[status].value.title, "content": problem}
    return result


def _headers(endpoint: RestEndpoint) -> dict[str, Any]:
    result = {}
    if endpoint.case.versioned:
        result["ETag"] = {"schema": {"type": "string"}, "description": 'Version of the configuration, as "v17".'}
    if endpoint.is_list:
        result["Link"] = {"schema": {"type": "string"}, "description": 'The next page, rel="next", if there is one.'}
    if endpoint.case.status == HTTPStatus.CREATED or endpoint.case.may_create:
        result["Location"] = {"schema": {"type": "string"}, "description": "Where it is now; not with dry_run."}
    return result
