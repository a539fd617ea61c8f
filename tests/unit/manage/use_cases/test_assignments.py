from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.manage.use_cases.assignments import assign, completions, merge, words
from gatepost.policy.connectors.mail_flow_rule import MailFlowRule
from gatepost.policy.connectors.record_base import keys, record_in
from gatepost.policy.connectors.records import InboundConnector, Organization, OutboundConnector

# model, table before, words, table after
DONE = [
    (OutboundConnector, {}, ["name=bank"], {"name": "bank"}),
    (OutboundConnector, {"comment": "old"}, ["comment=a = b, c"], {"comment": "a = b, c"}),
    (OutboundConnector, {"comment": "old"}, ["comment="], {}),
    (OutboundConnector, {}, ["comment="], {}),
    (OutboundConnector, {}, ["comment=two\nlines"], {"comment": "two\nlines"}),
    (
        OutboundConnector,
        {},
        ["enabled=false", "all_accepted_domains=true"],
        {"enabled": False, "all_accepted_domains": True},
    ),
    (OutboundConnector, {}, ["priority=007"], {"priority": 7}),
    (OutboundConnector, {}, ["priority=-1"], {"priority": -1}),  # `parse` says that it is too small
    (OutboundConnector, {}, ["tls_settings=strong"], {"tls_settings": "strong"}),  # and this
    (OutboundConnector, {}, ["smart_hosts=a.example, B.example:25 ,"], {"smart_hosts": ["a.example", "b.example"]}),
    (
        OutboundConnector,
        {},
        ["smart_hosts=a.example", "smart_hosts=b.example"],
        {"smart_hosts": ["a.example", "b.example"]},
    ),
    (OutboundConnector, {"smart_hosts": ["old.example"]}, ["smart_hosts=a.example"], {"smart_hosts": ["a.example"]}),
    (
        OutboundConnector,
        {"smart_hosts": ["a.example"]},
        ["smart_hosts+=b.example"],
        {"smart_hosts": ["a.example", "b.example"]},
    ),
    (OutboundConnector, {"smart_hosts": ["a.example"]}, ["smart_hosts+=A.Example"], {"smart_hosts": ["a.example"]}),
    (
        OutboundConnector,
        {"smart_hosts": ["a.example", "b.example"]},
        ["smart_hosts-=A.example"],
        {"smart_hosts": ["b.example"]},
    ),
    (OutboundConnector, {"smart_hosts": ["a.example"]}, ["smart_hosts-=a.example"], {}),
    (OutboundConnector, {"smart_hosts": ["a.example"]}, ["smart_hosts="], {}),
    (
        OutboundConnector,
        {"smart_hosts": ["a.example"]},
        ["smart_hosts=", "smart_hosts+=b.example"],
        {"smart_hosts": ["b.example"]},
    ),
    (OutboundConnector, {"smart_hosts": ["a.example"]}, ["smart_hosts=b.example", "smart_hosts="], {}),
    (OutboundConnector, {}, ["smart_hosts=[2001:DB8::1]:25,[::2]:26"], {"smart_hosts": ["[2001:db8::1]", "[::2]:26"]}),
    (OutboundConnector, {}, ["smart_hosts=a b"], {"smart_hosts": ["a b"]}),
    (InboundConnector, {"sender_ip_addresses": ["192.0.2.1"]}, ["sender_ip_addresses-=192.0.2.1/32"], {}),
    (MailFlowRule, {}, ['header_contains=["a, b", "c"]'], {"header_contains": ["a, b", "c"]}),
    (MailFlowRule, {}, ["header_contains=[EXTERNAL],[1"], {"header_contains": ["[EXTERNAL]", "[1"]}),
    (MailFlowRule, {}, ["header_contains=[1]"], {"header_contains": ["[1]"]}),
    (
        OutboundConnector,
        {},
        ["client_certificate.chain=/a=b", "client_certificate.key=/k"],
        {"client_certificate": {"chain": "/a=b", "key": "/k"}},
    ),
    (
        OutboundConnector,
        {"client_certificate": {"chain": "/a", "key": "/k"}},
        ["client_certificate.key=/n"],
        {"client_certificate": {"chain": "/a", "key": "/n"}},
    ),
    (OutboundConnector, {"client_certificate": {"chain": "/a", "key": "/k"}}, ["client_certificate="], {}),
    (OutboundConnector, {"client_certificate": {"chain": "/a"}}, ["client_certificate.chain="], {}),
    (
        Organization,
        {"mailbox": [{"address": "a@b"}]},
        ["message_expiration=12h"],
        {"mailbox": [{"address": "a@b"}], "message_expiration": "12h"},
    ),
]


