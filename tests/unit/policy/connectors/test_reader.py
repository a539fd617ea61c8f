from __future__ import annotations

import pytest

from gatepost.policy.connectors.accepted_domain import AcceptedDomain
from gatepost.policy.connectors.errors import Draft, FieldError
from gatepost.policy.connectors.oauth import OauthIssuer
from gatepost.policy.connectors.reader import OrganizationDraft, read, tables
from gatepost.policy.connectors.records import Mailbox, Organization, OutboundConnector


def test_a_good_table_becomes_a_draft_without_errors() -> None:
    errors: list[FieldError] = []
    draft = read(AcceptedDomain, {"name": "A.example"}, "d[0]", errors)
    assert draft == Draft("d[0]", AcceptedDomain(name="a.example"))
    assert not errors


def test_a_wrong_field_is_reported_and_takes_its_default() -> None:
    errors: list[FieldError] = []
    table = {"name": "x", "priority": "high", "smart_hosts": ["a:0"], "commnet": "", "tls_settings": "encryption-only"}
    draft = read(OutboundConnector, table, "c[0]", errors)
    assert draft is not None
    assert draft.bad == {"priority", "smart_hosts", "commnet"}
    assert (draft.value.priority, draft.value.smart_hosts, draft.value.tls_settings) == (100, (), "encryption-only")
    assert [error.path for error in errors] == ["c[0].smart_hosts[0]", "c[0].priority", "c[0].commnet"]
    assert "did you mean 'comment'?" in errors[-1].message


@pytest.mark.parametrize(
    ("audiences", "paths"),
    [([""], ["i[0].audiences[0]"]), (["", "a"], ["i[0].audiences[0]"]), ([], ["i[0].audiences"])],
)
def test_a_list_is_not_too_short_for_wrong_entries(audiences: list[str], paths: list[str]) -> None:
    errors: list[FieldError] = []
    read(OauthIssuer, {"name": "x", "issuer": "https://x.example", "audiences": audiences}, "i[0]", errors)
    assert [error.path for error in errors] == paths


def test_without_its_name_a_table_is_still_checked() -> None:
    errors: list[FieldError] = []
    draft = read(OutboundConnector, {"enabled": False}, "c[0]", errors)
    assert draft is not None
    assert draft.bad == {"name"}
    assert not draft.value.enabled


def test_without_another_obligatory_key_nothing_is_left_to_check() -> None:
    errors: list[FieldError] = []
    assert read(Mailbox, {"delivery": "maildir"}, "m[0]", errors) is None
    assert [str(error) for error in errors] == ["m[0].address: is required: it has no default"]


def test_other_placeholders_can_be_given() -> None:
    errors: list[FieldError] = []
    draft = read(Mailbox, {"address": "nobody"}, "", errors, {"address": "a@b.example"})
    assert draft is not None
    assert draft.value.address == "a@b.example"
    assert [error.path for error in errors] == ["address"]


def test_keys_of_a_table_inside_are_suggested() -> None:
    errors: list[FieldError] = []
    read(OutboundConnector, {"name": "x", "client_certificate": {"chian": "a", "key": "b"}}, "c[0]", errors)
    assert [error.path for error in errors] == ["c[0].client_certificate.chian"]
    assert "did you mean 'chain'?" in errors[0].message


def test_names_of_attributes_are_no_keys_of_a_document() -> None:
    errors: list[FieldError] = []
    read(Organization, {"name": "contoso", "mailboxes": []}, "o", errors)
    assert "did you mean 'mailbox'?" in errors[0].message


def test_tables_are_named_by_place_and_name() -> None:
    errors: list[FieldError] = []
    found = tables([{"name": "bank"}, {"address": "a@b.example"}, {"name": 5}, {}], "o.c", errors)
    assert [path for path, _ in found] == ["o.c[0] 'bank'", "o.c[1] 'a@b.example'", "o.c[2]", "o.c[3]"]
    assert not errors


@pytest.mark.parametrize("value", [{"name": "x"}, "x", 5, None])
def test_what_is_no_list_of_tables_is_reported(value: object) -> None:
    errors: list[FieldError] = []
    assert tables(value, "o.mailbox", errors) == []
    assert [str(error) for error in errors] == [
        "o.mailbox: must be a list of tables: write each under its own [[o.mailbox]] heading"
    ]


def test_what_is_no_table_in_a_list_is_reported_and_passed_over() -> None:
    errors: list[FieldError] = []
    assert tables(["x", {"name": "y"}], "o.c", errors) == [("o.c[1] 'y'", {"name": "y"})]
    assert [error.path for error in errors] == ["o.c[0]"]


def test_parts_that_were_not_written_stay_unwritten() -> None:
    draft = OrganizationDraft(
        Draft("o", Organization(name="o")),
        [Draft("d", AcceptedDomain(name="x.example"))],
        [],
        [],
        [],
        [],
        oauth=[],
        hooks=[],
        dkim=[],
    )
    assembled = draft.assembled()
    assert assembled.accepted_domains == (AcceptedDomain(name="x.example"),)
    assert assembled.model_fields_set == {"name", "accepted_domains"}


def test_a_list_that_is_too_long_is_reported_and_not_read() -> None:
    errors: list[FieldError] = []
    table = {"name": "x", "issuer": "https://a.example", "audiences": ["", "", ""]}
    assert read(OauthIssuer, table, "o", errors, most=2) is None, "it is obligatory"
    assert [str(error) for error in errors] == ["o.audiences: has 3 entries; a list may have at most 2"]
    draft = read(OutboundConnector, {"name": "x", "smart_hosts": ["a.example", "b.example"]}, "o", errors, most=1)
    assert draft is not None
    assert (draft.value.smart_hosts, draft.bad) == ((), {"smart_hosts"})
    assert len(errors) == 2
    assert read(OutboundConnector, {"name": "x", "smart_hosts": ["a.example"]}, "o", errors, most=1).bad == set()
