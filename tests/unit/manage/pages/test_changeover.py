"""The page of a changeover, on a store with a master key; nothing answers where the DNS server should be."""

from __future__ import annotations

import re
import time
from http.cookies import SimpleCookie

import pytest
from tests.unit.manage.calls import run

from gatepost.analysis.checks.changeover import Traffic
from gatepost.analysis.checks.gates import GateCheck, GateFinding, GateReport, Partner
from gatepost.analysis.checks.partner_report import Mark
from gatepost.manage.pages import gate_checks, signed_cookies
from gatepost.manage.use_cases import certificate_views
from gatepost.manage.use_cases.certificates import certificate as stored
from gatepost.manage.use_cases.changeover import ChangeoverCheck
from gatepost.manage.use_cases.changeover_steps import switch_certificate
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.pki.certificates.entry import Purpose, State, document_of
from gatepost.values import replace

from .conftest import HOST, MARKUP, OWNER, certificate, recorded

STEPS = ("switch", "cancel", "roll-back", "withdraw", "stage", "told", "gates")
PAGES = ("changeover", "notice", "presented")


def said(answer):
    """What the next page says once: its level and its text."""
    found = signed_cookies.read(
        {signed_cookies.COOKIE: SimpleCookie(answer.headers["set-cookie"])[signed_cookies.COOKIE].value}, "token owner"
    )
    return found.level, found.text


def state(centre, one):
    return stored(centre.gateway, one.id).entry.state


def audit_events(centre):
    """What was done or tried, the newest last."""
    found = [one for one in centre.accounts.audit_events(OWNER) if one.action.startswith("certificate-")]
    return [(one.action, str(one.outcome), one.subject) for one in reversed(found)]


@pytest.fixture(autouse=True)
def _nothing_is_kept(monkeypatch):
    monkeypatch.setattr(gate_checks, "_checks", type(gate_checks._checks)())


@pytest.fixture
def pair(sealing):
    """A current certificate, and a next one for its name and another."""
    sealing.old = certificate(sealing, current=True)
    sealing.new = certificate(sealing, HOST, "mail.gate.example")
    sealing.path = f"/certificates/{sealing.new.id}"
    return sealing


@pytest.fixture
def green(monkeypatch):
    """All checks passed, but for the findings that are given."""

    def look(*findings):
        def found(gateway, inventory, entry, scene, tell=None):
            return GateReport(entry, scene.now, findings)

        monkeypatch.setattr("gatepost.manage.use_cases.changeover.run_gate_checks", found)
        monkeypatch.setattr("gatepost.manage.use_cases.changeover_steps.run_gate_checks", found)

    look()
    return look


def seen(centre, one, *findings, **more):
    """As if a look had found that."""
    report = GateReport(one, time.time(), findings)
    given = {"entries": {}, "report": report, "traffic": None, "partners": (), "now": report.at} | more
    return gate_checks.keep(centre.gateway, ChangeoverCheck(one, **given))


# who may come here


def test_they_are_the_gateways(pair):
    for name in PAGES:
        assert pair.get(f"{pair.path}/{name}", "tenant").status == 404
        assert pair.get(f"{pair.path}/{name}", "reader").status == 200
    assert pair.get(f"{pair.path}/gates", "tenant").status == 404
    assert pair.get("/certificates/changeover", "tenant").status == 404


@pytest.mark.parametrize("step", STEPS)
def test_who_reads_changes_nothing_and_a_tenant_finds_nothing(pair, step):
    assert pair.post(f"{pair.path}/{step}", "reader", reason="x").status == 403
    assert pair.post(f"{pair.path}/{step}", "tenant", reason="x").status == 404
    assert (state(pair, pair.new), state(pair, pair.old)) == (State.NEXT, State.CURRENT)


def test_who_reads_has_nothing_to_press(pair):
    for who, there in (("owner", True), ("reader", False)):
        main = pair.get(f"{pair.path}/changeover", who).text.partition("<main")[2]
        for wanted in (
            f'action="{pair.path}/switch"',
            f'hx-post="{pair.path}/gates"',
            'type="checkbox"',
            "Mark as notified",
        ):
            assert (wanted in main) is there, (who, wanted)