@pytest.mark.parametrize(("model", "before", "given_words", "after"), DONE, ids=[" ".join(one[2]) for one in DONE])
def test_words_change_a_table(model, before, given_words, after):
    table = {**before}
    assert assign(model, table, given_words) == []
    assert table == after


# model, table before, words, (field, part of the text) of each error; the table stays
REFUSED = [
    (OutboundConnector, {}, ["comment"], [("comment", "must be KEY=VALUE; the keys are: name, enabled, ")]),
    (OutboundConnector, {}, ["=x"], [("=x", "must be KEY=VALUE")]),
    (OutboundConnector, {}, ["a b=x"], [("a b=x", "must be KEY=VALUE")]),
    (OutboundConnector, {}, ["tls_domian=x"], [("tls_domian", "did you mean 'tls_domain'?")]),
    (OutboundConnector, {}, ["tls_domian.x=x"], [("tls_domian.x", "did you mean 'tls_domain'?")]),
    (OutboundConnector, {}, ["zzz=x"], [("zzz", "known here: address_family, all_accepted_domains, ")]),
    (OutboundConnector, {}, ["enabled=yes"], [("enabled", "'yes' does not fit; expected: true or false")]),
    (OutboundConnector, {}, ["enabled=True"], [("enabled", "'True' does not fit; expected: true or false")]),
    (OutboundConnector, {}, ["priority=1.5"], [("priority", "'1.5' does not fit; expected: whole number, 0 to 1000")]),
    (OutboundConnector, {}, ["priority=" + "9" * 5000], [("priority", "expected: whole number")]),
    (OutboundConnector, {}, ["priority+=1"], [("priority", "holds one value, so += cannot be; write priority=VALUE")]),
    (OutboundConnector, {}, ["priority-=1"], [("priority", "so -= cannot be")]),
    (
        OutboundConnector,
        {},
        ["tls_settings.x=1"],
        [("tls_settings.x", "tls_settings is not a table; write tls_settings=VALUE")],
    ),
    (
        OutboundConnector,
        {},
        ["client_certificate=/a"],
        [("client_certificate", "write its fields: client_certificate.label=VALUE, client_certificate.chain=")],
    ),
    (OutboundConnector, {}, ["client_certificate.="], [("client_certificate.", "is a table")]),
    (OutboundConnector, {}, ["client_certificate.cert=/a"], [("client_certificate.cert", "known here: chain, key")]),
    (OutboundConnector, {}, ["client_certificate.chain+=/a"], [("client_certificate.chain", "holds one value")]),
    (
        OutboundConnector,
        {},
        ["smart_hosts-=a.example"],
        [("smart_hosts", "'a.example' is not in it; it holds: nothing")],
    ),
    (
        OutboundConnector,
        {"smart_hosts": ["b.example"]},
        ["smart_hosts-=a.example,c.example"],
        [("smart_hosts", "'a.example', 'c.example' is not in it; it holds: b.example")],
    ),
    (
        Organization,
        {},
        ["mailbox+=ann@contoso.example"],
        [("mailbox", "have commands of their own, such as `gatepost mailbox add`")],
    ),
    (Organization, {}, ["mail_flow_rule=x"], [("mail_flow_rule", "`gatepost rule add`")]),
    (Organization, {}, ["oauth_issuer=x"], [("oauth_issuer", "`gatepost issuer add`")]),
    (
        OutboundConnector,
        {},
        ["zzz=1", "enabled=1", "x"],
        [("zzz", "unknown"), ("enabled", "'1'"), ("x", "must be KEY=VALUE")],
    ),
]


@pytest.mark.parametrize(("model", "before", "given_words", "said"), REFUSED, ids=[one[2][0][:40] for one in REFUSED])
def test_words_that_are_wrong_are_all_named(model, before, given_words, said):
    table = {**before}
    errors = assign(model, table, given_words)
    assert [error.path for error in errors] == [path for path, _ in said]
    for error, (_, text) in zip(errors, said, strict=True):
        assert text in error.message
    assert table == before


