"""Times ten tasks of an administrator in a real browser, against a real gateway and a real partner (Postfix).

    make tasks                      all ten with a mouse, with the keyboard alone, and without scripts (root)
    .venv/bin/python bench/ten_tasks.py [mouse] [keyboard] [scripts-off] [--pictures FOLDER]

Each task begins on the overview, logged in (the first one at the one-time address). It fails if it takes more clicks
than its limit, or if what was to be reached was not: the gateway itself is asked, never the page alone. With all three
ways it writes docs/tasks.md. Needs root, Postfix and Chromium.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Browser

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "system"))
from hands import Hands, demand  # noqa: E402 - beside this file
from support import admin, browser, clients, scenes  # noqa: E402 - of the tests
from support.gateway import Gateway  # noqa: E402
from support.peers import Postfix  # noqa: E402

from gatepost.testing.pki import Pki  # noqa: E402
from gatepost.testing.process import free_port, wait_until  # noqa: E402

MANY = 200
NAME = "mx.bank.example"
WORD = "correct horse battery"
BOB = "bob@works.example"


class Task(NamedTuple):
    """do: by hand. limit: of clicks, 0 for none."""

    title: str
    limit: int
    do: Callable[[World], None]


class Timing(NamedTuple):
    """Counts of one task, one way. seconds: of the whole, as the machine is."""

    clicks: int
    fields: int
    keys: int
    seconds: float


class World:
    """A gateway with two organizations and 200 connectors, and a partner whose authority nobody else knows."""

    def __init__(self, stack: ExitStack, chrome: Browser, way: str, pictures: Path | None) -> None:
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.pki, self.private = Pki(self.folder / "pki"), Pki(self.folder / "private", "Bank Authority")
        self.next_leaf = self.pki.leaf("mx1.contoso.example")
        self.partner = stack.enter_context(Postfix(certificates=[self.private.leaf(NAME)]))
        self._stack, self._chrome, self._pictures = stack, chrome, pictures
        self._options: dict[str, Any] = {"java_script_enabled": way != "scripts-off"}
        self.centre = self._serve()
        self.gateway = self.centre.gateway
        self.page = self.browse()
        self.hands = Hands(self.page, keyboard=way == "keyboard", scripts=way != "scripts-off")

    def _serve(self) -> admin.AdminCentre:
        key, port = self.folder / "master.key", free_port()
        key.touch(0o600)
        key.write_bytes(bytes(range(32)))
        verified = {"tls_settings": "domain-validation", "tls_domain": NAME}
        outbound = [
            *(scenes.connector(f"d{number:03}.example") | {"name": f"to-{number:03}"} for number in range(MANY)),
            scenes.connector("clinic.example", self.partner.address, **verified),
            scenes.connector("works.example", self.partner.address),
        ]
        resources = scenes.contoso(outbound=outbound)
        resources["organization"]["fabrikam"] = {"outbound_connector": [scenes.connector("secret.example")]}
        settings = {**admin.settings(port), "store": {"master_key": f"file:{key}"}, "evidence": {"enabled": True}}
        server = Gateway(resources, certificates=[self.pki.leaf("mx1.contoso.example")], settings=settings)
        return admin.AdminCentre(self._stack.enter_context(server), port)

    def browse(self) -> Any:
        """A page of a browser that nobody used."""
        opened, complaints = self._stack.enter_context(
            browser.context(self._chrome, timezone_id="Europe/Stockholm", **self._options)
        )
        complaints.expected.append("status of 404")  # of who looks for what is another organization's
        opened.set_default_timeout(40_000)
        return opened.new_page()

    def send(self, to: str, subject: str) -> None:
        """A message of Alice."""
        scenes.send(self.gateway.port, to, content=scenes.message(subject))

    def go(self, name: str) -> None:
        """By the navigation."""
        self.hands.click(self.page.get_by_role("navigation", name="Main").get_by_role("link", name=name, exact=True))

    def press(self, name: str, **options: Any) -> None:
        """A button."""
        self.hands.click(self.page.get_by_role("button", name=name, **options).first)

    def open(self, name: str | re.Pattern[str], **options: Any) -> None:
        """A link."""
        self.hands.click(self.page.get_by_role("link", name=name, **options).first)

    def field(self, label: str, text: str) -> None:
        """A text field."""
        name = re.compile(rf"^\s*{re.escape(label)}\s*(\(optional\))?\s*$")
        self.hands.fill(self.page.get_by_label(name).first, text)

    def tick(self, label: str) -> None:
        """A box or radio button."""
        self.hands.check(self.page.get_by_label(label).first)

    def see(self, text: str | re.Pattern[str]) -> None:
        """Wait for a text of the page."""
        self.hands.see(self.page.locator("main").get_by_text(text))

    def picture(self, name: str, *, whole: bool = False) -> None:
        """For the documentation. whole: what is below the window, too."""
        if self._pictures:
            self.page.evaluate("scrollTo(0, 0)")
            self.page.screenshot(path=self._pictures / f"{name}.png", caret="initial", full_page=whole)

    def stored(self, name: str) -> dict[str, Any]:
        """A connector as it is stored."""
        rows = self.gateway.cli("connector", "list", json=True).data
        return next(row for row in rows if row["name"] == name)


def make_owner(world: World) -> None:
    """The address is printed at the start; the owner is logged in at once, on the page of first steps."""
    for label, text in (("User name", admin.OWNER), ("Password", admin.PASSWORD), ("Confirm password", admin.PASSWORD)):
        world.field(label, text)
    world.press("Create owner account")
    world.page.wait_for_url(f"{world.centre.url}/quickstart")
    demand([user["role"] for user in world.gateway.cli("user", "list", json=True).data] == ["owner"], "one owner")


def force_tls(world: World) -> None:
    """The wizard asks for the issuer's fingerprint; the connector is saved in rehearsal."""
    world.go("Connectors")
    world.open("Add a connector")
    world.hands.choose(world.page.locator("select#field-organization"), "contoso")
    world.tick("This gateway → Partner organization")
    world.press("Continue")
    world.field("Name", "bank")
    world.press("Continue")
    world.field("Domains of the partner", "bank.example")
    world.press("Continue")
    world.tick("Route messages through these smart hosts")
    world.field("Smart hosts", world.partner.address)
    world.press("Continue")
    world.tick("TLS with a certificate for this name")
    world.field("Certificate name", NAME)
    world.press("Continue")
    world.press("Validate", exact=True)
    world.see(re.compile("^Not validated"))
    world.press("trust the issuer that was seen")
    world.see("Not verified yet.")
    world.tick("The partner confirmed this fingerprint")
    world.press("Trust this issuer")
    world.press("Validate", exact=True)
    world.see(re.compile("all [0-9]+ tasks succeeded"))
    world.picture("validated")
    world.press("Continue")
    world.tick("In rehearsal")
    world.press("Save connector")
    world.hands.see(world.page.locator("#made"))
    made = world.stored("bank")
    demand(made["status"] == "rehearsal", f"in rehearsal: {made}")
    demand(made["validated"]["outcome"] == "validated", f"validated: {made}")