@pytest.mark.parametrize("number", ["0123456789abcdef", "x", "%00", "9" * 3000, "%2e%2e"])
def test_what_is_not_there(sealing, number):
    for name in PAGES:
        assert sealing.get(f"/certificates/{number}/{name}").status == 404
    for step in STEPS:
        assert sealing.post(f"/certificates/{number}/{step}", reason="x").status == 404
    assert sealing.get(f"/certificates/{number}/gates").status == 404


def test_a_look_is_begun_from_a_page_of_ours_alone(centre, person, entry, monkeypatch):
    """A link of a stranger's page must not have us ask authorities and the DNS."""
    monkeypatch.setattr(gate_checks, "checked_changeover", lambda *_: pytest.fail("it looked"))
    one = recorded(centre, entry("a"))
    ann, path = person(), f"/certificates/{one.id}/gates"
    assert ann.get(path).status == 403
    for wrong in ("", "x", ann.session.csrf[:-1], "\N{LATIN SMALL LETTER E WITH ACUTE}"):
        assert ann.get(path, x_csrf_token=wrong).status == 403
    assert ann.get(f"/certificates/{one.id}/changeover").status == 200


# what is under way


def test_nothing_is_under_way(sealing):
    assert "No changeover in progress" in sealing.get("/certificates/changeover").words
    certificate(sealing, current=True)
    assert "No changeover in progress" in sealing.get("/certificates/changeover", "reader").words


def test_the_only_one_is_shown_at_once_and_several_to_choose(pair):
    answer = pair.get("/certificates/changeover")
    assert (answer.status, answer.headers["location"]) == (303, f"{pair.path}/changeover")
    other = certificate(pair, "other.gate.example")
    recorded(pair, replace(stored(pair.gateway, other.id).entry, state=State.NEXT, label=MARKUP))
    page = pair.get("/certificates/changeover")
    assert "1 to 2 of 2 changeovers in progress" in page.words
    assert "<script>" not in page.text


def test_old_and_new_stand_side_by_side(pair):
    page = pair.get(f"{pair.path}/changeover")
    assert page.text.index(f'id="c{pair.old.id}"') < page.text.index(f'id="c{pair.new.id}"')
    for wanted in ("Current", "Next", "bank.example", "Not run yet", "added as next"):
        assert wanted in page.words
    assert "No current certificate would cover these names after the switch" not in page.words


def test_names_that_would_be_lost_are_said(sealing):
    old = certificate(sealing, HOST, "mail.gate.example", current=True)
    new = certificate(sealing, HOST)
    words = sealing.get(f"/certificates/{new.id}/changeover").words
    assert "No current certificate would cover these names after the switch: mail.gate.example" in words
    assert sealing.get(f"/certificates/{old.id}/changeover").status == 200


@pytest.mark.parametrize("one", list(State))
def test_every_state_has_a_page(sealing, entry, one):
    odd = entry("odd", MARKUP, state=one, held=MARKUP, forced=MARKUP, label=MARKUP, replaces=("gone",), told=(MARKUP,))
    odd = replace(odd, current_from=time.time() - 60, switch_at=time.time() + 1e9)
    recorded(sealing, replace(odd, leaf=replace(odd.leaf, subject=f"CN={MARKUP}", issuer=f"O={MARKUP}", key=MARKUP)))
    for name in PAGES[::2]:
        page = sealing.get(f"/certificates/{odd.id}/{name}")
        assert page.status == 200
        assert "<script>alert" not in page.text


def test_very_many_partners_make_no_very_large_page(pair):
    many = [{"name": f"c{number}", "sender_domains": [f"p{number}.example"]} for number in range(400)]
    with pair.gateway.config() as store:
        store.apply({"organization": {"contoso": {"inbound_connector": many}}}, author="test")
    page = pair.get(f"{pair.path}/changeover")
    assert "And 300 more." in page.words
    assert page.text.count('name="partner"') == 100
    assert len(page.text) < 100_000


# what a look found