def test_one_value_is_given_once():
    table = {}
    (error,) = assign(OutboundConnector, table, ["priority=1", "priority=2"])
    assert str(error) == "priority: is given twice; write it once"


def test_every_list_of_resources_has_its_own_command():
    for key, info in keys(Organization).items():
        if info.alias is not None:
            (error,) = assign(Organization, {}, [f"{key}=x"])
            assert "commands of their own" in error.message
            assert record_in(info.annotation) is not None


TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
LABELS = st.from_regex(r"[a-z]{1,8}\.example", fullmatch=True)
CONNECTORS = st.fixed_dictionaries(
    {},
    optional={
        "enabled": st.booleans(),
        "priority": st.integers(0, 1000),
        "comment": TEXT,
        "recipient_domains": st.lists(LABELS, min_size=1, max_size=4, unique=True),
        "smart_hosts": st.lists(LABELS | st.just("[2001:db8::1]"), min_size=1, max_size=4, unique=True),
        "tls_settings": st.sampled_from(["encryption-only", "domain-validation"]),
        "client_certificate": st.fixed_dictionaries({"chain": TEXT, "key": TEXT}),
    },
)
RULES = st.fixed_dictionaries(
    {}, optional={"header_contains": st.lists(TEXT, min_size=1, max_size=4, unique=True), "require_tls": st.booleans()}
)


@given(CONNECTORS)
def test_a_connector_as_words_is_the_same_connector(table):
    again = {}
    assert assign(OutboundConnector, again, words(OutboundConnector, table)) == []
    assert again == table


@given(RULES)
def test_words_with_commas_brackets_and_blanks_come_back(table):
    again = {}
    assert assign(MailFlowRule, again, words(MailFlowRule, table)) == []
    assert again == table


def test_lists_of_resources_are_no_words():
    table = {"display_name": "C", "mailbox": [{"address": "a@b.example"}]}
    assert words(Organization, table) == ["display_name=C"]


MERGED = [
    ({}, {"comment": "x", "priority": 5}, {"comment": "x", "priority": 5}),
    ({"comment": "x"}, {"comment": None}, {}),
    ({}, {"comment": None}, {}),
    ({"smart_hosts": ["a.example"]}, {"smart_hosts": ["b.example"]}, {"smart_hosts": ["b.example"]}),
    (
        {"client_certificate": {"chain": "/c", "key": "/k"}},
        {"client_certificate": {"key": "/n"}},
        {"client_certificate": {"chain": "/c", "key": "/n"}},
    ),
    ({"client_certificate": {"label": "a"}}, {"client_certificate": {"label": None}}, {}),
    ({"client_certificate": "wrong"}, {"client_certificate": {"label": "a"}}, {"client_certificate": {"label": "a"}}),
]


@pytest.mark.parametrize(("table", "values", "merged"), MERGED)
def test_values_are_merged_as_a_json_merge_patch_is(table, values, merged):
    assert merge(OutboundConnector, table, values) == []
    assert table == merged


def test_keys_that_cannot_be_merged_are_named_and_leave_the_table_alone():
    table = {"display_name": "C"}
    errors = merge(Organization, table, {"displayname": "x", "mailbox": [], "mailboxes": []})
    assert [error.path for error in errors] == ["displayname", "mailbox", "mailboxes"]
    assert "did you mean 'display_name'?" in errors[0].message
    assert ["PATCH /resources" in error.message for error in errors] == [False, True, True]
    assert table == {"display_name": "C"}


# the word that is begun -> what completes it
BEGUN = [
    ("mode=", ["mode=enforce", "mode=rehearse"]),
    ("authentication.user", ["authentication.username="]),
    ("tls_dom", ["tls_domain="]),
    ("tls_minimum+=1", []),
    ("inbound", []),
]


@pytest.mark.parametrize(("begun", "found"), BEGUN)
def test_a_word_that_is_begun_is_completed(begun, found):
    assert completions([OutboundConnector], begun) == found


def completions_of(model):
    return [word.rstrip("=") for word in completions([model], "")]


def test_every_key_that_is_completed_may_be_assigned():
    for model in (InboundConnector, OutboundConnector, MailFlowRule, Organization):
        for key in completions_of(model):
            assert [error for error in assign(model, {}, [f"{key}="]) if "unknown" in error.message] == []
