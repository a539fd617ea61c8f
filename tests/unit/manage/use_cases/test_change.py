"""What all changes share: they are checked as a whole, none is lost, and nobody learns whom else there is."""

from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.change import ChangeOptions, Edit, change
from gatepost.manage.use_cases.record_budget import RecordBudget
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.resources import apply_document

OWNER = Principal("ann", frozenset({Scope.OWNER}))
TENANT = Principal("liz", frozenset({Scope.READ, Scope.CONNECTORS}), frozenset({"fabrikam"}))
STRANGER = Principal("tim", TENANT.scopes, frozenset({"contoso"}))
WISH = ChangeOptions("ann")
BASE = {
    "contoso": {
        "accepted_domain": [{"name": "contoso.example"}],
        "mailbox": [{"address": "postmaster@contoso.example"}],
    },
    "fabrikam": {
        "accepted_domain": [{"name": "fabrikam.example"}],
        "mailbox": [{"address": "postmaster@fabrikam.example"}],
        "outbound_connector": [{"name": "bank", "recipient_domains": ["bank.example"]}],
    },
}


@pytest.fixture
def base(gateway):
    apply_document(gateway, OWNER, {"organization": BASE}, WISH)
    return gateway


def commented(comment, base=None, times=0, kind="organization"):
    """A step; somebody else changes the configuration so many times meanwhile."""
    left = iter(range(times))

    def step(_, draft):
        if (number := next(left, None)) is not None:
            with base.config() as store:
                store.apply({kind: {"other": {"display_name": str(number)}}}, author="somebody else")
        draft["fabrikam"]["outbound_connector"][0]["comment"] = comment
        return Edit(("fabrikam",), "organization.fabrikam")

    return step


def added(table, connector):
    table["outbound_connector"] = [connector]
    return Edit(("contoso",), "organization.contoso")


@pytest.mark.parametrize("times", [0, 1, 4])
def test_a_change_that_is_overtaken_is_made_on_the_newer_version(base, times):
    outcome = change(base, OWNER, commented("new", base, times), ChangeOptions("ann", "why"))
    assert outcome.version == times + 2
    assert [str(one) for one in outcome.changes] == [
        "+ organization.fabrikam.outbound_connector['bank'].comment: \"new\""
    ]
    with base.config() as store:
        newest = store.history()[0]
    assert (newest.author, newest.note, newest.name) == ("ann", "why", "fabrikam")


def test_one_that_is_overtaken_again_and_again_gives_up(base):
    with pytest.raises(Refusal) as refused:
        change(base, OWNER, commented("new", base, 99), WISH)
    assert refused.value.kind is RefusalKind.CONFLICT
    assert refused.value.text == (
        "the configuration is at version 6, not 5: look again, then change it"
        " (5 tries, each overtaken by another change; nothing was changed)"
    )


def test_whoever_said_which_version_they_saw_is_overtaken_once(base):
    with pytest.raises(Refusal) as refused:
        change(base, OWNER, commented("new", base, 1), ChangeOptions("ann", expected=1))
    assert refused.value.kind is RefusalKind.CONFLICT
    assert refused.value.text == "the configuration is at version 2, not 1: look again, then change it"
    assert change(base, OWNER, commented("new"), ChangeOptions("ann", expected=2)).version == 3


def test_what_replaces_whole_organizations_is_not_done_again(base):
    with pytest.raises(Refusal, match=r"not 1: look again, then change it$") as refused:
        change(base, OWNER, commented("new", base, 1), WISH, whole=True)
    assert refused.value.kind is RefusalKind.CONFLICT


@pytest.mark.parametrize("times", [1, 4])
def test_but_on_what_the_gateway_notes_of_certificates_meanwhile(base, times):
    outcome = change(base, OWNER, commented("new", base, times, "certificate"), WISH, whole=True)
    assert outcome.version == times + 2


def test_all_errors_come_at_once_and_nothing_is_changed(base):
    def step(_, draft):
        draft["fabrikam"]["outbound_connector"][0] |= {"tls_settings": "strong", "priority": -1}
        return Edit(("fabrikam",), "organization.fabrikam.outbound_connector[0] 'bank'")

    with pytest.raises(Refusal) as refused:
        change(base, OWNER, step, WISH)
    assert (refused.value.kind, refused.value.text) == (RefusalKind.INPUT, "2 errors; nothing was changed")
    assert sorted(error.path for error in refused.value.errors) == ["priority", "tls_settings"]
    assert base.directory().version == 1


def test_a_list_of_a_connector_is_bounded_whatever_changes_it(base):
    def step(_, draft):
        draft["fabrikam"]["outbound_connector"][0] |= {"recipient_domains": ["no domain!"] * 10_001}
        return Edit(("fabrikam",), "organization.fabrikam.outbound_connector[0] 'bank'")

    with pytest.raises(Refusal) as refused:
        change(base, OWNER, step, WISH)
    assert [(error.path, error.message) for error in refused.value.errors] == [
        ("recipient_domains", "has 10,001 entries; a list may have at most 10,000")
    ]


