from __future__ import annotations

import pytest
from starlette.datastructures import ImmutableMultiDict

from gatepost.manage.pages.account_forms import access_text, chosen_organizations, field_errors, refused_fields
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.policy.connectors.errors import FieldError


@pytest.mark.parametrize(
    ("fields", "chosen"),
    [
        ([("reach", "all"), ("organizations", "contoso")], None),
        ([("reach", "some")], []),
        ([("reach", "some"), ("organizations", "contoso"), ("organizations", "fabrikam")], ["contoso", "fabrikam"]),
        ([("reach", "some"), ("organizations", " contoso,fabrikam  a ")], ["contoso", "fabrikam", "a"]),
    ],
)
def test_what_is_chosen(fields, chosen):
    assert chosen_organizations(ImmutableMultiDict(fields)) == chosen


@pytest.mark.parametrize("reach", ["", "everything"])
def test_the_whole_gateway_is_never_chosen_by_leaving_something_out(reach):
    with pytest.raises(Refusal) as refused:
        chosen_organizations(ImmutableMultiDict([("reach", reach)]))
    assert [one.path for one in refused.value.errors] == ["reach"]


def test_what_is_chosen_before():
    assert [access_text(one) for one in (None, frozenset({"contoso"}))] == ["all", "some"]


def test_errors_by_field():
    errors = [FieldError("name", "is taken"), FieldError("name", "is odd"), FieldError("role", "is none")]
    assert field_errors(Refusal(RefusalKind.INPUT, "no", errors)) == {"name": "is taken; is odd", "role": "is none"}
    assert field_errors(Refusal(RefusalKind.CONFLICT, "it is the last")) == {"": "It is the last."}
    assert field_errors(refused_fields({"again": "differs"})) == {"again": "differs"}
    for kind in (RefusalKind.MISSING, RefusalKind.UNREADABLE):
        with pytest.raises(Refusal):
            field_errors(Refusal(kind, "no"))


def test_of_very_many_errors_of_a_field_the_first_are_shown():
    errors = [FieldError("names", f"{number} is not a domain") for number in range(200_000)]
    shown = field_errors(Refusal(RefusalKind.INPUT, "no", errors))["names"].split("; ")
    assert shown[-2:] == ["18 is not a domain", "has more errors, which are not listed here: 199,981"]
    assert len(shown) == 20
