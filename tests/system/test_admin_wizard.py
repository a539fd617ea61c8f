"""Proves the way to a new connector: by scenario, tried live against a real partner, and saved as it was shown."""

from __future__ import annotations

import shlex
import ssl
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode

import pytest
import tomlkit
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from playwright.sync_api import Browser, Page
from support.admin import AdminCentre, running
from support.browser import PHONE, axe, context, look, overflow, shot
from support.debian import need
from support.peers import Postfix
from support.scenes import ALICE, OWN_SERVERS, contoso, send

from gatepost.testing.pki import Pki
from gatepost.testing.process import Folder, wait_until
from gatepost.testing.sink import Behaviour, Sink

NAME = "mx.bank.example"
START = "/connectors/new?organization=contoso"


@pytest.fixture(scope="module")
def centre(pki: Pki) -> Iterator[AdminCentre]:
    """One gateway for all tests here: each makes connectors of its own names."""
    need("chromium")
    with ExitStack() as stack:
        resources = contoso(inbound=[OWN_SERVERS])
        resources["organization"]["fabrikam"] = {
            "accepted_domain": [{"name": "fabrikam.example", "type": "internal-relay"}]
        }

        folder = Folder("wizard")
        stack.callback(folder.remove)
        master = folder.write("master.key", "m" * 32, 0o600)
        settings = {"store": {"master_key": f"file:{master}"}}
        certificates = [pki.leaf("mx1.contoso.example")]
        yield stack.enter_context(running(resources, settings=settings, anchors=pki.root, certificates=certificates))


def newest(centre: AdminCentre) -> Any:
    """The last change of resources."""
    return centre.gateway.cli("history", json=True).data[0]


class Way:
    """Answers the questions of one page after the other. looked: at each page by axe, and in a picture."""

    def __init__(self, page: Page, looked: bool = False) -> None:
        self.page = page
        self.looked = looked

    def go(self, wanted: str) -> None:
        """Continue, to the step of that title."""
        if self.looked:
            axe(self.page)
        self.page.get_by_role("button", name="Continue").click()
        self.page.get_by_role("heading", name=wanted, exact=True).wait_for()
        if self.looked:
            shot(self.page, f"wizard-{wanted.lower().replace(' ', '-')}")

    def to_partner(self, name: str, domains: str, host: str, certificate: str) -> None:
        """Up to the step of the validation."""
        page = self.page
        page.get_by_label("This gateway → Partner organization").check()
        self.go("Connector name")
        page.get_by_label("Name", exact=True).fill(name)
        self.go("Use of connector")
        page.get_by_label("Domains of the partner").fill(domains)
        self.go("Routing")
        page.get_by_label("Route messages through these smart hosts").check()
        page.get_by_label("Smart hosts", exact=True).fill(host)
        self.go("Security restrictions")
        page.get_by_label("TLS with a certificate for this name").check()
        page.get_by_label("Certificate name").fill(certificate)
        self.go("Validation")