def mend_waiting(world: World) -> None:
    """The work list leads to the message, whose page leads to the connector and back."""
    world.send("eve@clinic.example", "Appointments")
    world.gateway.wait_trace(recipient="eve@clinic.example", event="DEFER", timeout=60)
    world.page.goto(f"{world.centre.url}/")
    world.hands.begin()
    item = world.page.locator("#needs li", has_text="clinic.example")
    world.hands.see(item)
    world.hands.click(item.first.get_by_role("link").last)
    if "/queue" in world.page.url and not re.search(r"/queue/[0-9a-f]{6,}", world.page.url):
        world.hands.click(world.page.locator("#queue tbody th a").first)
    world.see(re.compile("The administrators of the smart host"))
    world.picture("waiting")
    world.open("Edit and retry")
    world.hands.fill(world.page.locator('textarea[name="trust_anchors"]'), world.private.root.read_text())
    world.press("Save and retry this destination")
    world.see(re.compile("Retrying 1 deliver"))
    world.gateway.wait_trace(recipient="eve@clinic.example", event="SEND", timeout=60)


def find_message(world: World) -> None:
    """A part of the subject is enough."""
    world.hands.search("quarterl")
    world.hands.click(world.page.locator("#trace tbody th a").first)
    world.see(re.compile("Nobody has to act: the message was delivered"))
    world.picture("found")


def prove(world: World) -> None:
    """The file verifies without the gateway."""
    world.hands.search(BOB)
    world.hands.click(world.page.locator("#trace tbody th a").first)
    with world.page.expect_download() as download:
        world.open("Download evidence")
    file, key = world.folder / "evidence.json", world.folder / "key.pem"
    download.value.save_as(file)
    key.write_text(world.gateway.cli("evidence", "key").stdout)
    program = [sys.executable, str(ROOT / "docs" / "verify_evidence.py"), str(key), str(file)]
    verdict = subprocess.run(program, capture_output=True, text=True, check=False, timeout=60)
    demand(verdict.returncode == 0, verdict.stdout + verdict.stderr)


