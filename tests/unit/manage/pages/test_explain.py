from __future__ import annotations

import html
import re
import shlex
from contextlib import closing
from urllib.parse import quote, urlencode, urlsplit

import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.access.principal import Scope
from gatepost.manage.access.records import Actor
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.store.sqlite.trace import write_events

from .conftest import MARKUP, ROOT, Centre

ANN, BANK, LIZ = "ann@contoso.example", "x@bank.example", "liz@fabrikam.example"
MESSAGE = "000000000000001a"
ASKED = f"/explain?sender={BANK}&recipient={ANN}"


@pytest.fixture(scope="module")
def centre(tmp_path_factory):
    """One for all tests: they only ask."""
    with closing(Centre(tmp_path_factory.mktemp("explain"))) as made:
        yield made


def shared(answer):
    """The address of the question and the command, as a page gives them to be copied."""
    part = answer.text.partition('id="share"')[2]
    return [
        html.unescape(re.sub(r"<[^>]+>", "", one)) for one in re.findall(r"<code[^>]*>(.*?)</code>", part, re.DOTALL)
    ]


def test_the_page_asks_before_it_answers(centre):
    page = centre.get("/explain")
    assert page.status == 200
    assert 'id="answer"' not in page.text
    assert 'id="share"' not in page.text


def test_an_answer_can_be_asked_for_again_elsewhere(centre):
    page = centre.get(
        f"{ASKED}&ip=192.0.2.1&tls=TLSv1.2&headers={quote('X-A: 1\nX-B: $(x)')}&requiretls=on&organization=contoso"
    )
    assert page.status == 200
    address, command = shared(page)
    assert urlsplit(address).netloc == "localhost"
    again = centre.get(address.removeprefix("https://localhost"))
    assert shared(again) == [address, command], "the address asks the same"
    assert shlex.split(command) == [
        "gatepost", "explain", "--from", BANK, "--to", ANN, "--ip", "192.0.2.1", "--tls", "TLSv1.2",
        "--header", "X-A: 1", "--header", "X-B: $(x)", "--requiretls",
    ]  # fmt: skip


@pytest.mark.parametrize("sender", ["", "<>"])
def test_the_null_sender(centre, sender):
    page = centre.get(f"/explain?sender={sender}&recipient={ANN}")
    assert page.status == 200
    assert "<>" in page.words
    assert shlex.split(shared(page)[1])[3] == "<>"


WRONG = [
    ("sender=x&recipient=", "recipient", "is not a mail address"),
    ("sender=a@b..c&recipient=ann@contoso.example", "sender", "is not a mail address"),
    (f"sender=&recipient={'a' * 5000}@contoso.example", "recipient", "at most 1,000"),
    (f"sender={BANK}&recipient={ANN}&ip=256.1.1.1", "ip", "is not an IP address"),
    (f"sender={BANK}&recipient={ANN}&tls=SSLv3", "tls", "is not possible here"),
    (f"sender={BANK}&recipient={ANN}&tls=none&requiretls=on", "tls", "none with REQUIRETLS"),
    (f"sender={BANK}&recipient={ANN}&headers=no%20colon", "headers", "is not a field"),
    (
        f"sender={quote(MARKUP)}&recipient={quote(MARKUP)}&ip={quote(MARKUP)}&headers={quote(MARKUP)}",
        "ip",
        "is not an IP",
    ),
]


@pytest.mark.parametrize(("query", "field", "told"), WRONG)
def test_what_is_wrong_is_said_at_its_field(centre, query, field, told):
    page = centre.get(f"/explain?{query}")
    assert page.status == 422
    assert told in page.words
    assert f'href="#field-{field}"' in page.text
    assert "<script>" not in page.text
    assert 'id="answer"' not in page.text


def test_markup_that_is_a_good_address_is_text(centre):
    evil = '"<script>alert(1)</script>"@bank.example'
    page = centre.get(f"/explain?sender={quote(evil)}&recipient={ANN}&headers={quote('X-A: <script>')}")
    assert page.status == 200
    assert "<script>" not in page.text


@pytest.mark.parametrize(("number", "status"), [(500, 200), (501, 422)])
def test_a_header_has_a_limit_and_is_part_of_no_long_link(centre, number, status):
    many = "\n".join(f"X-{one}: y" for one in range(number))
    form = urlencode({"sender": BANK, "recipient": ANN, "headers": many})
    page = centre.ask("POST", "/explain", "owner", form.encode(), {})
    assert page.status == status
    if status == 422:
        assert "at most 500" in page.words
        return
    (command,) = shared(page)  # and no link
    assert shlex.split(command).count("--header") == 500


def test_a_certificate_is_sent_by_a_form_and_stands_in_no_address(centre):
    chain = ROOT.issue(["mail.bank.example"])[0].decode()
    page = centre.post("/explain", sender=BANK, recipient=ANN, certificate=chain)
    assert page.status == 200
    assert "over TLSv1.3, with a certificate" in page.words
    (command,) = shared(page)
    assert "--certificate client.pem" in command
    assert chain.splitlines()[1] not in command
    linked = centre.get(f"{ASKED}&certificate={quote(chain)}&live=on")
    assert "unencrypted" in linked.words, "neither by a link"
    assert "--live" not in shared(linked)[1]