def test_what_is_stored_with_a_longer_list_can_be_changed_and_the_list_made_shorter(base):
    """An earlier version stored it: neither the rest of its organization nor others may be stuck because of it."""
    domains = [f"d{number}.example" for number in range(10_003)]
    with base.config() as store:
        _, stored = store.load("organization")
        stored["organization"]["fabrikam"]["outbound_connector"][0]["recipient_domains"] = domains
        store.apply(stored, author="an earlier version")

    def step(name, length=10_003, place=0):
        def changed(_, draft):
            table = draft[name]
            table["display_name"] = f"{length} {place}"
            if name == "fabrikam":
                table["outbound_connector"][0]["recipient_domains"] = domains[:length]
                table["outbound_connector"] += [{"name": f"c{place}", "recipient_domains": domains}] * place
            return Edit((name,), f"organization.{name}")

        return changed

    change(base, OWNER, step("contoso"), WISH)
    change(base, TENANT, step("fabrikam"), WISH)
    connector = {"name": "own", "recipient_domains": domains}
    with pytest.raises(Refusal) as refused:
        change(base, STRANGER, lambda _, draft: added(draft["contoso"], connector), WISH)
    assert refused.value.errors[0].message.endswith("at most 10,000"), "nothing is said of lists of others"
    change(base, OWNER, step("fabrikam", 10_002), WISH)
    for wrong in (step("fabrikam", 10_003), step("fabrikam", 10_002, 1)):
        with pytest.raises(Refusal, match="1 error") as refused:
            change(base, OWNER, wrong, WISH)
        assert "a list may have at most 10,00" in refused.value.errors[0].message


def test_a_change_that_is_overtaken_is_charged_once(base, monkeypatch):
    budget, charged = base.kept(RecordBudget), []
    monkeypatch.setattr(budget, "charge", lambda who, octets: charged.append((who, octets)))
    change(base, TENANT, commented("new", base, 3), WISH)
    assert len(charged) == 1


def test_a_dry_run_changes_nothing_and_looks_at_mail_if_asked(base):
    outcome = change(base, OWNER, commented("new"), ChangeOptions("ann", dry_run=True))
    assert (outcome.version, outcome.radius, base.directory().version) == (1, None, 1)
    assert outcome.radius is None
    radius = change(base, OWNER, commented("new"), ChangeOptions("ann", dry_run=True, since=1.0)).radius
    assert (radius.since, radius.found.outbound.messages) == (1.0, 0)
    assert change(base, OWNER, commented("new"), ChangeOptions("ann", since=1.0)).radius is None


def test_a_tenants_change_is_shown_the_tenants_organizations_alone(base):
    seen = []

    def step(resources, draft):
        seen.extend(one.name for one in resources.organizations)
        return commented("new")(resources, draft)

    outcome = change(base, TENANT, step, WISH)
    assert seen == ["fabrikam"]
    assert not any("contoso" in text for text in (*outcome.warnings, *outcome.standing))
    assert sorted(one.name for one in base.directory().resources.organizations) == ["contoso", "fabrikam"]


@pytest.mark.parametrize(("who", "said"), [(OWNER, "contoso"), (TENANT, "already on this gateway")])
def test_a_domain_that_another_accepts_is_refused_without_saying_whose_it_is(base, who, said):
    def step(_, draft):
        draft["fabrikam"]["accepted_domain"].append({"name": "contoso.example"})
        return Edit(("fabrikam",), "organization.fabrikam.accepted_domain[1] 'contoso.example'")

    with pytest.raises(Refusal) as refused:
        change(base, who, step, WISH)
    (error,) = refused.value.errors
    assert error.path.endswith("name")
    assert said in str(error)
    assert ("organization.contoso" in str(error)) is (who is OWNER)


def broken(gateway):
    with gateway.config() as store:
        store.apply({"organization": {"fabrikam": {"field_of_the_future": 1}}}, author="a newer gatepost")
    return gateway


def test_what_another_version_stored_is_not_touched_but_may_be_replaced(gateway):
    broken(gateway)
    mend = {"organization": {"fabrikam": BASE["fabrikam"]}}
    with pytest.raises(Refusal, match=r"cannot be used by this version: organization\.fabrikam\.field_of_the_fut"):
        change(gateway, OWNER, lambda _, __: Edit(("fabrikam",)), WISH)
    with pytest.raises(Refusal, match="cannot be used by this version") as refused:
        apply_document(gateway, TENANT, mend, WISH)
    assert refused.value.kind is RefusalKind.UNREADABLE
    with pytest.raises(Refusal, match="cannot compare them") as refused:
        apply_document(gateway, OWNER, mend, ChangeOptions("ann", dry_run=True, since=1.0))
    assert refused.value.kind is RefusalKind.UNREADABLE
    assert apply_document(gateway, OWNER, mend, WISH).version == 2