def switch_certificate(world: World) -> None:
    """The checks find no name server here, so that a reason is asked for."""
    world.go("Certificates")
    world.open("Add certificate")
    world.field("Certificate and intermediates", world.next_leaf.chain.read_text())
    world.field("Private key", world.next_leaf.key.read_text())
    world.press("Add certificate")
    world.see("was added as next")
    world.hands.fill(world.page.get_by_label("Override failed checks"), "no name server in this test")
    world.press("Switch", exact=True)
    world.see("is now current. New sessions get it")
    world.picture("changeover")
    shown = "".join(world.next_leaf.chain.read_text().split("-----")[2].split())
    wait_until(
        lambda: shown in "".join(clients.openssl_s_client(world.gateway.port).transcript.split()),
        "new sessions see it",
        timeout=60,
    )


def add_tenant(world: World) -> None:
    """The administrator of one organization sees nothing of the other."""
    world.go("Users")
    world.open("Add user")
    for label, text in (("Name", "tina"), ("Password", WORD), ("Confirm password", WORD)):
        world.field(label, text)
    world.hands.check(world.page.get_by_role("radio", name="Administrator"))
    world.hands.check(world.page.get_by_role("radio", name="Selected organizations"))
    world.hands.check(world.page.get_by_role("checkbox", name="contoso"))
    world.press("Add user")
    world.see("User tina was added.")
    tina = world.browse()
    world.centre.log_in_by_form(tina, "/connectors", name="tina", password=WORD)
    demand(tina.get_by_role("link", name="to-000").is_visible(), "she sees her own")
    demand("secret.example" not in tina.content(), "and nothing of others")
    for path in ("/connectors/fabrikam/outbound/secret.example", "/users", "/certificates"):
        answer = tina.goto(f"{world.centre.url}{path}")
        demand(answer and answer.status == 404, f"{path} is not there for her: {answer and answer.status}")


def revoke_token(world: World) -> None:
    """A program is out at once."""
    token = world.centre.token("read", name="monitoring")
    demand(world.centre.call("/api/v1/history", token)[0] == 200, "the token is good")
    world.go("API tokens")
    world.open("Remove token monitoring")
    world.press("Remove token monitoring")
    world.see("removed")
    demand(world.centre.call("/api/v1/history", token)[0] == 401, "the token is good for nothing")


def revert_change(world: World) -> None:
    """A colleague's change is found with its author and taken back."""
    colleague = world.centre.token("read", "connectors", name="carl")
    world.gateway.cli("connector", "set", "works.example", "comment=before")
    path = "/api/v1/organizations/contoso/outbound_connectors/works.example"
    status, _, answer = world.centre.call(path, colleague, "PATCH", {"comment": "of a colleague"}, {"If-Match": "*"})
    demand(status == 200, f"the colleague changed it: {answer}")
    world.go("History")
    row = world.page.locator("tbody tr").first
    demand("carl" in row.inner_text(), "the history names the colleague")
    world.hands.click(world.page.locator("tbody tr").nth(1).get_by_role("link").first)
    world.open(re.compile("Revert to this revision"))
    world.see("of a colleague")
    world.press("Revert: 1 change")
    world.see(re.compile("Revert to revision"))
    demand("of a colleague" not in world.gateway.cli("export").stdout, "the change is gone")


def rehearse_all(world: World) -> None:
    """All that match a filter, with what it would do to mail before it is done."""
    world.go("Connectors")
    world.hands.enter(world.page.get_by_label("Name or domain"), "to-")
    world.see("1 to 50 of 200 connectors")
    world.hands.choose(world.page.get_by_label("Action"), "rehearse")
    world.hands.choose(world.page.get_by_label("Apply to"), "all")
    world.press("Continue")
    world.press("Put in rehearsal: 200 connectors")
    world.see(re.compile("200 connectors are in rehearsal"))
    world.picture("bulk")
    rows = world.gateway.cli("connector", "list", json=True).data
    demand(
        sum(row["status"] == "rehearsal" and row["name"].startswith("to-") for row in rows) == MANY,
        "all are in rehearsal",
    )


TASKS = (
    Task("Make the owner", 0, make_owner),
    Task("Force TLS for a partner with an authority of its own: validated, in rehearsal", 18, force_tls),
    Task("Why does this message wait? Mend it", 6, mend_waiting),
    Task("“Bob never got it”, from a part of the subject", 2, find_message),
    Task("Proof of a message for an auditor", 6, prove),
    Task("Switch the certificate", 0, switch_certificate),
    Task("Make an administrator of one organization, kept out of others", 0, add_tenant),
    Task("Revoke an API token", 0, revoke_token),
    Task("Who changed this connector? Take it back", 0, revert_change),
    Task("Put 200 connectors in rehearsal at once", 0, rehearse_all),
)
WAYS = ("mouse", "keyboard", "scripts-off")


