from __future__ import annotations

from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.context import Context
from gatepost.manage.use_cases.declaration import Cli, InQuery, Items, UseCaseReply, Visibility, any_marker, use_case

type Name = Annotated[str, Meta(max_length=9), Cli(argument=True)]


class Rename(msgspec.Struct, kw_only=True):
    organization: str
    name: Name
    to: str = ""
    wait: Annotated[int, InQuery()] = 0


class Renamed(msgspec.Struct):
    name: str


def declared(route="POST /organizations/{organization}/things/{name:path}", result=UseCaseReply[Renamed], **options):
    def rename(context: Context, request: Rename):
        """Rename a thing.

        What has the name
        already stays.
        """
        return UseCaseReply(Renamed(request.to), 7)

    rename.__annotations__["return"] = result
    given = {"scope": Scope.CONNECTORS, "visibility": Visibility.ORGANIZATION, "tag": "things"}
    return use_case(route, **(given | options))(rename)


def test_what_follows_from_the_function_and_the_route():
    case = declared()
    assert (case.name, case.method, case.request, case.result, case.replies) == (
        "rename",
        "POST",
        Rename,
        Renamed,
        True,
    )
    assert (case.summary, case.description) == ("Rename a thing", "What has the name already stays.")
    assert (case.path_names, case.query_names, case.body_names) == (["organization", "name"], ["wait"], ["to"])
    assert case.audit_subject({"organization": "a", "name": "b/c"}) == f"{case.name} b/c"
    assert declared(result=Items[Renamed]).result == Items[Renamed]


@pytest.mark.parametrize(("method", "query", "body"), [("GET", ["to", "wait"], []), ("DELETE", ["to", "wait"], [])])
def test_without_a_body_fields_are_in_the_query(method, query, body):
    case = declared(f"{method} /organizations/{{organization}}/things/{{name}}")
    assert (case.query_names, case.body_names) == (query, body)


@pytest.mark.parametrize(
    ("route", "options", "recorded", "itself"),
    [
        ("GET /things/{organization}", {}, False, False),
        ("GET /things/{organization}", {"action": "explain"}, True, False),
        ("PUT /things/{organization}", {}, True, False),
        ("PUT /things/{organization}", {"self_audited": True}, True, True),
        ("PUT /things/{organization}", {"dry_run": True, "guarded": True}, True, True),
        ("PUT /things/{organization}", {"dry_run": True, "guarded": True, "action": "dkim-add"}, True, False),
    ],
)
def test_what_is_recorded_and_by_whom(route, options, recorded, itself):
    case = declared(route, **options)
    assert (case.is_recorded, case.records_itself) == (recorded, itself)


@pytest.mark.parametrize(
    ("route", "options", "said"),
    [
        ("GET /things/{thing}", {"visibility": Visibility.SEEN}, "names thing"),
        ("GET /things", {}, "names none"),
        ("PUT /things/{organization}", {"guarded": True}, "needs no guard"),
    ],
)
def test_what_cannot_be_meant(route, options, said):
    with pytest.raises(ValueError, match=said):
        declared(route, **options)


def test_markers_are_found_behind_names_of_types():
    assert any_marker(Name, Cli) == Cli(argument=True)
    assert any_marker(Annotated[int, InQuery], InQuery) is InQuery
    assert any_marker(int, Cli) is None
