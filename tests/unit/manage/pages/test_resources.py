from __future__ import annotations

import pytest

from gatepost.manage.pages.resource_kinds import KIND_PAGES
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.resources import apply_document

from .conftest import BASE, OWNER

FOLDERS = [page.folder for page in KIND_PAGES]


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_kind_has_a_list_a_form_and_files(centre, folder):
    assert centre.get(f"/{folder}").status == 200
    form = centre.get(f"/{folder}/new")
    assert form.status == 200
    assert "Select" in form.words
    assert centre.get(f"/{folder}?format=csv").text.startswith("organization,")
    assert isinstance(centre.get(f"/{folder}?format=json").json, list)
    assert centre.get(f"/{folder}/new", "reader").status == 403


ADDED = [
    ("domains", {"name": "new.example", "type": "internal-relay"}, "accepted_domain", "new.example"),
    ("mailboxes", {"address": "bob@contoso.example", "aliases": "b@contoso.example"}, "mailbox", "bob@contoso.example"),
    ("rules", {"name": "r", "header_name": "X-A", "require_tls": "true"}, "mail_flow_rule", "r"),
    ("hooks", {"name": "h", "type": "clamav", "address": "127.0.0.1:3310"}, "content_hook", "h"),
    (
        "issuers",
        {"name": "i", "issuer": "https://id.example/x", "audiences": "us", "leeway": "30s"},
        "oauth_issuer",
        "i",
    ),
]


@pytest.mark.parametrize(("folder", "fields", "key", "name"), ADDED)
def test_a_part_is_added_shown_and_removed(centre, folder, fields, key, name):
    answer = centre.post(f"/{folder}/new", organization="contoso", do="save", **fields)
    assert answer.status == 303, answer.words
    stored = centre.stored(key, name)
    assert set(fields) <= set(stored)
    here = answer.headers["location"]
    page = centre.get(here)
    assert (page.status, name in page.words) == (200, True)
    assert "gatepost" in page.words
    assert "root" not in centre.get(f"{here}?part=changes").words.partition("Changes")[2].split("version")[0]
    edit = here.replace("/view/", "/edit/")
    assert centre.get(edit).value("was")
    assert centre.post(here, do="remove", note="gone").headers["location"] == f"/{folder}"
    assert centre.stored(key, name) is None
    assert centre.get(here).status == 404


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "contoso.example"}, ""),
        ({"name": "not a domain"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x.example", "mta_sts_max_age": "5 parsecs"}, "mta_sts_max_age"),
    ],
)
def test_what_is_wrong_is_told_with_what_was_typed(centre, fields, field):
    answer = centre.post("/domains/new", organization="fabrikam", do="save", **fields)
    assert answer.status == 422
    assert "There is a problem" in answer.words
    assert answer.value("name") == fields["name"]
    if field:
        assert f'id="error-{field}"' in answer.text


def test_what_is_needed_is_not_removed(centre):
    answer = centre.post("/domains/view/contoso/contoso.example", do="remove")
    assert answer.status == 422
    assert "it is needed by" in answer.words
    assert centre.stored("accepted_domain", "contoso.example")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/domains/view/contoso/contoso.example", 404),
        ("GET", "/domains/edit/contoso/contoso.example", 404),
        ("POST", "/domains/view/contoso/contoso.example", 404),
        ("POST", "/domains/edit/contoso/contoso.example", 404),
        ("GET", "/domains?organization=contoso", 404),
    ],
)
def test_anothers_parts_are_not_there(centre, method, path, status):
    answer = centre.ask(method, path, "tenant", b"do=remove", {})
    assert answer.status == status
    assert centre.stored("accepted_domain", "contoso.example")


def test_a_tenant_adds_to_its_own_alone(centre):
    refused = centre.post("/domains/new", "tenant", organization="contoso", do="save", name="x.example")
    assert refused.status == 404
    assert centre.post("/domains/new", "tenant", do="save", name="x.example").status == 303
    assert centre.stored("accepted_domain", "x.example", "fabrikam")


def test_a_domain_says_how_many_mailboxes_it_has_and_where_to_publish(centre):
    answer = centre.get("/domains")
    assert "/domains/contoso.example/publish" in answer.text
    assert '<td class="number" data-label="Mailboxes">1</td>' in answer.text


