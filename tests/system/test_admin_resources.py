"""Proves the pages of organizations, domains, mailboxes, rules, hooks and issuers, and of the history, in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from playwright.sync_api import Browser, Page
from support.admin import OWNER, PASSWORD, AdminCentre, running
from support.browser import axe, context, look, shot
from support.debian import need
from support.scenes import OWN_SERVERS, connector, contoso, send

from gatepost.testing.name_server import DnsServer
from gatepost.testing.pki import Pki
from gatepost.testing.process import Folder, free_port, wait_until

RULE = {"name": "secrets", "header_name": "X-Secret", "route_via_connector": "bank.example"}
HOOK = {"name": "clamd", "type": "clamav", "address": "unix:/run/none.ctl", "enabled": False}
# Exported elsewhere: without its private half.
DKIM_KEY = {
    "name": "old._domainkey.contoso.example",
    "algorithm": "ed25519-sha256",
    "public_key": "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    "state": "retired",
}
ISSUER = {"name": "id", "issuer": "https://id.example/x", "audiences": ["us"], "enabled": False}
# A field of each kind that says how next hops are called, what TLS they must have, and how clients are known.
RELAY = {
    "name": "relay",
    "recipient_domains": ["relay.example"],
    "smart_hosts": ["smtp.provider.example:465"],
    "implicit_tls": True,
    "tls_settings": "domain-validation",
    "tls_domain": "smtp.provider.example",
    "min_key_exchange": "post-quantum",
    "hello_name": "out.contoso.example",
    "source_ipv4_address": "127.0.0.1",
    "authentication": {
        "username": "gate@contoso.example",
        "client_id": "a-client-id-of-an-application-that-is-long",
        "token_url": "https://login.example/0f0e0d0c-0b0a-4908-8706-050403020100/oauth2/v2.0/token",
    },
}
FILTER = {
    "name": "cloud filter",
    "sender_domains": ["*"],
    "sender_ip_addresses": ["198.51.100.0/24"],
    "restrict_domains_to_ip_addresses": True,
    "ef_skip_ips": ["198.51.100.0/24"],
}
BILLING = {
    "name": "billing",
    "connector_type": "on-premises",
    "sender_ip_addresses": ["127.0.0.8/32"],
    "messages_per_day": 1,
}
RELAYED = {
    "name": "inner.example",
    "type": "internal-relay",
    "recipient_validation": "list",
    "recipients": ["ann@inner.example", "a.very.long.name.of.somebody.with.many.names@inner.example"],
}
CLOUD = {
    "name": "cloud.example",
    "type": "internal-relay",
    "recipient_validation": "graph",
    "recipient_graph": {
        "tenant_id": "0f0e0d0c-0b0a-4908-8706-050403020100",
        "client_id": "00010203-0405-4607-8809-0a0b0c0d0e0f",
    },
}
FOREST = {
    "name": "forest.example",
    "type": "internal-relay",
    "recipient_validation": "ldap",
    "recipient_directory": {
        "urls": ["ldaps://dc1.forest.example", "ldaps://dc2.forest.example"],
        "base_dn": "dc=forest,dc=example",
        "bind_dn": "cn=gatepost,ou=service accounts with a long name,dc=forest,dc=example",
    },
}
LETTERS, LABELS = "räksmörgås.example", "xn--rksmrgs-5wao1o.example"
PAGES = {
    "letters": f"/domains/view/contoso/{LABELS}",
    "graph-domain": "/domains/view/contoso/cloud.example",
    "graph-domain-edit": "/domains/edit/contoso/cloud.example",
    "ldap-domain": "/domains/view/contoso/forest.example",
    "limits": "/limits",
    "relay": "/connectors/contoso/outbound/relay",
    "relay-edit": "/connectors/edit/contoso/outbound/relay",
    "filter": "/connectors/contoso/inbound/cloud%20filter",
    "filter-edit": "/connectors/edit/contoso/inbound/cloud%20filter",
    "relayed-domain": "/domains/view/contoso/inner.example",
    "relayed-domain-edit": "/domains/edit/contoso/inner.example",
    "domains": "/domains",
    "domain": "/domains/view/contoso/contoso.example",
    "domain-edit": "/domains/edit/contoso/contoso.example",
    "mailboxes": "/mailboxes",
    "rules": "/rules",
    "rule-new": "/rules/new",
    "hooks": "/hooks",
    "issuers": "/issuers",
    "dkim": "/dkim",
    "dkim-key": "/dkim/view/contoso/old._domainkey.contoso.example",
    "dkim-new": "/dkim/new",
    "acme": "/certificates/acme",
    "connectors-sorted": "/connectors?sort=-name",
    "organizations": "/organizations",
    "organization": "/organizations/view/contoso",
    "organization-edit": "/organizations/edit/contoso",
    "connector-edit": "/connectors/edit/contoso/outbound/bank.example",
    "history": "/history",
    "version": "/history/1",
}


@pytest.fixture(scope="module")
def zone() -> Iterator[DnsServer]:
    with DnsServer({}, ttl=0) as running:
        yield running


@pytest.fixture(scope="module")
def centre(zone: DnsServer) -> Iterator[AdminCentre]:
    """One with a master key, whose ACME authority is out of reach."""
    need("chromium")
    with ExitStack() as stack:
        folder = Folder("master")
        stack.callback(folder.remove)
        master = folder.write("master.key", "m" * 32)
        master.chmod(0o600)
        resources = contoso(
            domains=[{"name": "contoso.example"}, {"name": LABELS}, RELAYED, CLOUD, FOREST],
            inbound=[OWN_SERVERS, BILLING, FILTER],
            outbound=[connector("bank.example", "127.0.0.1:1"), RELAY],
            authentication_results="gateway",
            mail_flow_rule=[RULE],
            content_hook=[HOOK],
            oauth_issuer=[ISSUER],
            dkim_key=[DKIM_KEY],
        )
        resources["organization"]["fabrikam"] = {"accepted_domain": [{"name": "fabrikam.example"}]}

        settings = {
            "store": {"master_key": f"file:{master}"},
            "acme": {
                "agree_tos": True,
                "directory_url": "https://127.0.0.1:1/directory",
                "http_address": f"127.0.0.1:{free_port()}",
            },
        }
        made = stack.enter_context(running(resources, settings=settings, nameservers=[zone.address]))
        send(made.gateway.port, "bob@nowhere.example", source="127.0.0.8")  # all that it may send today
        wait_until(lambda: "server billing\t1" in made.gateway.cli("limit", "list").stdout, "the count, a moment later")
        yield made


@pytest.fixture(scope="module")
def inside(centre: AdminCentre, browser: Browser) -> Iterator[Page]:
    """A page of somebody who is logged in."""
    with context(browser) as (opened, _):
        page = opened.new_page()
        centre.log_in(page)
        yield page


@pytest.mark.parametrize("name", PAGES)
def test_each_page_can_be_used_by_everybody(centre: AdminCentre, inside: Page, name: str) -> None:
    inside.goto(f"{centre.url}{PAGES[name]}", wait_until="networkidle")
    assert inside.locator("#main h1").is_visible()
    look(inside, f"resources-{name}")


def test_a_domain_beyond_ascii_is_read_in_its_letters_and_copied_by_its_labels(
    centre: AdminCentre, inside: Page
) -> None:
    inside.goto(f"{centre.url}{PAGES['letters']}")
    assert inside.locator("#main h1").inner_text() == f"{LABELS} (\u2068{LETTERS}\u2069)"
    inside.get_by_text("Show as CLI / TOML").click()
    command = inside.locator("main .copyable code").first.inner_text()
    assert LABELS in command
    assert LETTERS not in command


def test_the_password_of_a_directory_is_entered_and_removed(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page)
    for name, what in (("cloud.example", "client secret"), ("forest.example", "password")):
        page.goto(f"{centre.url}/domains/view/contoso/{name}")
        page.locator("#login").get_by_text("Missing").wait_for()
        page.locator("#login").get_by_role("textbox", name=what.capitalize()).fill("correct horse")
        page.get_by_role("button", name=f"Store {what}").click()
        page.get_by_text(f"The {what} was stored, encrypted.").wait_for()
        assert "correct horse" not in page.content()
        axe(page)
        shot(page, f"stored-{name}")
        told = centre.gateway.cli("domain", "password", name, "--check")
        assert told.stdout == f"{name}: sealed\n"
        page.get_by_role("button", name=f"Remove {what}…").click()
        page.get_by_role("button", name="Remove", exact=True).click()
        page.locator("#login").get_by_text("Missing").wait_for()


def test_a_sending_limit_is_lifted_on_its_page(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, "/limits")
    page.get_by_text("1 of 1").wait_for()
    page.get_by_text("Limit reached").first.wait_for()
    axe(page)
    page.get_by_role("button", name="Lift…").click()
    page.get_by_role("button", name="Lift limit").click()
    page.get_by_text("The limit of billing is lifted until midnight UTC").wait_for()
    page.get_by_text("Lifted for today").wait_for()
    shot(page, "limit-lifted")
    (sender,) = centre.gateway.cli("limit", "list", json=True).data
    assert sender["lifted"] == "all"


def test_a_key_is_made_published_and_let_sign(centre: AdminCentre, zone: DnsServer, page: Page) -> None:
    centre.log_in(page, "/dkim")
    page.get_by_role("link", name="Add key").first.click()
    page.get_by_label("Domain", exact=True).fill("contoso.example")
    page.get_by_label("Ed25519").check()
    page.get_by_label("Selector").fill("s1")
    page.get_by_role("button", name="Add key").click()
    page.get_by_text("was added. Publish its record").wait_for()
    page.get_by_text("there is no TXT record at s1._domainkey.contoso.example").wait_for()
    page.get_by_role("button", name="Start signing").click()
    page.get_by_text("to override the check, give a reason").wait_for()
    axe(page)
    shot(page, "dkim-refused")
    zone.set("s1._domainkey.contoso.example TXT", f'"{page.locator("#record code").nth(1).inner_text()}"')
    page.get_by_role("button", name="Start signing").click()
    page.get_by_text("The gateway now signs with").wait_for()
    page.locator("#seen").get_by_text("Published").wait_for()
    axe(page)
    shot(page, "dkim-current")
    assert centre.gateway.cli("dkim", "list", "--check", json=True).data[0]["record"] == "published"
    page.get_by_role("button", name="Retire…").click()
    page.get_by_role("button", name="Retire", exact=True).click()
    page.get_by_text("s1._domainkey.contoso.example is retired").wait_for()


def test_an_authority_is_asked_from_its_page(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, "/certificates/acme")
    page.get_by_role("button", name="Request now").click()
    page.get_by_role("button", name="Request it").click()
    page.get_by_text("No certificate for mx1.contoso.example").wait_for()
    page.get_by_text("cannot be reached").first.wait_for()
    axe(page)
    shot(page, "acme-asked")
    events = centre.gateway.cli("audit", json=True).data
    assert ("certificate-renew", "failed") in {(one["action"], one["outcome"]) for one in events}


def test_a_mailbox_is_made_and_gets_mail(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, "/mailboxes")
    page.get_by_role("link", name="Add a mailbox").click()
    page.get_by_label("Organization", exact=True).select_option("contoso")
    page.get_by_label("Address", exact=True).fill("zoe@elsewhere.example")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("alert").get_by_text("elsewhere.example").first.wait_for()
    assert page.get_by_label("Address", exact=True).get_attribute("aria-invalid") == "true"
    axe(page)
    page.get_by_label("Address", exact=True).fill("zoe@contoso.example")
    page.get_by_label("Aliases").fill("z@contoso.example")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("was saved as revision").wait_for()
    assert page.url == f"{centre.url}/mailboxes/view/contoso/zoe%40contoso.example"
    centre.gateway.wait_in_force()
    assert send(centre.gateway.port, "z@contoso.example", sender="eve@elsewhere.example") == {}


def test_what_would_change_is_seen_before(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, "/connectors/edit/contoso/outbound/bank.example")
    before = centre.gateway.cli("connector", "show", "bank.example", json=True).data
    page.get_by_text("More fields").click()
    page.get_by_label("TLS settings").select_option("encryption-only")
    page.get_by_role("button", name="Preview changes").click()
    effects = page.locator("#effects")
    effects.get_by_text("tls_settings").first.wait_for()
    page.locator("#decided").get_by_text("since").first.wait_for()
    axe(page)
    shot(page, "resources-preview")
    assert centre.gateway.cli("connector", "show", "bank.example", json=True).data == before
    assert page.get_by_label("TLS settings").input_value() == "encryption-only"


def test_what_others_changed_in_other_fields_stays(centre: AdminCentre, page: Page) -> None:
    """Two people edit one connector; one requires TLS, the other, who began before, writes a comment."""
    cli = centre.gateway.cli
    made = "outbound", "twice.example", "--organization", "contoso", "recipient_domains=twice.example"
    cli("connector", "add", *made)
    centre.log_in(page, "/connectors/edit/contoso/outbound/twice.example")
    cli("connector", "set", "twice.example", "tls_settings=encryption-only")
    page.get_by_text("More fields").click()
    page.get_by_label("Comment").fill("call them first")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Another user changed TLS settings in the meantime; that change was kept.").wait_for()
    table = cli("connector", "show", "twice.example", json=True).data["table"]
    assert (table["comment"], table["tls_settings"]) == ("call them first", "encryption-only")
    page.goto("about:blank")  # its page loads parts a moment later, which would not be there
    cli("connector", "remove", "twice.example")


def test_what_was_typed_is_there_again_after_the_session_ended(centre: AdminCentre, page: Page) -> None:
    """What others changed meanwhile in other fields stays, as if the form had been sent in time."""
    cli, path = centre.gateway.cli, "/connectors/edit/contoso/outbound/late.example"
    cli("connector", "add", "outbound", "late.example", "--organization", "contoso", "recipient_domains=late.example")
    centre.log_in(page, path)
    page.get_by_text("More fields").click()
    page.get_by_label("Comment").fill("typed for\nhalf an hour")
    page.get_by_label("TLS settings").select_option("encryption-only")
    cli("connector", "set", "late.example", "smart_hosts=127.0.0.1:1")
    page.context.clear_cookies()
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Your session expired").wait_for()
    for password in ("not this one, surely", PASSWORD):
        page.get_by_label("User name").fill(OWNER)
        page.get_by_label("Password", exact=True).fill(password)
        page.get_by_role("button", name="Log in").click()
        page.get_by_text(
            "Incorrect user name or password" if password != PASSWORD else "shows again what you typed"
        ).wait_for()
    assert page.url == f"{centre.url}{path}"
    assert page.get_by_label("TLS settings").is_visible(), "a fold with something of the author's is open"
    axe(page)
    page.get_by_role("button", name="Save").click()
    page.get_by_text("was saved as revision").wait_for()
    table = cli("connector", "show", "late.example", json=True).data["table"]
    changed = table["comment"], table["tls_settings"], table["smart_hosts"]
    assert changed == ("typed for half an hour", "encryption-only", ["127.0.0.1:1"])
    page.goto(f"{centre.url}{path}")
    assert page.get_by_text("shows again what you typed").count() == 0


def test_a_form_of_the_session_before_is_there_again(centre: AdminCentre, browser: Browser) -> None:
    """Logged in again in another tab: the form is refused as that of another session, and not lost."""
    with context(browser) as (opened, complaints):
        complaints.expected.append("the server responded with a status of 403")
        page = opened.new_page()
        centre.log_in(page, "/hooks/edit/contoso/clamd")
        page.get_by_label("Address", exact=True).fill("unix:/run/other.ctl")
        opened.clear_cookies()
        centre.log_in(opened.new_page(), "/connectors")
        page.get_by_role("button", name="Save").click()
        page.get_by_role("link", name="Back to the page").click()
        page.get_by_text("shows again what you typed").wait_for()
        assert page.get_by_label("Address", exact=True).input_value() == "unix:/run/other.ctl"


def test_a_form_that_was_saved_is_not_said_to_be_lost(centre: AdminCentre, browser: Browser) -> None:
    """Another form is, later: what the browser still has of the first one is not taken for it."""
    path = "/rules/edit/contoso/secrets"
    with context(browser) as (opened, _):
        page = opened.new_page()
        centre.log_in(page, path)
        page.get_by_label("Reason (recorded)").fill("looked at it")
        page.get_by_role("button", name="Save").click()
        page.get_by_text("There were no changes to save.").wait_for()
        opened.clear_cookies()
        page.locator("details.menu.end summary").click()
        page.get_by_role("button", name="Log out").click()
        page.get_by_text("Your session expired").wait_for()
        centre.log_in(page, path)
        assert page.get_by_label("Reason (recorded)").input_value() == ""
        assert page.get_by_text("shows again what you typed").count() == 0


def test_no_secret_is_kept_by_the_browser_and_nobody_sees_what_another_typed(centre: AdminCentre, page: Page) -> None:
    centre.gateway.cli("user", "add", "otto", "--role", "owner", "--password-stdin", given=f"{PASSWORD}\n")
    centre.log_in(page, "/certificates/add")
    key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ\n-----END PRIVATE KEY-----"
    page.get_by_label("Certificate and intermediates").fill("of mine")
    page.get_by_label("Private key").fill(key)
    page.get_by_label("Key password").fill("hush")
    page.context.clear_cookies()
    page.get_by_role("button", name="Add certificate").click()
    page.get_by_text("Your session expired").wait_for()
    kept = str(page.evaluate("sessionStorage.getItem('unsent')"))
    assert "of mine" in kept
    assert "MC4CAQ" not in kept
    assert "hush" not in kept
    centre.log_in(page, "/certificates/add", name="otto")
    assert page.get_by_label("Certificate and intermediates").input_value() == ""
    assert page.evaluate("sessionStorage.getItem('unsent')") is None


def test_what_is_written_for_a_key_is_not_kept_whatever_it_looks_like(centre: AdminCentre, page: Page) -> None:
    """Such as the URI of a token with its PIN, or a key without its first line."""
    centre.log_in(page, "/certificates/add")
    page.get_by_label("Certificate and intermediates").fill("of mine")
    page.get_by_label("Private key").fill("pkcs11:token=hsm;object=mail?pin-value=4711")
    page.context.clear_cookies()
    page.get_by_role("button", name="Add certificate").click()
    page.get_by_text("Your session expired").wait_for()
    kept = str(page.evaluate("sessionStorage.getItem('unsent')"))
    assert "of mine" in kept
    assert "4711" not in kept


def test_nothing_is_kept_of_who_logs_out(centre: AdminCentre, page: Page) -> None:
    """The next person at this browser could read it in the tab."""
    centre.log_in(page, "/hooks/edit/contoso/clamd")
    page.get_by_label("Address", exact=True).fill("unix:/run/other.ctl")
    page.context.clear_cookies()
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Your session expired").wait_for()
    centre.log_in(page, "/connectors")
    assert page.evaluate("sessionStorage.getItem('unsent')")
    page.locator("details.menu.end summary").click()
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url(f"{centre.url}/login")
    assert page.evaluate("sessionStorage.getItem('unsent')") is None


def test_two_people_see_both_changes(centre: AdminCentre, browser: Browser) -> None:
    with context(browser) as (opened, complaints):
        complaints.expected.append("the server responded with a status of 409")
        _two_people(centre, opened.new_page())


def _two_people(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, "/rules/edit/contoso/secrets")
    centre.gateway.cli("rule", "set", "secrets", "comment=untouched", "header_name=X-Theirs")
    page.get_by_label("Header name").fill("X-Mine")
    page.get_by_label("Reason (recorded)").fill("mine")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Another user changed this in the meantime.").wait_for()
    both = page.get_by_role("region", name="Conflicting changes")
    both.get_by_text("X-Theirs").wait_for()
    both.get_by_text("X-Mine").wait_for()
    both.get_by_text("revision").wait_for()  # who changed it, and when
    assert both.get_by_text("untouched").count() == 0, "what only they changed is no question"
    axe(page)
    shot(page, "resources-conflict")
    assert centre.gateway.cli("rule", "show", "secrets", json=True).data["table"]["header_name"] == "X-Theirs"
    page.get_by_role("button", name="Save").click()
    page.get_by_text("was saved as revision").wait_for()
    table = centre.gateway.cli("rule", "show", "secrets", json=True).data["table"]
    assert (table["header_name"], table["comment"]) == ("X-Mine", "untouched")
    page.goto(f"{centre.url}/history")
    page.locator("tbody a").first.click()
    page.locator("table.diff").get_by_text("X-Mine").wait_for()
    axe(page)


@pytest.mark.parametrize("language", ["en-GB", "de-DE", "sv-SE"])
def test_without_a_script_what_was_typed_comes_back(centre: AdminCentre, browser: Browser, language: str) -> None:
    """After the end of its session, and as a form of an earlier one: shown to its author, and sent by a button."""
    texts = LANGUAGES[language]
    name = f"author-{language.lower()}"  # a further session of the owner would end the oldest, which `inside` uses
    centre.gateway.cli("user", "add", name, "--role", "owner", "--password-stdin", given=f"{PASSWORD}\n")
    with context(browser, java_script_enabled=False, locale=language) as (opened, complaints):
        complaints.expected.append("the server responded with a status of 403")
        page = opened.new_page()
        centre.log_in(page, "/rules/edit/contoso/secrets", name=name)
        page.locator("#field-header_name").fill(f"X-{language}")
        opened.clear_cookies()
        page.locator("main form button.primary").first.click()
        page.get_by_text(texts["expired"]).wait_for()
        for password in ("not this one, surely", PASSWORD):
            page.locator("#field-name").fill(name)
            page.locator("#field-password").fill(password)
            page.locator("main form button[type=submit]").click()
        page.locator("#typed").get_by_text(f"X-{language}").wait_for()
        page.get_by_role("button", name=texts["again"]).click()
        page.get_by_text(texts["saved"]).wait_for()
        rule = centre.gateway.cli("rule", "show", "secrets", json=True).data["table"]
        assert rule["header_name"] == f"X-{language}"

        centre.log_in(page, "/rules/edit/contoso/secrets", name=name)
        page.locator("#field-header_name").fill(f"X-Again-{language}")
        opened.clear_cookies()
        centre.log_in(opened.new_page(), "/connectors", name=name)
        page.locator("main form button.primary").first.click()
        page.locator("#typed").get_by_text(f"X-Again-{language}").wait_for()
        page.get_by_role("button", name=texts["again"]).click()
        page.get_by_text(texts["saved"]).wait_for()


LANGUAGES = {
    "en-GB": {"expired": "Your session expired", "again": "Send the form again", "saved": "was saved as revision"},
    "de-DE": {"expired": "Ihre Sitzung ist abgelaufen", "again": "Formular erneut senden", "saved": "Revision"},
    "sv-SE": {"expired": "Din session har gått ut", "again": "Skicka formuläret igen", "saved": "revision"},
}


def test_without_a_script_forms_work(centre: AdminCentre, browser: Browser) -> None:
    with context(browser, java_script_enabled=False) as (opened, _):
        page = opened.new_page()
        centre.log_in(page, "/organizations/new")
        page.get_by_label("Name", exact=True).fill("lab")
        page.get_by_role("button", name="Save").click()
        page.get_by_text("was saved as revision").wait_for()
        page.get_by_role("link", name="Edit").click()
        page.get_by_text("More fields").click()
        page.get_by_label("Display name").fill("The laboratory")
        page.get_by_role("button", name="Save").click()
        page.get_by_role("heading", name="The laboratory").wait_for()


def test_certificates_are_pasted_and_shown_by_their_fingerprints(centre: AdminCentre, inside: Page, pki: Pki) -> None:
    pem = pki.root.read_text()
    fingerprint = x509.load_pem_x509_certificate(pem.encode()).fingerprint(SHA256()).hex()
    edit = f"{centre.url}/connectors/edit/contoso/outbound/bank.example"
    inside.goto(edit)
    inside.get_by_text("More fields").click()
    inside.get_by_label("Trust anchors").fill(f"# our own\n{pem}")
    inside.get_by_role("button", name="Save").click()
    inside.get_by_text("was saved as revision").wait_for()
    shown = centre.gateway.cli("connector", "show", "bank.example", json=True).data["table"]["trust_anchors"]
    assert shown.count("\n") == pem.strip().count("\n") + 1
    inside.goto(f"{centre.url}/connectors/contoso/outbound/bank.example", wait_until="networkidle")
    fields = inside.locator("#fields table").first
    assert f"SHA-256 {fingerprint}" in fields.inner_text()
    assert "BEGIN" not in fields.inner_text()
    look(inside, "anchors")
    inside.goto(edit, wait_until="networkidle")
    assert inside.get_by_label("Trust anchors").input_value() == shown.strip()
    look(inside, "anchors-edit")
    inside.get_by_role("button", name="Save").click()
    inside.get_by_text("There were no changes to save").wait_for()