def run(way: str, pictures: Path | None) -> list[Timing]:
    """All tasks, one way. Raises AssertionError."""
    with browser.chromium() as chrome, ExitStack() as stack:
        world = World(stack, chrome, way, pictures)
        world.send(BOB, "Quarterly figures")
        world.gateway.wait_trace(recipient=BOB, event="SEND", timeout=60)
        timings = []
        for number, task in enumerate(TASKS):
            world.page.goto(world.centre.setup_url() if number == 0 else f"{world.centre.url}/")
            world.hands.begin()
            start = time.monotonic()
            try:
                task.do(world)
            except BaseException:
                print(f"{way}: {task.title}: {world.page.url}", file=sys.stderr)
                world.picture("failed")
                raise
            hands = world.hands
            timings.append(Timing(hands.clicks, hands.fields, hands.keys, time.monotonic() - start))
            print(f"{way:12} {task.title}: {timings[-1]}", flush=True)
            demand(not task.limit or hands.clicks <= task.limit, f"{task.title}: {hands.clicks} > {task.limit} clicks")
        if pictures:
            _last_pictures(world)
        return timings


def _last_pictures(world: World) -> None:
    """The overview and a report, with some mail, and an explanation."""
    for number in range(24):
        world.send(BOB if number % 3 else "eve@clinic.example", f"Minutes {number}")
    wait_until(lambda: len(world.gateway.trace(event="SEND", limit="100")) > 25, "all are sent", timeout=90)
    for path, name, there in (
        ("/", "overview", "#flows svg.picture"),
        ("/reports", "reports", "#outbound svg.picture"),
    ):
        world.page.goto(f"{world.centre.url}{path}")
        world.page.locator(there).first.wait_for()
        world.picture(name)
    world.page.goto(
        f"{world.centre.url}/explain?sender=alice%40contoso.example&recipient=eve%40clinic.example&ip=127.0.0.1"
    )
    world.page.locator("#failures").wait_for()
    world.page.locator("#share, #question").evaluate_all(
        "panels => panels.forEach((panel) => { panel.hidden = true; })"
    )
    world.picture("explain", whole=True)


PAGE = """\
# Ten tasks, timed

Made by `make tasks`, which works at the pages of a real gateway in Chromium, with Postfix as the partner: with a mouse,
with the keyboard alone, and without scripts. It asks the gateway whether each task was done, and fails if one takes
more clicks than its limit. A click is one on a link, button, box or list; text fields are counted by themselves, since
one goes on to the next by Tab. Keys are those that move and act, without the letters of texts: Tab, Enter, arrows, the
link that skips the navigation, and `/` for the search. Seconds are the browser's and the gateway's, on two slow cores:
a person adds reading and typing.

| task | clicks | at most | fields | seconds | keys | seconds, keyboard | seconds, no scripts |
|---|--:|--:|--:|--:|--:|--:|--:|
"""


PICTURES = """
![“Bob never got it”: who must act, and what happened](pictures/found.png)

![200 connectors in rehearsal, with ten seconds or more to undo it](pictures/bulk.png)
"""


def table(found: dict[str, list[Timing]]) -> str:
    """docs/tasks.md."""
    rows = []
    for number, task in enumerate(TASKS):
        mouse, keyboard, plain = (found[way][number] for way in WAYS)
        cells = [task.title, mouse.clicks, task.limit or "", mouse.fields, f"{mouse.seconds:.1f}", keyboard.keys]
        cells += [f"{keyboard.seconds:.1f}", f"{plain.seconds:.1f}"]
        rows.append(f"| {' | '.join(map(str, cells))} |\n")
    return PAGE + "".join(rows) + PICTURES


def main(words: list[str]) -> None:
    pictures = Path(words[words.index("--pictures") + 1]) if "--pictures" in words else None
    ways = [way for way in WAYS if way in words] or list(WAYS)
    if pictures:
        pictures.mkdir(parents=True, exist_ok=True)
    found = {way: run(way, pictures if way == "mouse" else None) for way in ways}
    if len(found) == len(WAYS):
        (ROOT / "docs" / "tasks.md").write_text(table(found))


if __name__ == "__main__":
    main(sys.argv[1:])