def test_what_was_found_is_shown_until_the_certificate_goes_on(pair):
    bad = GateFinding(GateCheck.TLSA, Mark.FAIL, f"no record {MARKUP}", evidence=MARKUP, fix="Add it.")
    failed = {("192.0.2.9", "unknown ca"), ("192.0.2.9", "bad certificate")}
    traffic = (Traffic(10**9, 0, 1, {"a.example"}, failed), Traffic(3, 1, 0, {"a.example", MARKUP}))
    seen(
        pair, pair.new, bad, traffic=traffic, partners=(Partner(MARKUP, (MARKUP,)), Partner("a.example", ("x",), True))
    )
    page = pair.get(f"{pair.path}/changeover")
    assert "<script>alert" not in page.text
    assert "A check failed." in page.words
    assert "No mail since the switch from: " + MARKUP in page.words
    assert "1,000,000,000" in page.words
    assert "they may not accept the certificate: 192.0.2.9 (bad certificate), 192.0.2.9 (unknown ca)" in page.words
    assert "/trace?event=TLSFAIL&amp;peer=192.0.2.9" in page.text
    assert "These partners may compare our certificate with a stored copy. The gateway" in page.words, (
        "nothing is left to be added"
    )
    seen(pair, replace(pair.new, state=State.CURRENT), bad)
    assert "A check failed." not in pair.get(f"{pair.path}/changeover").words


def test_those_who_are_to_be_told_stand_first(pair):
    names = ("a.example", "b.example", "c.example")
    seen(pair, pair.new, partners=tuple(Partner(name, ("x",)) for name in names))
    with pair.gateway.config() as store:
        store.apply({"certificate": {pair.new.id: document_of(replace(pair.new, told=("a.example",)))}}, author="test")
    text = pair.get(f"{pair.path}/changeover").text.partition('id="partners"')[2]
    assert text.index("b.example") < text.index("c.example") < text.index("a.example")


# a look


def test_a_look_without_a_script_ends_on_the_page(pair):
    answer = pair.post(f"{pair.path}/gates")
    assert answer.headers["location"] == f"{pair.path}/changeover#gates"
    assert said(answer) == ("warn", "A check was inconclusive."), "no nameserver answers here"
    assert audit_events(pair)[-1] == ("certificate-look", "done", pair.new.id)
    assert "A check was inconclusive." in pair.get(f"{pair.path}/changeover").words


def test_a_look_that_is_followed_is_on_record_too(pair, green):
    pair.get(f"{pair.path}/gates")
    assert audit_events(pair)[-1] == ("certificate-look", "done", pair.new.id)


@pytest.mark.parametrize(
    ("findings", "told"),
    [
        ((), ("pass", "All checks passed.")),
        ((GateFinding(GateCheck.NAMES, Mark.FAIL, "lost"),), ("fail", "A check failed.")),
    ],
)
def test_what_a_look_says(pair, green, findings, told):
    green(*findings)
    assert said(pair.post(f"{pair.path}/gates")) == told


def test_of_what_is_retired_there_is_nothing_to_look_at(sealing, entry):
    one = recorded(sealing, entry("old", state=State.RETIRED))
    level, text = said(sealing.post(f"/certificates/{one.id}/gates"))
    assert (level, text) == ("info", "There is nothing to check: the certificate is retired.")


def test_with_a_script_a_look_is_a_part_that_follows(pair):
    answer = pair.post(f"{pair.path}/gates", headers={"hx-request": "true", "hx-request-type": "partial"})
    assert answer.status == 200
    assert f'hx-sse:connect="{pair.path}/gates"' in answer.text
    assert "<html" not in answer.text
    assert gate_checks.kept(pair.gateway, pair.new.id) is None, "it looks when it is followed"


# the switch