def test_a_partner_is_tried_live_and_saved_in_rehearsal(
    centre: AdminCentre, page: Page, postfix: Callable[..., Postfix], pki: Pki
) -> None:
    partner = postfix(certificates=[pki.leaf(NAME)])
    before = newest(centre)
    centre.log_in(page, "/connectors")
    page.get_by_role("link", name="Add a connector").first.click()
    page.get_by_label("Organization", exact=True).select_option("contoso")
    way = Way(page, looked=True)
    way.to_partner("bank-out", "bank.example\n*.bank.example", f"127.0.0.1:{partner.port}", NAME)
    page.get_by_label("Send a test message to").fill("bob@bank.example")
    page.get_by_role("button", name="Validate").click()
    page.locator("#task-verdict").get_by_text("all 9 tasks succeeded").wait_for()
    (mail,) = partner.wait_mails(1)
    assert mail.recipient == "bob@bank.example"
    way.go("Review")
    effects = page.locator("#effects")
    effects.get_by_text("Show as CLI / TOML").wait_for()
    effects.get_by_text("Show as CLI / TOML").click()
    shown = effects.get_by_role("region", name="TOML").inner_text()
    axe(page)
    page.locator("#main").get_by_text("validated: all 9 tasks succeeded").wait_for()
    assert newest(centre) == before, "nothing was changed so far"
    page.get_by_label("Reason (recorded)").fill("the bank asked for it")
    page.get_by_role("button", name="Save connector").click()
    page.get_by_text("was saved as revision").wait_for()
    assert page.url.startswith(f"{centre.url}/connectors/contoso/outbound/bank-out")
    assert "gatepost connector add outbound bank-out" in page.locator("#made").inner_text()
    page.locator("#validation").get_by_text("all 9 tasks succeeded").wait_for()
    axe(page)
    shot(page, "wizard-saved")

    found = centre.gateway.cli("connector", "show", "bank-out", json=True).data["table"]
    (written,) = tomlkit.parse(shown).unwrap()["organization"]["contoso"]["outbound_connector"]
    assert found == {**written, "mode": "rehearse"}
    (row,) = [one for one in centre.gateway.cli("connector", "list", json=True).data if one["name"] == "bank-out"]
    assert (row["status"], row["validated"]["outcome"]) == ("rehearsal", "validated")
    change = newest(centre)
    assert (change["author"], change["note"]) == ("olga", "the bank asked for it")
    centre.gateway.wait_in_force()
    send(centre.gateway.port, "carl@sub.bank.example")
    partner.wait_mails(2)


def test_the_command_that_is_shown_makes_the_same(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, "/connectors")
    page.goto(f"{centre.url}{START}")
    page.get_by_label("Partner organization → This gateway").check()
    way = Way(page)
    way.go("Connector name")
    page.get_by_label("Name", exact=True).fill("bank in")
    way.go("Use of connector")
    page.get_by_label("Sender domains of the partner").fill("bank.example, *.bank.example")
    way.go("Security restrictions")
    page.get_by_label("Require a client certificate for this name").check()
    page.get_by_label("Certificate name").fill("mail.bank.example")
    way.go("Validation")
    page.get_by_role("button", name="Validate").click()
    page.locator("#task-verdict").wait_for()
    way.go("Review")
    page.get_by_label("Enforced").check()
    page.get_by_role("button", name="Save connector").click()
    page.locator("#made").wait_for()
    command = page.locator("#made").get_by_role("region", name="command").inner_text()
    before = centre.gateway.cli("connector", "show", "bank in", json=True).data["table"]
    assert before == {
        "name": "bank in",
        "connector_type": "partner",
        "sender_domains": ["bank.example", "*.bank.example"],
        "restrict_domains_to_certificate": True,
        "tls_sender_certificate_name": "mail.bank.example",
    }
    page.goto("about:blank")  # its page loads parts a moment later, which would not be there
    centre.gateway.cli("connector", "remove", "bank in")
    centre.gateway.cli(*shlex.split(command)[1:])
    assert centre.gateway.cli("connector", "show", "bank in", json=True).data["table"] == before