@pytest.mark.parametrize(("folder", "fields"), [("domains", {"name": "x.example"}), ("rules", {"name": "r"})])
def test_whose_a_new_part_is_is_asked_for_beside_its_field(centre, folder, fields):
    answer = centre.post(f"/{folder}/new", do="save", **fields)
    assert answer.status == 422
    assert 'href="#field-organization"' in answer.text
    assert "Choose an organization" in answer.words
    assert "--organization" not in answer.words, "that is an option of the command"
    assert answer.value("name") == fields["name"], "what was filled in stays"


def test_an_address_says_whose_it_is_and_an_empty_one_is_wrong_where_it_stands(centre):
    assert centre.post("/mailboxes/new", do="save", address="joe@contoso.example").status == 303
    answer = centre.post("/mailboxes/new", do="save", organization="contoso", address="")
    assert answer.status == 422
    assert 'href="#field-address"' in answer.text
    assert "organization.contoso" not in answer.words


def test_what_is_refused_leads_back_to_its_form(centre):
    here = "https://localhost/queue?state=held"
    refused = centre.post("/queue/confirm", headers={"referer": here}, action="drop")
    assert refused.status == 422
    assert 'href="/queue?state=held"' in refused.text
    assert (
        "Back to" not in centre.post("/queue/confirm", headers={"referer": "https://evil.example/x"}, action="x").words
    )
    wrong = centre.get("/reports?since=2026-12-02&until=2026-12-01", referer="https://localhost/reports?since=x")
    assert wrong.status == 422
    assert '<a href="/reports">Back</a>' in wrong.text


def test_single_recipients_are_added_and_removed_on_the_page_of_a_domain(centre):
    fields = {"name": "new.example", "type": "internal-relay", "recipient_validation": "list"}
    answer = centre.post("/domains/new", organization="contoso", do="save", recipients="ann@new.example", **fields)
    here = answer.headers["location"]
    assert "1 address in the list." in centre.get(here).words
    changed = centre.post(here, do="recipients", add="bob@new.example\ncy@new.example", remove="ANN@new.example")
    assert changed.status == 303, changed.words
    assert centre.stored("accepted_domain", "new.example")["recipients"] == ["bob@new.example", "cy@new.example"]
    wrong = centre.post(here, do="recipients", add="nobody\nx@elsewhere.example", remove="")
    assert (wrong.status, "x@elsewhere.example is not in new.example" in wrong.words) == (422, True)


DIRECTORY = {
    "name": "r.example",
    "type": "internal-relay",
    "recipient_validation": "ldap",
    "recipient_directory": {"urls": ["ldaps://dc.example"], "bind_dn": "cn=gatepost"},
}
GRAPH = {
    "name": "r.example",
    "type": "internal-relay",
    "recipient_validation": "graph",
    "recipient_graph": {"tenant_id": "t.example", "client_id": "app-1"},
}


def added(centre, table):
    """fabrikam has this domain, and no other but its own."""
    domains = {"accepted_domain": [{"name": "fabrikam.example"}, table]}
    apply_document(centre.gateway, OWNER, {"organization": BASE | {"fabrikam": domains}}, ChangeOptions("root"))


@pytest.mark.parametrize(("table", "what"), [(DIRECTORY, "password"), (GRAPH, "client secret")])
def test_the_password_of_a_directory_is_given_on_the_page_and_never_shown(sealing, table, what):
    added(sealing, table)
    here = "/domains/view/fabrikam/r.example"
    page = sealing.get(here)
    assert "Missing" in page.words
    assert f"Store {what}" in page.words
    assert sealing.post(here, do="password", password="").status == 422
    assert sealing.post(here, "reader", do="password", password="hidden word").status == 403
    assert sealing.post(here, do="password", password="hidden word").status == 303
    page = sealing.get(here)
    assert "Stored, encrypted" in page.words
    assert "hidden word" not in page.text
    assert "Stored, encrypted" in sealing.get(here, "reader").words
    assert "Store " not in sealing.get(here, "reader").words.partition("Log-in to")[2]
    assert sealing.post(here, do="remove-password").status == 303
    assert "Missing" in sealing.get(here).words


def test_a_tenant_enters_its_client_secret_and_sees_nothing_of_the_owners_directory(sealing):
    here = "/domains/view/fabrikam/r.example"
    added(sealing, DIRECTORY)
    assert "Log-in to the directory" not in sealing.get(here, "tenant").words
    assert sealing.post(here, "tenant", do="password", password="word").status == 422
    added(sealing, GRAPH)
    assert "Log-in to Microsoft Graph" in sealing.get(here, "tenant").words
    assert sealing.post(here, "tenant", do="password", password="word").status == 303
    assert sealing.post(here.replace("fabrikam", "contoso"), "tenant", do="password", password="x").status == 404