def test_a_red_gate_refuses_and_a_reason_overrides_and_is_kept(pair, green):
    green(GateFinding(GateCheck.NAMES, Mark.FAIL, f"lost: {MARKUP}"))
    refused = pair.post(f"{pair.path}/switch", when="now", reason="  ")
    assert refused.status == 422
    assert "A check failed, so the gateway did not switch: fix the cause, or give a reason." in refused.words
    assert state(pair, pair.new) is State.NEXT
    assert audit_events(pair)[-1] == ("certificate-switch", "refused", pair.new.id)
    answer = pair.post(f"{pair.path}/switch", when="now", reason=f"agreed {MARKUP}")
    assert said(answer) == ("warn", f"{HOST} is now current. New sessions get it within two seconds.")
    assert (state(pair, pair.new), state(pair, pair.old)) == (State.CURRENT, State.DEPRECATED)
    page = pair.get(f"{pair.path}/changeover", cookie=answer.headers["set-cookie"].partition(";")[0])
    assert f"forced: agreed {MARKUP}" in page.words
    assert "<script>alert" not in page.text
    undo = page.text.partition('id="said"')[2].partition("</form>")[0]
    assert f'action="{pair.path}/roll-back" method="post" class="undo"' in undo
    pair.post(f"{pair.path}/roll-back", back_note="Undo of the switch")
    assert (state(pair, pair.new), state(pair, pair.old)) == (State.NEXT, State.CURRENT)


def test_nothing_overrides_a_key_that_does_not_open(pair, green):
    green(GateFinding(GateCheck.KEY, Mark.FAIL, "cannot be opened", "no master key"))
    refused = pair.post(f"{pair.path}/switch", reason="in haste")
    assert refused.status == 422
    assert "you cannot override the check of the private key" in refused.words
    assert refused.value("reason") == "in haste", "what was written stays in the form"


TIMES = [
    ("", "Enter the time of the switch."),
    (" ", "Enter the time of the switch."),
    ("soon", "is neither"),
    ("2020-01-01T10:00", "is in the past"),
    ("9999-12-31T23:59", "more than ten years ahead"),
    ("-1h", "is neither"),
    ("9" * 400, "at most 64 character"),
    (MARKUP, "is neither"),
    ("0001-01-01T00:00", "is in the past"),
]


@pytest.mark.parametrize(("at", "told"), TIMES)
def test_a_time_that_is_none_is_said_at_its_field(pair, green, at, told):
    refused = pair.post(f"{pair.path}/switch", when="at", at=at, reason="why")
    assert refused.status == 422
    assert told in refused.words
    assert "<script>" not in refused.text
    assert refused.value("reason") == "why"
    assert state(pair, pair.new) is State.NEXT


def test_a_switch_is_planned_and_called_off(pair, green):
    level, text = said(pair.post(f"{pair.path}/switch", when="at", at="2h"))
    assert level == "pass"
    assert re.fullmatch(rf"{HOST} becomes current at \d{{4}}-\d\d-\d\d \d\d:\d\dZ, if all checks pass then\.", text)
    assert "Cancel the switch" in pair.get(f"{pair.path}/changeover").words
    assert said(pair.post(f"{pair.path}/cancel")) == ("pass", f"The planned switch was cancelled. {HOST} stays staged.")
    assert said(pair.post(f"{pair.path}/cancel"))[0] == "fail", "twice is said to be too often"
    level, text = said(pair.post(f"{pair.path}/switch", when="at", at="2h", reason="x"))
    assert (level, text.endswith("even if checks fail then.")) == ("warn", True)


def test_a_reason_is_as_long_as_over_rest(pair, green):
    green(GateFinding(GateCheck.NAMES, Mark.FAIL, "lost"))
    assert 'maxlength="1000"' in pair.get(f"{pair.path}/changeover").text
    refused = pair.post(f"{pair.path}/switch", reason="y" * 1001)
    assert (refused.status, "at most 1,000 character" in refused.words) == (422, True)
    assert pair.post(f"{pair.path}/switch", reason="y" * 1000).status == 303


def test_a_store_that_changed_meanwhile_is_said_in_the_form(pair, green, monkeypatch):
    def beaten(*_, **__):
        raise Refusal(RefusalKind.CONFLICT, "somebody else was faster")

    monkeypatch.setattr("gatepost.manage.use_cases.changeover_steps.run_gate_checks", beaten)
    refused = pair.post(f"{pair.path}/switch")
    assert (refused.status, "Somebody else was faster" in refused.words) == (422, True)


# the other steps