def test_a_smart_host_with_a_log_in(centre: AdminCentre, page: Page) -> None:
    """The secret is in no address, and is stored sealed with the connector. All pages that tell of it are looked at."""
    centre.log_in(page, "/connectors")
    page.goto(f"{centre.url}{START}")
    way = Way(page)
    page.get_by_label("This gateway → Partner organization").check()
    way.go("Connector name")
    page.get_by_label("Name", exact=True).fill("provider")
    way.go("Use of connector")
    page.get_by_label("Domains of the partner").fill("provider.example")
    way.go("Routing")
    page.get_by_label("Route messages through these smart hosts").check()
    page.get_by_label("Smart hosts", exact=True).fill("smtp.provider.example:465")
    way.go("Security restrictions")
    assert not page.get_by_label("User name", exact=True).is_visible()
    page.get_by_label("Start with TLS").check()
    page.get_by_label("Yes, with user name and password").check()
    assert not page.get_by_label("Client ID").is_visible()
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("alert").get_by_text("Enter the user name.").wait_for()
    page.get_by_role("alert").get_by_text("only where the smart host proves its name").wait_for()
    look(page, "wizard-login-wrong")
    page.get_by_label("Yes, with an access token").check()
    look(page, "wizard-login-token")
    page.get_by_label("Yes, with user name and password").check()
    page.get_by_label("TLS with a certificate for this name").check()
    page.get_by_label("User name", exact=True).fill("gate@contoso.example")
    look(page, "wizard-login")
    way.go("Validation")
    page.get_by_text("the secret is not stored").wait_for()
    way.go("Review")
    assert page.get_by_label("In rehearsal").count() == 0
    assert page.get_by_label("Enforced").is_checked()
    page.get_by_label("Password").fill("correct horse")
    look(page, "wizard-login-review")
    page.get_by_role("button", name="Save connector").click()
    page.get_by_text("was saved as revision").wait_for()
    assert "horse" not in page.url
    assert "horse" not in page.content()
    shown = centre.gateway.cli("connector", "show", "provider", json=True).data["table"]
    assert (shown["implicit_tls"], shown["authentication"]) == (True, {"username": "gate@contoso.example"})
    assert "sealed" in centre.gateway.cli("connector", "secret", "provider", "--check").stdout
    assert page.get_by_text("is not in this store").count() == 0, "it is, by now"
    assert "Stored, encrypted" in page.locator("#login").inner_text()
    look(page, "connector-login")
    look_at_the_log_in(centre, page)


def test_the_last_step_is_there_again_after_the_session_ended(centre: AdminCentre, page: Page) -> None:
    answers = {
        "scenario": "to-partner", "name": "late", "use": "domains", "recipient_domains": "late.example",
        "routing": "smart-hosts", "smart_hosts": "smtp.late.example:465", "implicit_tls": "on", "login": "password",
        "username": "gate", "tls_settings": "domain-validation", "tls_domain": "smtp.late.example",
        "done": "scenario,name,use,routing,security,check",
    }  # fmt: skip
    path = f"{START}&step=save&{urlencode(answers)}"
    centre.log_in(page, path)
    page.get_by_label("Password").fill("correct horse")
    page.get_by_label("Disabled").check()
    page.get_by_label("Reason (recorded)").fill("they asked for it")
    page.context.clear_cookies()
    page.get_by_role("button", name="Save connector").click()
    page.get_by_text("Your session expired").wait_for()
    assert "horse" not in str(page.evaluate("sessionStorage.getItem('unsent')"))
    centre.log_in(page, path)
    page.get_by_text("shows again what you typed").wait_for()
    assert page.get_by_label("Reason (recorded)").input_value() == "they asked for it"
    assert page.get_by_label("Disabled").is_checked()
    assert page.get_by_label("Password").input_value() == ""


def look_at_the_log_in(centre: AdminCentre, page: Page) -> None:
    """The form of the connector whose page is open, and an explanation."""
    page.get_by_role("link", name="Edit").first.click()
    page.get_by_role("heading", level=1).wait_for()
    assert "horse" not in page.content()
    look(page, "connector-login-edit")
    page.goto(f"{centre.url}/explain")
    page.get_by_label("From", exact=True).fill(ALICE)
    page.get_by_label("To", exact=True).fill("bob@provider.example")
    page.get_by_label("Client address").fill("127.0.0.1")
    page.get_by_role("button", name="Explain").click()
    page.get_by_text("as gate@contoso.example with a password").wait_for()
    look(page, "explain-login")


