"""The endpoint that a declared use case is: which of its fields stand in the path, the query and the body. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args, get_origin

import msgspec

from gatepost.manage.rest.endpoint import Endpoint, FileOf, ListOf, NoQuery
from gatepost.manage.use_cases.declaration import DOCUMENT, Document, File, Items, UseCase
from gatepost.manage.use_cases.request_values import path_value

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gatepost.manage.rest.endpoint import Shape


def endpoint_of(case: UseCase[Any, Any]) -> Endpoint:
    """Its route and its part of the OpenAPI document."""
    descriptions = {name: _description(case, name) for name in case.path_names}
    return Endpoint(
        case.method,
        case.path,
        case.summary,
        _executed,
        _shape(case),
        case.scope,
        case.visibility,
        case.tag,
        description=case.description,
        query=_part(case, case.query_names, "Query") if case.query_names else NoQuery,
        body=_body(case),
        status=case.status,
        changes=case.dry_run,
        guarded=case.guarded,
        versioned=case.versioned,
        may_create=case.may_create,
        grave=case.requires_reauth,
        seeks=case.may_404,
        most=case.max_body,
        action=case.action,
        recorded=case.self_audited,
        parameters={name: text for name, text in descriptions.items() if text},
        case=case,
    )


def request_of(endpoint: Endpoint, path: Mapping[str, str], query: Any, body: Any) -> Any:
    """The request of a call. query, body: as the endpoint declares them, body None if there is none.

    Raises WrongFields for what the path names.
    """
    case = endpoint.case
    assert case is not None  # noqa: S101 - it is called for these
    named = path_value(_part(case, case.path_names, "Path"), path)
    values = msgspec.structs.asdict(named) | msgspec.structs.asdict(query)
    if isinstance(endpoint.body, Document):
        values[DOCUMENT] = body
    elif body is not None:
        values |= msgspec.structs.asdict(body)
    return case.request(**values)


def _executed(_: Any) -> Any:
    raise AssertionError("`manage.rest.serving` gives calls of use cases to `execute`")


def _shape(case: UseCase[Any, Any]) -> Shape:
    result = case.result
    if result is File:
        return FileOf(case.media_type)
    if get_origin(result) is Items:
        return ListOf(case.result_document or get_args(result)[0])
    return case.result_document or result


def _body(case: UseCase[Any, Any]) -> type[msgspec.Struct] | Document | None:
    if case.body is not None or not case.body_names:
        return case.body
    return _part(case, case.body_names, "")


def _part(case: UseCase[Any, Any], names: Collection[str], suffix: str) -> type[msgspec.Struct]:
    """A struct of some of the request's fields."""
    fields = [one for one in msgspec.structs.fields(case.request) if one.name in names]
    return msgspec.defstruct(
        case.request.__name__ + suffix,
        [_field(one) for one in fields],
        kw_only=True,
        forbid_unknown_fields=True,
        namespace={"__doc__": case.request.__doc__},
    )


def _field(one: msgspec.structs.FieldInfo) -> tuple[str, Any, Any]:
    if one.required:
        return one.name, one.type, msgspec.field(name=one.encode_name)
    if one.default_factory is not msgspec.NODEFAULT:
        return one.name, one.type, msgspec.field(name=one.encode_name, default_factory=one.default_factory)
    return one.name, one.type, msgspec.field(name=one.encode_name, default=one.default)


def _description(case: UseCase[Any, Any], name: str) -> str:
    """What `Meta` says of a field."""
    schema = msgspec.json.schema(case.field_types[name])
    return str(schema.get("description", ""))