def test_a_key_that_was_pasted_along_is_not_shown_again(centre):
    chain, key = (one.decode() for one in ROOT.issue(["mail.bank.example"]))
    for pasted, status in ((key, 422), (key + chain, 200)):
        page = centre.post("/explain", sender=BANK, recipient=ANN, certificate=pasted)
        assert page.status == status
        assert "PRIVATE KEY" not in page.text
    assert chain.splitlines()[1] in page.text, "what may be shown stays in the form"
    refused = centre.post("/explain", sender=BANK, recipient=ANN, certificate=key)
    assert "has no certificate in PEM form" in refused.words


def test_a_look_at_the_next_hops_is_set_off_by_a_form_alone(centre, monkeypatch):
    looked = []
    monkeypatch.setattr("gatepost.manage.use_cases.explain._live", lambda *_: looked.append(1) or ())
    assert (
        "No server is tried: the mail goes into a mailbox here, to another node of the site, or nowhere"
        not in centre.get(f"{ASKED}&live=on").words
    )
    assert looked == []
    page = centre.post("/explain", sender=BANK, recipient=ANN, live="on")
    assert (page.status, looked) == (200, [1])
    assert (
        "No server is tried: the mail goes into a mailbox here, to another node of the site, or nowhere" in page.words
    )
    assert shared(page)[1].endswith(" --live")


def test_who_may_ask_about_whom(centre):
    assert centre.get(ASKED, "reader").status == 200
    refused = centre.get(ASKED, "tenant")
    assert refused.status == 422
    assert "an organization that you see" in refused.words
    page = centre.get(f"/explain?sender={ANN}&recipient={LIZ}", "tenant")
    assert page.status == 200
    for hidden in ("bank-in", "bank-out", "X-Secret"):
        assert hidden not in page.text
    centre.tokens["blind"] = centre.accounts.add_token("blind", [Scope.QUEUE], actor=Actor("", ""))
    assert centre.get(ASKED, "blind").status == 403
    assert centre.post("/explain", "blind", sender=BANK, recipient=ANN).status == 403


def test_a_store_that_cannot_be_read_is_no_wrong_question(centre, monkeypatch):
    def unreadable(*_):
        raise Refusal(RefusalKind.UNREADABLE, "the store is gone")

    monkeypatch.setattr("gatepost.manage.use_cases.explain.explain", unreadable)
    page = centre.get(ASKED)
    assert (page.status, "the store is gone" in page.words.lower()) == (503, True)


def test_too_many_looks_at_once_are_said_on_the_page(centre, monkeypatch):
    def busy(*_):
        raise Refusal(RefusalKind.CONFLICT, "other looks at next hops are under way")

    monkeypatch.setattr("gatepost.manage.use_cases.explain.explain", busy)
    page = centre.post("/explain", sender=BANK, recipient=ANN, live="on")
    assert page.status == 422
    assert "other looks at next hops are under way" in page.words.lower()
    assert page.value("sender") == BANK, "what was filled in stays"


# real mail, asked about again


@pytest.fixture(scope="module")
def past(centre):
    usual = {
        "at": 1_795_528_800.0, "message": MESSAGE, "organization": "contoso", "direction": "incoming",
        "session": "5e55", "sender": BANK, "peer_address": "198.51.100.7", "requirement": "opportunistic",
    }  # fmt: skip
    rows = [
        TraceEvent(event="RECEIVE", recipient=one, subject=f"about {MARKUP}", reply="250 ok", **usual)
        for one in (ANN, f"<b>{ANN}")
    ]
    write_events(centre.gateway.data / "trace", "0", rows)
    return centre


def test_a_message_is_asked_about_again(past):
    page = past.get(f"/explain?message={MESSAGE}")
    assert page.status == 200
    assert 'id="then"' in page.text
    assert "<script>" not in page.text
    assert f"message={MESSAGE}&amp;recipient=%3Cb%3E" in page.text, "other recipients are linked"
    assert page.value("ip") == "198.51.100.7"
    assert "with today's rules the result" in page.words.lower()
    address, command = shared(page)
    assert past.get(address.removeprefix("https://localhost")).status == 200
    assert shlex.split(command)[-2:] == ["--header", f"Subject: about {MARKUP}"]


@pytest.mark.parametrize(
    "query", ["message=0000000000000fff", f"message={MESSAGE}&recipient=no@body.example", "message=%00"]
)
def test_a_message_that_is_not_known(past, query):
    page = past.get(f"/explain?{query}")
    assert (page.status, "trace has" in page.words.lower()) == (404, True)


def test_a_tenant_does_not_learn_of_others_mail(past):
    page = past.get(f"/explain?message={MESSAGE}", "tenant")
    assert page.status == 404
    assert BANK not in page.words