def test_going_back_loses_nothing(centre: AdminCentre, page: Page, sink: Callable[..., Sink]) -> None:
    host = sink().address
    centre.log_in(page, "/connectors")
    page.goto(f"{centre.url}{START}")
    Way(page).to_partner("back-out", "bank.example", host, NAME)
    for _ in range(5):
        page.get_by_role("button", name="Back").click()
    assert page.get_by_label("This gateway → Partner organization").is_checked()
    page.go_back()
    assert page.get_by_label("Name", exact=True).input_value() == "back-out"
    way = Way(page)
    way.go("Use of connector")
    assert page.get_by_label("Domains of the partner").input_value() == "bank.example"
    page.get_by_label("Domains of the partner").fill("not a domain!")
    page.get_by_role("button", name="Back").click()
    way.go("Use of connector")
    assert page.get_by_label("Domains of the partner").input_value() == "not a domain!", "what is wrong is kept, too"
    page.get_by_label("Domains of the partner").fill("bank.example")
    way.go("Routing")
    assert page.get_by_label("Smart hosts", exact=True).input_value() == host
    way.go("Security restrictions")
    assert page.get_by_label("Certificate name").input_value() == NAME
    page.reload()
    assert page.get_by_label("Certificate name").input_value() == NAME


@pytest.mark.parametrize(
    ("domains", "said"),
    [("", "Enter at least one domain"), ("*", ""), ("bank..example", "bank..example"), ("-.example", "-.example")],
)
def test_what_is_wrong_is_said_beside_the_field(centre: AdminCentre, page: Page, domains: str, said: str) -> None:
    centre.log_in(page, "/connectors")
    page.goto(
        f"{centre.url}/connectors/new?organization=contoso&scenario=to-partner&step=use&name=x&done=scenario,name"
    )
    page.get_by_label("Domains of the partner").fill(domains)
    page.get_by_role("button", name="Continue").click()
    if not said:
        page.get_by_role("heading", name="Routing", exact=True).wait_for()
        return
    page.get_by_role("alert").get_by_text(said).wait_for()
    assert page.get_by_label("Domains of the partner").get_attribute("aria-invalid") == "true"
    axe(page)
    page.set_viewport_size(PHONE)
    assert overflow(page) == 0


def test_it_says_whether_a_connector_is_needed(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, "/connectors")
    page.goto(f"{centre.url}{START}")
    scenarios = page.get_by_role("group", name="Select your mail flow scenario").locator("label")
    said = [one.inner_text() for one in scenarios.all()]
    assert ["Optional" in said[0], "Optional" in said[1], "Not needed" in said[2]] == [True, True, True]
    assert "already identify your servers: own servers" in said[3]
    page.goto(f"{centre.url}/connectors/new?organization=fabrikam")
    said = [one.inner_text() for one in scenarios.all()]
    assert "Needed" in said[2]
    assert "fabrikam.example" in said[2]
    assert "Needed" in said[3]
    look(page, "wizard-plan")


def test_a_partner_that_fails_can_be_saved_and_is_shown_so(
    centre: AdminCentre, page: Page, sink: Callable[..., Sink], pki: Pki
) -> None:
    partner = sink(certificate=pki.leaf("other.example"))
    centre.log_in(page, "/connectors")
    page.goto(f"{centre.url}{START}")
    way = Way(page)
    way.to_partner("failing-out", "failing.example", partner.address, NAME)
    page.get_by_role("button", name="Validate").click()
    page.locator("#task-verdict").get_by_text("Not validated: Name failed").wait_for()
    axe(page)
    way.go("Review")
    page.get_by_text("Not validated", exact=True).wait_for()
    page.get_by_label("Disabled").check()
    page.get_by_role("button", name="Save connector").click()
    page.locator("#made").wait_for()
    page.goto(f"{centre.url}/connectors?q=failing-out")
    assert page.get_by_text("Not validated").is_visible()
    assert page.locator("tbody").get_by_text("Disabled").is_visible()
    assert not partner.messages


