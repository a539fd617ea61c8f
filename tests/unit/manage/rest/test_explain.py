from __future__ import annotations

import msgspec
import pytest

from gatepost.decoding import converted, from_json
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.rest.endpoint import RestEndpoint
from gatepost.manage.use_cases.client import LocalClient
from gatepost.manage.use_cases.explain import MAX_PEM, ExplainMessage, ExplainReport, explain_message
from gatepost.manage.use_cases.refusal import BusyRefusal, Refusal, RefusalKind

from .conftest import OWNER, ROOT

ANN, LIZ, BANK = "ann@contoso.example", "liz@fabrikam.example", "joe@bank.example"
READER = Principal("rob", frozenset({Scope.READ}))
TENANT = Principal("tim", frozenset({Scope.READ}), frozenset({"contoso"}))
HOSTILE = '"<b>\x1b"@bank.example'


def ask(api, sender=BANK, to=ANN, **more):
    return api.call("POST", "/explain", {"from": sender, "to": to, **more})


ASKED = [
    {},
    {"sender": ""},
    {"sender": "<>"},
    {"sender": ANN, "to": BANK},
    {"sender": ANN, "to": LIZ, "ip": "2001:db8::7"},
    {"sender": "x@other.test", "to": "y@internet.test"},
    {"to": "nobody@contoso.example"},
    {"to": "postmaster"},
    {"tls": "TLSv1.2"},
    {"tls": "none"},
    {"requiretls": True},
    {"header": ["X-Secret: yes", "X-Secret: no", "Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?="]},
    {"ip": " 192.0.2.1 "},
]


@pytest.mark.parametrize("more", ASKED)
@pytest.mark.parametrize("who", [OWNER, READER, TENANT], ids=["owner", "reader", "tenant"])
def test_the_answer_is_that_of_the_command_and_of_its_shape(api, who, more):
    api.who = who
    given = {"sender": BANK, "to": ANN} | more
    question, local = ExplainMessage(**given), LocalClient(api.gateway, who)
    answer = ask(api, **more)
    if answer.status != 200:
        assert who is TENANT
        with pytest.raises(Refusal, match="an organization that you see"):
            local.call(explain_message, question)
        return
    assert answer.json == from_json(msgspec.json.encode(local.call(explain_message, question)))
    found = converted(answer.json, ExplainReport)
    assert (found.sender, found.stage in {"MAIL FROM", "RCPT TO"}) == (answer.json["from"], True)
    assert set(answer.json) <= {field.encode_name for field in msgspec.structs.fields(ExplainReport)}


def test_a_certificate(api):
    chain, _ = ROOT.issue(["mail.bank.example"])
    found = ask(api, certificate=chain.decode()).json
    assert (found["certificate"], found["tls"]) == (True, "TLSv1.3")
    assert "revocation" in [one["field"] for one in found["assumed"]]
    assert b"BEGIN" not in ask(api, certificate=chain.decode()).body


WRONG = [
    ({"sender": "a b"}, ["from"]),
    ({"to": ""}, ["to"]),
    ({"to": "<>"}, ["to"]),
    ({"to": "x" * 1001}, ["to"]),
    ({"to": None}, ["to"]),
    ({"ip": "here"}, ["ip"]),
    ({"ip": "1" * 101}, ["ip"]),
    ({"tls": "SSLv3"}, ["tls"]),
    ({"tls": "none", "requiretls": True}, ["tls"]),
    ({"certificate": "none"}, ["certificate"]),
    ({"certificate": "x" * (MAX_PEM + 1)}, ["certificate"]),
    ({"certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}, ["certificate"]),
    ({"header": ["no field"]}, ["header"]),
    ({"header": ["ü: x"]}, ["header"]),
    ({"header": ["X: y"] * 501}, ["header"]),
    ({"header": ["X: " + "y" * 20_000]}, ["header[0]"]),
    ({"header": "X: y"}, ["header"]),
    ({"live": "yes"}, ["live"]),
    ({"sender": "a b", "to": "c d", "ip": "x"}, ["from", "to", "ip"]),
    ({"recipient": ANN}, ["recipient"]),
]


@pytest.mark.parametrize(("more", "paths"), WRONG)
def test_what_is_wrong_is_said_by_field_and_all_at_once(api, more, paths):
    answer = ask(api, **more)
    assert (answer.problem, answer.paths) == ("invalid", paths)


def test_what_is_left_out_is_missing(api):
    assert api.call("POST", "/explain", {"from": BANK}).paths == ["to"]
    assert api.call("POST", "/explain", {}).paths == ["from", "to"]


def test_words_of_strangers_come_back_as_they_were(api):
    answer = ask(api, sender=HOSTILE, header=["X-Secret: <b>\x1b"])
    assert answer.status == 422, "a control character is none of an address"
    answer = ask(api, sender='"<b>"@bank.example')
    assert answer.json["from"] == '"<b>"@bank.example'


def test_who_may_ask_about_whom(api):
    api.who = TENANT
    assert ask(api, sender=BANK, to=LIZ).paths == ["to"]
    found = ask(api, sender=ANN, to=LIZ).json
    assert (found["inbound"], found["outbound"], found["succeeds"]) == (None, None, None)
    assert found["withheld"] == ["inbound", "outbound"]
    api.who = Principal("tom", frozenset({Scope.READ}), frozenset({"fabrikam"}))
    assert "bank/out" not in str(ask(api, sender=LIZ, to=BANK).json)
    api.who = Principal("q", frozenset({Scope.QUEUE}))
    assert ask(api).problem == "forbidden"


def test_it_is_on_record_without_a_certificate(api):
    chain, _ = ROOT.issue(["mail.bank.example"])
    ask(api, certificate=chain.decode())
    (event,) = [one for one in api.accounts.audit_events(OWNER) if one.action == "explain"]
    assert (event.subject, event.detail) == (ANN, {"from": BANK, "live": False})


@pytest.mark.parametrize(
    ("refusal", "problem"),
    [(BusyRefusal("other looks are under way"), "throttled"), (Refusal(RefusalKind.UNREADABLE, "gone"), "unreadable")],
)
def test_too_many_looks_are_told_to_wait(api, monkeypatch, refusal, problem):
    def refuse(*_):
        raise refusal

    monkeypatch.setattr("gatepost.manage.use_cases.explain.explain", refuse)
    answer = ask(api, live=True)
    assert answer.problem == problem
    assert ("retry-after" in answer.headers) is (problem == "throttled")


def test_a_gateway_without_resources_says_that_it_is_empty(api_of):
    found = ask(api_of(RestEndpoint(explain_message))).json
    assert (found["empty"], found["outbound"], found["succeeds"]) == (True, None, False)