def test_there_and_back_and_its_end(pair, green):
    new, old = pair.path, f"/certificates/{pair.old.id}"
    assert "is now current" in said(pair.post(f"{new}/switch"))[1]
    page = pair.get(f"{new}/changeover")
    assert "You can roll back for another 23 h" in page.words
    assert said(pair.post(f"{old}/withdraw"))[1].startswith("Not done: ")
    assert f"{HOST} is current again" in said(pair.post(f"{new}/roll-back", back_note="too early"))[1]
    assert said(pair.post(f"{new}/roll-back"))[0] == "fail"
    pair.post(f"{new}/switch")
    assert said(pair.post(f"{old}/withdraw", reason="stolen")) == (
        "pass",
        f"{HOST} is retired, and its key is destroyed.",
    )
    assert said(pair.post(f"{old}/stage"))[0] == "fail", "it cannot be restored"
    assert [one[:2] for one in audit_events(pair)[-5:]] == [
        ("certificate-roll-back", "done"),
        ("certificate-roll-back", "refused"),
        ("certificate-switch", "done"),
        ("certificate-withdraw", "done"),
        ("certificate-stage", "refused"),
    ]


def test_a_key_that_was_never_in_the_store_is_left_to_whoever_has_it(sealing, entry):
    one = recorded(sealing, entry("f", state=State.DEPRECATED, key_file="/etc/k<b>.pem", chain_file="/etc/c.pem"))
    level, text = said(sealing.post(f"/certificates/{one.id}/withdraw"))
    assert (level, text) == (
        "warn",
        "mx.a.example is retired. Its key is not in the store: delete /etc/k<b>.pem yourself.",
    )


def test_what_cannot_be_staged_says_so(pair, green):
    run(pair.gateway, switch_certificate, certificate=pair.new.id)
    assert said(pair.post(f"/certificates/{pair.old.id}/stage"))[0] == "fail", "it can be rolled back to still"
    other = certificate(pair, "other.gate.example")
    answer = pair.post(f"/certificates/{other.id}/stage", replaces=pair.old.id)
    assert said(answer)[0] == "fail", "what it names is not current any more"


def test_partners_are_told_by_name_and_all_at_once(pair):
    assert said(pair.post(f"{pair.path}/told"))[0] == "fail"
    level, text = said(pair.post(f"{pair.path}/told", partner=MARKUP))
    assert level == "fail"
    assert "no such partner" in text
    level, text = said(pair.post(f"{pair.path}/told", partner="bank.example", told_note="by phone"))
    assert (level, text) == ("pass", "1 partner notified. Remaining: none.")
    assert stored(pair.gateway, pair.new.id).entry.told == ("bank.example",)
    page = pair.get(f"{pair.path}/changeover")
    assert "told: bank.example (by phone)" in page.words
    assert 'name="partner"' not in page.text


def test_they_need_not_be_told(pair):
    pair.post(f"{pair.path}/told", whom="all", how="waive")
    assert "need not be told: bank.example" in pair.get("/certificates/history").words


def test_the_text_for_partners(pair):
    page = pair.get(f"{pair.path}/notice", "reader")
    assert pair.new.leaf.sha256[:8].upper() in page.words.replace(":", "")
    assert "PRIVATE KEY" not in page.text
    assert "bank.example" in page.words


def test_a_text_for_partners_needs_a_chain(sealing, entry):
    one = recorded(sealing, entry("x", MARKUP))
    answer = sealing.get(f"/certificates/{one.id}/notice")
    assert answer.status in {422, 503}
    assert "<script>alert" not in answer.text


def test_what_a_client_identity_presents_no_listener_is_asked(sealing, entry):
    one = recorded(sealing, entry("c", purpose=Purpose.CLIENT, organization="contoso", label="to-bank"))
    assert sealing.get(f"/certificates/{one.id}/presented").status == 200
    page = sealing.get(f"/certificates/{one.id}/changeover").words
    assert "No outbound connector uses it." in page
    for gate in ("OCSP stapling", "Test handshakes"):
        assert gate not in page


def test_orders_of_acme_that_cannot_be_told_take_no_page_away(pair, monkeypatch):
    monkeypatch.setattr(type(pair.gateway.settings.acme), "is_on", True)

    def unknown(*_):
        raise Refusal(RefusalKind.UNREADABLE, "no account")

    monkeypatch.setattr(certificate_views, "acme_state", unknown)
    assert pair.get(f"{pair.path}/changeover").status == 200