def test_a_partners_own_authority_is_trusted_once_it_was_confirmed(
    centre: AdminCentre, page: Page, sink: Callable[..., Sink], tmp_path: Path
) -> None:
    own = Pki(tmp_path / "own", "Partner")
    partner = sink(certificate=own.leaf(NAME))
    centre.log_in(page, "/connectors")
    page.goto(f"{centre.url}{START}")
    way = Way(page)
    way.to_partner("own-out", "own.example", partner.address, NAME)
    page.get_by_role("button", name="Validate").click()
    page.locator("#task-verdict").get_by_text("Not validated").wait_for()
    page.get_by_role("button", name="trust the issuer that was seen").click()
    issuer = x509.load_pem_x509_certificate(own.intermediate.read_bytes())
    page.get_by_text(issuer.fingerprint(hashes.SHA256()).hex(":").upper()).wait_for()
    axe(page)
    page.get_by_role("button", name="Trust this issuer for this connector").click()
    page.get_by_text("Confirm the fingerprint with the partner first").wait_for()
    page.get_by_label("The partner confirmed this fingerprint").check()
    page.get_by_role("button", name="Trust this issuer for this connector").click()
    page.get_by_text("The issuer is trusted by the new connector").wait_for()
    page.get_by_role("button", name="Validate").click()
    page.locator("#task-verdict").get_by_text("Validated").wait_for()
    way.go("Review")
    page.get_by_role("button", name="Save connector").click()
    page.locator("#made").wait_for()
    table = centre.gateway.cli("connector", "show", "own-out", json=True).data["table"]
    assert table["trust_anchors"].split() == own.intermediate.read_text().split()
    requires = page.locator(".badge", has_text="Requires domain validation").first
    result = page.locator(".badge.pass").first
    colours = [one.evaluate("one => getComputedStyle(one).backgroundColor") for one in (requires, result)]
    assert colours[0] != colours[1], "what is required does not look like a result"


def test_without_a_script_it_is_the_same_way(
    centre: AdminCentre, browser: Browser, sink: Callable[..., Sink], pki: Pki
) -> None:
    partner = sink(certificate=pki.leaf(NAME))
    with context(browser, java_script_enabled=False) as (opened, _):
        page = opened.new_page()
        centre.log_in(page, "/connectors")
        page.goto(f"{centre.url}{START}")
        way = Way(page)
        way.to_partner("plain-out", "plain.example", partner.address, NAME)
        page.get_by_role("button", name="Validate").click()
        page.get_by_text("all 8 tasks succeeded").wait_for()
        way.go("Review")
        page.get_by_role("link", name="Re-evaluate the mail of the last 7 days").click()
        page.get_by_text("Show as CLI / TOML").wait_for()
        page.get_by_label("Enforced").check()
        page.get_by_role("button", name="Save connector").click()
        page.get_by_text("was saved as revision").wait_for()
    assert centre.gateway.cli("connector", "show", "plain-out", json=True).data["table"]["tls_domain"] == NAME


def test_a_trial_ends_when_nobody_follows_it(
    centre: AdminCentre, page: Page, sink: Callable[..., Sink], pki: Pki
) -> None:
    slow = sink(certificate=pki.leaf(NAME), behaviour=Behaviour(delays={"CONNECT": 100.0}))
    centre.log_in(page, "/connectors")
    page.goto(f"{centre.url}{START}")
    Way(page).to_partner("slow-out", "slow.example", slow.address, NAME)
    for _ in range(3):  # one person has two at a time
        page.get_by_role("button", name="Validate").click()
        wait_until(lambda: slow.counts["CONNECT"] > 0, "the partner is tried")
        page.goto(page.url)
        slow.counts.clear()


def test_a_foreign_page_begins_nothing(centre: AdminCentre, page: Page, sink: Callable[..., Sink]) -> None:
    partner = sink()
    centre.log_in(page, "/connectors")
    cookies = "; ".join(f"{one['name']}={one['value']}" for one in page.context.cookies())
    draft: dict[str, Any] = {
        "scenario": "to-partner",
        "organization": "contoso",
        "name": "x",
        "use": "domains",
        "recipient_domains": "bank.example",
        "routing": "smart-hosts",
        "smart_hosts": partner.address,
        "tls_settings": "opportunistic",
    }
    form = urlencode(draft).encode()

    def begin(**headers: str) -> int:
        given = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        asked = urllib.request.Request(f"{centre.url}/connectors/new/validate", form, given)  # noqa: S310 - https
        return status_of(asked)

    assert begin(Cookie=cookies) == 403, "without the token of our pages"
    token = centre.token("connectors", "read", name="tenant", organizations=("fabrikam",))
    assert begin(Authorization=f"Bearer {token}") == 404
    assert begin(Authorization=f"Bearer {centre.token('read', name='reader')}") == 403
    assert not partner.counts


def status_of(asked: urllib.request.Request) -> int:
    unchecked = ssl._create_unverified_context()  # noqa: S323 - the certificate is the gateway's own
    try:
        with urllib.request.urlopen(asked, timeout=30, context=unchecked) as answer:  # noqa: S310 - as above
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


def test_tasks_run_and_end_one_after_the_other(
    centre: AdminCentre, page: Page, sink: Callable[..., Sink], pki: Pki
) -> None:
    slow = sink(certificate=pki.leaf(NAME), behaviour=Behaviour(holds=frozenset({"CONNECT"})))
    centre.log_in(page, "/connectors")
    page.goto(f"{centre.url}{START}")
    Way(page).to_partner("slower-out", "slower.example", slow.address, NAME)
    page.get_by_role("button", name="Validate").click()
    # The partner keeps each answer back until the page has shown that it is waited for.
    for name, ended, held in (
        ("ehlo", "connect", "STARTTLS"),
        ("starttls", "ehlo", "EHLO"),
        ("certificate", "tls-handshake", ""),
    ):
        page.locator(f"#task-{name}.running").wait_for()
        page.locator(f"#task-{ended}.pass").wait_for()
        page.locator("#task-revocation.waiting").wait_for()
        if name == "starttls":
            assert "220 " in page.locator("#task-ehlo").inner_text()
            shot(page, "validation-live")
        slow.behaviour = Behaviour(holds=frozenset({held} - {""}))
    page.locator("#task-verdict").get_by_text("all 8 tasks succeeded").wait_for()
    assert page.locator(".task.running, .task.waiting:not(#task-test-message)").count() == 0
    page.get_by_text("SMTP transcript with 127.0.0.1").click()
    said = page.get_by_role("region", name="SMTP transcript with 127.0.0.1").inner_text()
    assert "> STARTTLS" in said
    assert "> (TLSv1.3" in said
    look(page, "validation-dialogue")


def test_a_client_that_would_come_is_tried_before_an_inbound_connector_is_saved(
    centre: AdminCentre, page: Page, pki: Pki
) -> None:
    client = pki.client("mail.clinic.example")
    centre.log_in(page, "/connectors")
    page.goto(f"{centre.url}{START}")
    way = Way(page)
    page.get_by_label("Partner organization → This gateway").check()
    way.go("Connector name")
    page.get_by_label("Name", exact=True).fill("clinic-in")
    way.go("Use of connector")
    page.get_by_label("Domains of the partner").fill("clinic.example")
    way.go("Security restrictions")
    page.get_by_label("Require a client certificate for this name").check()
    page.get_by_label("Certificate name").fill("mail.clinic.example")
    way.go("Validation")
    page.get_by_text("Simulate a client").click()
    page.get_by_label("Client certificate").fill(client.chain.read_text())
    page.get_by_role("button", name="Validate").click()
    page.get_by_role("link", name="IP address: both are needed").wait_for()
    axe(page)
    page.get_by_label("IP address").fill("192.0.2.7")
    page.get_by_label("Sender").fill("eve@clinic.example")
    page.get_by_role("button", name="Validate").click()
    page.locator("#task-presented.pass").wait_for()
    assert "with the certificate CN=mail.clinic.example" in page.locator("#task-presented").inner_text()
    look(page, "validation-inbound")
    way.go("Review")
    assert "BEGIN" not in page.url
