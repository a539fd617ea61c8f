"""Proves that a command says the same of a gateway from afar as beside it, and goes to no other than the one meant."""

from __future__ import annotations

import hashlib
import json
import re
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest
from click.testing import CliRunner, Result
from support.admin import AdminCentre, running, served
from support.drills import conclusive
from support.gateway import Gateway
from support.scenes import ALICE, STRANGER, connector, contoso, message, send

from gatepost.manage.cli import main
from gatepost.policy.decisions.destination_history import DestinationName, SeenSession
from gatepost.policy.decisions.requirement import Achieved, MxLevel, TlsLevel
from gatepost.protocols.tlsrpt.received import ReceivedFailure, ReceivedPolicy, ReceivedReport
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.protocols.tlsrpt.tally import Count, PolicyType, applied, detail
from gatepost.settings.store_url import SQLITE
from gatepost.store.destinations import DESTINATIONS_FILE, DestinationFile
from gatepost.store.sent_reports import StoredReport
from gatepost.store.sqlite.trace_files import day_of
from gatepost.store.storage import Storage
from gatepost.testing.gateway import CliRun
from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import free_port, wait_until

ANN = "ann@contoso.example"
BANK = connector("bank.example", "127.0.0.1:1", tls_settings="encryption-only")
PARTNER = {"name": "partner in", "sender_domains": ["elsewhere.example"], "require_tls": True, "mode": "rehearse"}
OWN = {"name": "own servers", "connector_type": "on-premises", "sender_ip_addresses": ["127.0.0.1/32"]}
RULE = {"name": "secrets", "header_name": "Sensitivity", "header_contains": ["confidential"], "require_tls": True}
ISSUER = {
    "name": "entra",
    "issuer": "https://login.example/v2.0",
    "audiences": ["app"],
    "username_claim": "upn",
    "required_scopes": ["SMTP.Send"],
}
HOOK = {"name": "av", "type": "clamav", "address": "127.0.0.1:3310", "mode": "rehearse"}
# Exported elsewhere: without its private half.
SIGNING = {
    "name": "s1._domainkey.contoso.example",
    "algorithm": "ed25519-sha256",
    "public_key": "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
}
FABRIKAM = {"accepted_domain": [{"name": "fabrikam.example"}], "mailbox": [{"address": "joe@fabrikam.example"}]}


def resources() -> dict[str, Any]:
    """Two organizations with some of everything."""
    found = contoso(
        inbound=(OWN, PARTNER),
        outbound=(BANK,),
        display_name="Contoso Hospital",
        mail_flow_rule=[RULE],
        oauth_issuer=[ISSUER],
        content_hook=[HOOK],
        dkim_key=[SIGNING],
    )
    found["organization"]["fabrikam"] = FABRIKAM
    return found


_VARIABLES = ("GATEPOST_SERVER", "GATEPOST_TOKEN", "GATEPOST_TOKEN_FILE", "GATEPOST_CA", "GATEPOST_FINGERPRINT")


class Remote(NamedTuple):
    """A gateway, and a command that reaches it from afar with a token. folder: for files."""

    centre: AdminCentre
    folder: Path

    def token_file(self, name: str, *scopes: str, organizations: tuple[str, ...] = ()) -> str:
        """A file with a new token."""
        file = self.folder / name
        file.touch(mode=0o600)
        file.write_text(self.centre.token(*scopes, name=name, organizations=organizations) + "\n", encoding="ascii")
        return str(file)

    @property
    def ca(self) -> str:
        """The certificate that the gateway made for itself."""
        return str(self.centre.gateway.data_dir / "admin" / "certificate.pem")

    def there(
        self,
        *words: str,
        token: str = "",
        url: str = "",
        trust: tuple[str, ...] = (),
        json: bool = False,
        expect: int = 0,
    ) -> CliRun:
        """A command that has no file of the gateway: only its address, a token and its certificate."""
        where = ("--server", url or self.centre.url, "--token-file", token or str(self.folder / "owner"))
        done = _run(*where, *(trust or ("--ca", self.ca)), *words, *(["--json"] if json else []))
        run = CliRun(done.exit_code, done.stdout, done.stderr)
        assert run.status == expect, f"{' '.join(words)}: {run}"
        return run

    def both(self, *words: str, as_json: bool = False) -> tuple[Result, Result]:
        """The same command beside the gateway and from afar."""
        rest = [*words, *(["--json"] if as_json else [])]
        return _here(self.centre.gateway, *rest), self._there(*rest)

    def drill(self, *words: str) -> tuple[Result, Result]:
        """`gatepost connector drill …`, each asked again while the machine is too busy for it."""
        rest = ("connector", "drill", *words)
        runs = [lambda: _here(self.centre.gateway, *rest), lambda: self._there(*rest)]
        here, there = [conclusive(run, lambda done: done.exit_code) for run in runs]
        return here, there

    def _there(self, *words: str) -> Result:
        where = ("--server", self.centre.url, "--token-file", str(self.folder / "owner"), "--ca", self.ca)
        return _run(*where, *words)


def _here(server: Gateway, *words: str) -> Result:
    return _run("--config", str(server.config), *words)


def _run(*words: str) -> Result:
    """A command within this process: an interpreter takes its time to start."""
    return CliRunner(env=dict.fromkeys(_VARIABLES)).invoke(main, words)


MX = "mx1.contoso.example"


def sealing(folder: Path) -> dict[str, Any]:
    """Settings with a master key, so that keys can be kept."""
    key = folder / "master.key"
    key.touch(mode=0o600)
    key.write_bytes(bytes(range(40)))
    return {"store": {"master_key": f"file:{key}"}}


def _filled(server: Gateway, pki: Pki) -> None:
    """Two certificates, a request, a user and what they left in the audit."""
    for label in ("old", "new"):
        leaf = pki.leaf(MX)
        _here(server, "certificate", "add", str(leaf.chain), "--key", str(leaf.key), "--label", label)
    _here(server, "certificate", "request", "--name", MX, "--must-staple")
    words = ("user", "add", "tina", "--role", "auditor", "--organization", "contoso", "--password-stdin")
    server.cli(*words, given="correct horse battery\n")


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[Remote]:
    """One gateway for the tests that change nothing that others look at."""
    folder = tmp_path_factory.mktemp("remote")
    options: dict[str, Any] = {"settings": sealing(folder), "nameservers": ["127.0.0.1:1"]}
    with running(resources(), **options) as centre:
        found = Remote(centre, folder)
        found.token_file("owner")
        server = found.centre.gateway
        send(server.port, ANN)
        send(server.port, "teller@bank.example")
        with smtplib.SMTP("127.0.0.1", server.port, "client.example", 30, ("127.0.0.2", 0)) as stranger:
            stranger.sendmail(STRANGER, [ANN], message(sender=STRANGER))
        server.wait_maildir(ANN, 2)
        for event, count in (("RECEIVE", 3), ("DELIVER", 2)):
            wait_until(lambda: len(server.trace(event=event)) >= count, f"the trace has {count} of {event}")  # noqa: B023 - asked at once
        wait_until(lambda: _deferred(server), "the mail to the bank waits")
        _here(server, "queue", "hold", "--domain", "bank.example")
        _filled(server, pki)
        _here(server, "mailbox", "set", ANN, "aliases=a.ann@contoso.example", "--note", "as she wished")
        _seed(server.data_dir)
        wait_until(lambda: "has no certificate" not in _here(server, "status").stdout, "what was added is presented")
        wait_until(lambda: _alarms_kept(server), "the gateway judged the certificates that were added")
        yield found


def _seed(data: Path) -> None:
    """What takes days to come about: memory of destinations, counted sessions, reports of others and of ours."""
    now = time.time()
    well = (SeenSession("mx.example", Achieved(TlsLevel.AUTHENTICATED, MxLevel.NONE), now - 8e5, "TLSv1.3"), False)
    ill = (SeenSession("mx.example", Achieved(TlsLevel.NONE, MxLevel.NONE), now - 9e4), False)
    with closing(DestinationFile(data / DESTINATIONS_FILE)) as file:
        fallen = {DestinationName(one, "fallen.example"): (well, ill) for one in ("contoso", "fabrikam")}
        fallen[DestinationName("contoso", "weak.example")] = (well, ill)
        file.write({**fallen, DestinationName("contoso", "good.example"): (well,)})
    day = day_of(now - 86_400.0)
    policy = applied(PolicyType.STS, "bank.example", ["version: STSv1"], ["*.bank.example"])
    failure = detail(ResultType.CERTIFICATE_EXPIRED, mx_host="mx.bank.example", address="192.0.2.1")
    for when in (day, day_of(now)):
        counts = [Count(when, "bank.example", policy, None, 90), Count(when, "bank.example", policy, failure, 7)]
        Storage(SQLITE, data).session_counts().write(when, counts)
    failures = (ReceivedFailure("certificate-expired", 3, "127.0.0.2", "mx.contoso.example"),)
    reported = ReceivedPolicy("sts", "contoso.example", 7, 3, failures=failures)
    report = ReceivedReport("Big Mail", "tls@big.example", "1", now - 5e3, now, (reported,))
    Storage(SQLITE, data).received_reports().keep(StoredReport(now, "https 192.0.2.1", report))
    Storage(SQLITE, data).sent_reports().plan(day, [("bank.example", now + 3600), ("good.example", now + 3600)])


def _alarms_kept(server: Gateway) -> bool:
    """An alarm that the gateway has not stored yet begins anew with each look."""
    before = time.time()
    alarms = json.loads(_here(server, "alarms", "--json").stdout)["alarms"]
    return bool(alarms) and all(alarm["since"] < before for alarm in alarms)


def _deferred(server: Gateway) -> bool:
    return any(one["state"] == "deferred" for one in json.loads(_here(server, "queue", "list", "--json").stdout))


LOOKS = {
    "export": ("export",),
    "organizations": ("organization", "list"),
    "an organization": ("organization", "show", "contoso"),
    "an organization as TOML": ("organization", "show", "contoso", "--toml"),
    "no organization": ("organization", "show", "contosso"),
    "domains": ("domain", "list"),
    "domains of one": ("domain", "list", "--organization", "fabrikam"),
    "a domain": ("domain", "show", "contoso.example", "--fields"),
    "mailboxes": ("mailbox", "list"),
    "mailboxes of a domain": ("mailbox", "list", "--domain", "contoso.example"),
    "a mailbox": ("mailbox", "show", ANN),
    "no mailbox": ("mailbox", "show", "an@contoso.example"),
    "connectors": ("connector", "list"),
    "outbound connectors": ("connector", "list", "--direction", "outbound", "--organization", "contoso"),
    "connectors of nobody": ("connector", "list", "--organization", "nobody"),
    "a connector": ("connector", "show", "bank.example"),
    "a connector as the command": ("connector", "show", "partner in", "--command"),
    "no connector": ("connector", "show", "banc.example"),
    "rules": ("rule", "list"),
    "a rule": ("rule", "show", "secrets"),
    "issuers": ("issuer", "list"),
    "an issuer": ("issuer", "show", "entra"),
    "hooks": ("hook", "list"),
    "a hook": ("hook", "show", "av"),
    "DKIM keys": ("dkim", "list"),
    "DKIM keys of nobody": ("dkim", "list", "--organization", "nobody"),
    "a DKIM key": ("dkim", "show", SIGNING["name"]),
    "a DKIM record": ("dkim", "record", SIGNING["name"]),
    "a DKIM key that cannot sign": ("dkim", "rotate", "contoso.example", "--force", "x"),
    "no next DKIM key": ("dkim", "rotate", "fabrikam.example"),
    "a policy that is not there": ("domain", "mta-sts", "contoso.example"),
    "a policy, looked at": ("domain", "mta-sts", "contoso.example", "--check", "--private"),
    "no hook to ask": ("hook", "check", "nobody"),
    "history": ("history",),
    "history of one": ("history", "--organization", "fabrikam", "--limit", "1"),
    "a version": ("history", "show", "2"),
    "no version": ("history", "show", "99"),
    "queue": ("queue", "list"),
    "queue, held": ("queue", "list", "--held", "--limit", "0"),
    "queue, of another domain": ("queue", "list", "--domain", "fabrikam.example"),
    "no message": ("queue", "show", "17mGJgd3rc7"),
    "no queue id": ("queue", "show", "not/an?id"),
    "trace": ("trace", "search"),
    "trace, of a recipient": ("trace", "search", "--recipient", ANN, "--limit", "1"),
    "trace, since": ("trace", "search", "--since", "2026-01-01", "--until", "2099-01-01T00:00", "--event", "deliver"),
    "trace, none": ("trace", "search", "--recipient", "nobody@contoso.example"),
    "trace, by protection": ("trace", "search", "--protection", "cleartext"),
    "no trace": ("trace", "show", "<nothing/of this@name>"),
    "certificates": ("certificate", "list"),
    "a certificate": ("certificate", "show", "new"),
    "no certificate": ("certificate", "show", "no/such"),
    "certificate history": ("certificate", "history", "--limit", "2"),
    "text for partners": ("certificate", "changeover", "notice", "new"),
    "no ACME": ("certificate", "acme", "status"),
    "no ACME to ask": ("certificate", "acme", "renew"),
    "no ACME to forget": ("certificate", "acme", "forget"),
    "nothing planned": ("certificate", "changeover", "notice", "0123456789"),
    "users": ("user", "list"),
    "sessions": ("user", "sessions", "tina"),
    "no user": ("user", "sessions", "nobody"),
    "audit": ("audit", "--limit", "3"),
    "audit, of a user": ("audit", "--subject", "tina", "--action", "user-add", "--since", "2026-01-01"),
    "audit, of the gateway": ("audit", "--organization", "", "--outcome", "done", "--before", "3"),
    "audit, of nobody": ("audit", "--who", "nobody"),
    "rehearsal of nothing": ("connector", "rehearsal", "partner"),
    "a name that is taken": ("mailbox", "add", ANN),
    "alarms": ("alarms",),
    "explain, a mailbox": ("explain", "--from", STRANGER, "--to", ANN, "--header", "Sensitivity: confidential"),
    "explain, the bank": ("explain", "--from", ANN, "--to", "x@bank.example", "--ip", "127.0.0.1", "--requiretls"),
    "explain, nobody": ("explain", "--from", "", "--to", "nobody@contoso.example"),
    "explain, all wrong": ("explain", "--from", "a b", "--to", "<>", "--ip", "here", "--header", "no field"),
    "report tls": ("report", "tls"),
    "report tls, a partner": ("report", "tls", "--partner", "elsewhere.example", "--at-least", "1"),
    "report tls, no mail": ("report", "tls", "--organization", "nobody"),
    "report connectors": ("report", "connectors", "--since", "2d"),
    "report tlsrpt": ("report", "tlsrpt"),
    "report tlsrpt, no sessions": ("report", "tlsrpt", "--day", "2026-01-01", "--domain", "bank.example"),
    "report received": ("report", "received"),
    "report received, failures": ("report", "received", "--failures"),
    "report sent": ("report", "sent", "--since", "2026-11-01"),
    "destinations": ("destination", "list"),
    "destinations, below": ("destination", "list", "--below", "--limit", "1"),
    "a destination": ("destination", "show", "fallen.example"),
    "no destination": ("destination", "show", "nobody.example"),
    "nothing to accept": ("destination", "accept", "good.example"),
    "nothing to forget": ("destination", "forget", "nobody.example"),
    "whose to forget": ("destination", "forget", "fallen.example"),
    "evidence heads": ("evidence", "heads"),
    "evidence key": ("evidence", "key"),
}


@pytest.mark.parametrize("words", LOOKS.values(), ids=LOOKS)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_what_a_command_says_is_the_same_from_afar(remote: Remote, words: tuple[str, ...], as_json: bool) -> None:
    here, there = remote.both(*words, as_json=as_json)
    assert (there.stdout, there.stderr, there.exit_code) == (here.stdout, here.stderr, here.exit_code)
    assert there.output


def test_an_explanation_of_a_certificate_is_the_same_from_afar(remote: Remote) -> None:
    words = ("explain", "--from", STRANGER, "--to", ANN, "--certificate", remote.ca, "--live")
    here, there = remote.both(*words)
    assert f"certificate {remote.ca}" in " ".join(here.stdout.split())
    assert "LIVE" in here.stdout
    assert (there.stdout, there.stderr, there.exit_code) == (here.stdout, here.stderr, here.exit_code)


@pytest.mark.parametrize("suffix", ["csv", "json", "svg"])
def test_a_report_is_written_here(remote: Remote, suffix: str) -> None:
    files = [remote.folder / f"{name}.{suffix}" for name in ("here", "there")]
    server = remote.centre.gateway
    assert _here(server, "report", "tls", "-o", str(files[0])).exit_code == 0
    remote.there("report", "tls", "-o", str(files[1]))
    own, fetched = (file.read_bytes() for file in files)
    if suffix == "svg":  # its ids are made at random
        assert fetched.count(b"<path") == own.count(b"<path") > 5
    else:
        assert fetched == own
    assert len(fetched) > 100


def test_evidence_is_exported_alike(remote: Remote) -> None:
    (waiting,) = remote.centre.gateway.cli("queue", "list", json=True).data
    choice = ("evidence", "export", "--message", waiting["message"]["id"], "--since", "2026-01-01")
    for form in ("csv", "json"):
        here, there = remote.both(*choice, "--format", form)
        texts = [re.sub(r'"made":"[^"]+"', "", run.stdout) for run in (here, there)]
        assert texts[0] == texts[1]
        assert (there.stderr, there.exit_code) == (here.stderr, here.exit_code)
        assert "RECEIVE" in there.stdout
    file = remote.folder / "proof.json"
    remote.there(*choice, "-o", str(file))
    key = remote.folder / "key.pem"
    key.write_text(remote.there("evidence", "key").stdout, encoding="ascii")
    proven = _run("evidence", "verify", str(file), "--key", str(key))
    assert proven.exit_code in {0, 3}, "3 if the signature is not made yet"
    assert "FAILED: the log was altered" not in proven.stdout
    drawn = [remote.folder / name for name in ("here.pdf", "there.pdf")]
    words = ("--format", "pdf", "--proof", str(remote.folder / "pdf.json"))
    assert _here(remote.centre.gateway, *choice, *words, "-o", str(drawn[0])).exit_code == 0
    assert "SHA-256" in remote.there(*choice, *words, "-o", str(drawn[1])).stderr
    pages = [file.read_bytes().count(b"/Type /Page\n") for file in drawn]
    assert pages[0] == pages[1] > 0


def test_the_status_is_told_alike(remote: Remote) -> None:
    for as_json in (False, True):
        runs = remote.both("status", as_json=as_json)
        # Each greeting has its own name, each answer its own age of the last sign of life, and each sign its own clock.
        own = r"(?<=gatepost) \[[^]]+\]|(?<=heartbeat )[0-9]+|(?<=\"heartbeat\": )[0-9.]+|(?<=clock )[-+0-9.]+"
        own += r"|(?<=\"clock_offset\": )[-0-9.]+"
        here, there = (re.sub(own, "", run.stdout) for run in runs)
        assert there == here
        assert "220 " in there
        assert "nameserver [127.0.0.1]:1 cannot be reached" in there
        told = "" if as_json else "Unhealthy\n"
        assert [(run.stderr, run.exit_code) for run in runs] == [(told, 1)] * 2


def test_mail_is_returned_from_afar(remote: Remote) -> None:
    server, there = remote.centre.gateway, remote.there
    delivered = len(server.trace(event="DELIVER"))
    send(server.port, "joe@bank.example")
    wait_until(lambda: _deferred(server), "the mail to the bank waits")
    (waiting,) = there("queue", "list", "--recipient", "joe@bank.example", json=True).data
    identity = waiting["message"]["id"]
    words = ("queue", "return", identity, "--text", "The bank has closed", "--reason", "as agreed")
    assert there(*words, "--dry-run").stdout == "return: 1 delivery (dry run)\n"
    assert there(*words, json=True).data[0]["message"]["id"] == identity
    (notice,) = server.wait_maildir(ALICE)
    assert b"The bank has closed" in notice.body
    wait_until(lambda: len(server.trace(event="DELIVER")) > delivered, "the trace has it, before others look at it")
    wait_until(lambda: len(there("queue", "list", json=True).data) == 1, "nothing but the held mail is left")
    assert "as agreed" in there("trace", "show", identity).stdout
    assert there(*words, expect=1).stdout == "return: 0 deliveries\n"
    assert "ASCII" in there("queue", "return", "--all", "--text", "gr\u00fc\u00dfe", expect=2).stderr


def test_others_are_asked_alike(remote: Remote) -> None:
    for as_json in (False, True):
        here, there = remote.both("hook", "check", "av", as_json=as_json)
        texts = [re.sub(r'\d+ ms|"ms": \d+', "", run.stdout) for run in (here, there)]
        assert texts[0] == texts[1]
        assert (there.stderr, there.exit_code) == (here.stderr, 3)
        assert "EICAR" in there.stdout
    here, there = remote.both("issuer", "check", "entra")
    assert (there.stdout, there.stderr, there.exit_code) == ("", f"{remote.centre.url}: {here.stderr}", 3)
    assert "login.example" in here.stderr


def test_a_password_is_set_from_afar(remote: Remote) -> None:
    server, where = remote.centre.gateway, ["--server", remote.centre.url, "--ca", remote.ca]
    token = ["--token-file", str(remote.folder / "owner")]
    words = [*where, *token, "mailbox", "password", ANN, "--stdin"]
    run = CliRunner(env=dict.fromkeys(_VARIABLES)).invoke(main, words, input="correct horse\n")
    assert (run.exit_code, run.stderr) == (0, f"{ANN}: password set\n")
    short = CliRunner(env=dict.fromkeys(_VARIABLES)).invoke(main, words, input="short\n")
    assert (short.exit_code, "at least 8 are needed; nothing was changed" in short.stderr) == (2, True)
    with closing(Storage(server.store_url, server.data_dir).configuration()) as store:
        assert store.content(f"password/{ANN}")
    assert remote.there("mailbox", "password", ANN, "--remove").stderr == f"{ANN}: password removed\n"
    events = remote.there("audit", "--action", "mailbox-password", json=True).data
    assert [one["outcome"] for one in events] == ["done", "refused", "done"]
    assert "horse" not in json.dumps(events) + server.log()


def test_a_destination_is_accepted_from_afar(remote: Remote) -> None:
    there = remote.there
    token = remote.token_file("looker", "read")
    words = ("destination", "accept", "weak.example")
    assert "'connectors' is needed" in there(*words, token=token, expect=2).stderr
    done = there(*words)
    assert done.stdout == "accepted: weak.example of contoso at none/none\n"
    assert done.stderr == "held mail released for retry: 0 deliveries\n"
    shown = _here(remote.centre.gateway, "destination", "show", "weak.example")
    assert (shown.exit_code, "LESS" in shown.stdout) == (0, False)
    assert there("destination", "forget", "weak.example").stdout == "forgotten: weak.example of contoso\n"
    assert "nothing is recorded" in _here(remote.centre.gateway, "destination", "show", "weak.example").stderr


def test_mail_is_told_alike(remote: Remote) -> None:
    (waiting,) = remote.centre.gateway.cli("queue", "list", json=True).data
    identity = waiting["message"]["id"]
    for words in (("queue", "show", identity), ("trace", "show", identity)):
        for as_json in (False, True):
            here, there = remote.both(*words, as_json=as_json)
            assert there.stdout == here.stdout
            assert identity in there.stdout
    assert "by an administrator" in remote.there("queue", "show", identity).stdout
    here, there = remote.both("queue", "show", identity, "--body")
    assert there.stdout_bytes == here.stdout_bytes
    assert there.stdout_bytes.endswith(message())
    token = remote.token_file("looking", "read")
    refused = remote.there("queue", "show", identity, "--body", token=token, expect=2)
    assert "The scope 'queue' is needed" in refused.stderr
    assert "Hello." not in refused.stdout
    there, here = remote.there("audit", "--action", "queue-content", "--outcome", "done", json=True).data
    assert (there["who"], there["subject"], there["organization"]) == ("token owner", identity, "contoso")
    assert (here["address"], here["subject"], here["organization"]) == ("", identity, "contoso")


def test_a_drill_is_told_alike(remote: Remote) -> None:
    """Held there, by the gateway; each drill has an authority, a time and a number of its own."""
    for words, status in (("bank.example",), 0), (("partner in",), 2), (("nobody",), 2):
        here, there = remote.drill(*words)
        assert (here.exit_code, there.exit_code) == (status, status), there.output
        assert (_undrilled(there.stdout), there.stderr) == (_undrilled(here.stdout), here.stderr)
    for as_json in (False, True):
        here, there = remote.both("connector", "drill", "bank.example", "--last", as_json=as_json)
        assert (there.stdout, there.stderr, there.exit_code) == (here.stdout, here.stderr, 0)
    assert json.loads(there.stdout)["number"] == 2
    rows = remote.there("trace", "search", "--event", "drill", json=True).data
    assert rows[0]["detail"]["sha256"] == json.loads(there.stdout)["sha256"]


def _undrilled(text: str) -> str:
    times = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    return re.sub(rf"{times}|\d+-\d{{8}}T\d{{6}}Z|[0-9a-f]{{16,}}|\b\d+ octets", "", text)


def test_a_connector_that_is_not_stored_is_validated_alike(remote: Remote) -> None:
    wanted = resources()
    fresh = {"name": "fresh", "sender_domains": ["fresh.example"]}
    wanted["organization"]["contoso"]["inbound_connector"].append(fresh)
    file = remote.folder / "draft.json"
    file.write_text(json.dumps(wanted), encoding="utf-8")
    here, there = remote.both("connector", "validate", "fresh", "--file", str(file))
    times = r" \(\d+\.\d\d s\)|, \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ"
    assert re.sub(times, "", there.stdout) == re.sub(times, "", here.stdout)
    assert (there.stderr, there.exit_code) == (here.stderr, here.exit_code)
    assert "inbound connector 'fresh' of contoso" in there.stdout
    assert "no connector 'fresh'" in remote.there("connector", "show", "fresh", expect=2).stderr


VALIDATIONS = {
    "outbound": (("bank.example", "--verbose"), 1),
    "inbound": (("partner in", "--ip", "192.0.2.1", "--from", "eve@elsewhere.example", "--to", ANN), 1),
    "of nobody": (("nobody",), 2),
    "for the other direction": (("bank.example", "--ip", "192.0.2.1"), 2),
    "without an address": (("bank.example", "--recipient", "bob"), 2),
    "without a row": (("partner in", "--session", "5e55"), 2),
}


@pytest.mark.parametrize(("words", "status"), VALIDATIONS.values(), ids=VALIDATIONS)
def test_a_connector_is_validated_alike(remote: Remote, words: tuple[str, ...], status: int) -> None:
    here, there = remote.both("connector", "validate", *words)
    assert (here.exit_code, there.exit_code) == (status, status), there.output
    times = r" \(\d+\.\d\d s\)|, \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ"
    assert re.sub(times, "", there.stdout) == re.sub(times, "", here.stdout)
    assert there.stderr == here.stderr


@pytest.mark.parametrize("replay", [(), ("--replay",)], ids=["counted", "replayed"])
def test_a_rehearsal_is_told_alike(remote: Remote, replay: tuple[str, ...]) -> None:
    words = ("connector", "rehearsal", "partner in", "--since", "2026-01-01", *replay)
    here, there = remote.both(*words, as_json=True)
    assert json.loads(here.stdout)["failed"] == 1
    assert _untimed(there.stdout) == _untimed(here.stdout)
    here, there = remote.both(*words)
    texts = [re.sub(r" to \S+ \S+Z$", "", run.stdout, count=1, flags=re.MULTILINE) for run in (here, there)]
    assert texts[0] == texts[1]
    assert here.exit_code == there.exit_code == 1


@pytest.mark.parametrize("words", [("check", "new"), ("status",)], ids=["check", "status"])
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_a_changeover_is_told_alike(remote: Remote, words: tuple[str, ...], as_json: bool) -> None:
    here, there = remote.both("certificate", "changeover", *words, as_json=as_json)
    assert _unlooked(there.stdout) == _unlooked(here.stdout)
    assert (there.stderr, there.exit_code) == (here.stderr, here.exit_code)
    assert "tlsa" in there.stdout


def _unlooked(text: str) -> str:
    """Without when the gates were looked at, and how long it took."""
    return re.sub(r'"(at|seconds)": [\d.]+', '"\\1": 0', text)


def test_a_switch_that_is_refused_is_told_alike(remote: Remote) -> None:
    for as_json in (False, True):
        here, there = remote.both("certificate", "changeover", "switch", "new", as_json=as_json)
        assert _unlooked(there.stdout) == _unlooked(here.stdout)
        assert (there.stderr, there.exit_code) == (here.stderr, here.exit_code)
        assert here.exit_code in {1, 3}


def test_the_table_for_partners_is_written_alike(remote: Remote) -> None:
    told = []
    for place in ("here", "there"):
        run = remote.both("certificate", "publish", str(remote.folder / place))[place == "there"]
        told.append(
            (
                run.exit_code,
                run.stdout.replace("unchanged", "written"),
                run.stderr.replace(str(remote.folder / place), ""),
            )
        )
    assert told[0] == told[1]
    files = [{one.name: one.read_bytes() for one in (remote.folder / place).iterdir()} for place in ("here", "there")]
    assert files[0] == files[1]
    assert "index.html" in files[0]


def test_tokens_are_listed_alike(remote: Remote) -> None:
    here, there = (json.loads(run.stdout) for run in remote.both("token", "list", as_json=True))
    assert [{**one, "last_used": 0} for one in there] == [{**one, "last_used": 0} for one in here]
    assert "owner" in remote.there("token", "list").stdout


DRY = {
    "a domain": ("domain", "add", "new.example", "--organization", "contoso"),
    "a mailbox": ("mailbox", "add", "eve@contoso.example", "delivery=lmtp:127.0.0.1:24"),
    "weaker": ("connector", "set", "bank.example", "tls_settings=opportunistic", "comment=a, b", "smart_hosts="),
    "enforced": ("connector", "set", "partner in", "mode=enforce"),
    "a rule": ("rule", "add", "all", "--organization", "contoso", "require_tls=true", "recipients=x.example,y.example"),
    "removed": ("connector", "remove", "bank.example"),
    "organization": ("organization", "set", "contoso", "display_name=", "message_expiration=2d"),
    "new organization": ("organization", "add", "woodgrove", "display_name=Bank"),
    "organization removed": ("organization", "remove", "contoso"),
    "nothing": ("organization", "set", "contoso", "display_name=Contoso Hospital"),
    "no word": ("mailbox", "set", ANN, "delivery"),
    "wrong words and values": (
        "connector",
        "set",
        "bank.example",
        "colour=red",
        "tls_settings=tight",
        "enabled=so",
    ),
    "taken": ("domain", "add", "fabrikam.example", "--organization", "contoso"),
    "there already": ("mailbox", "add", ANN),
    "nobody's domain": ("mailbox", "add", "joe@strange.example"),
    "whose": ("domain", "add", "strange.example"),
    "needed": ("domain", "remove", "contoso.example"),
}


@pytest.mark.parametrize("words", DRY.values(), ids=DRY)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_what_a_change_would_do_is_the_same_from_afar(remote: Remote, words: tuple[str, ...], as_json: bool) -> None:
    here, there = remote.both(*words, "--dry-run", "--since", "2026-01-01", as_json=as_json)
    assert _untimed(there.stdout) == _untimed(here.stdout)
    assert (there.stderr, there.exit_code) == (here.stderr, here.exit_code)
    assert there.output


def _untimed(text: str) -> str:
    return re.sub(r'"until": [\d.]+', '"until": 0', text)


def test_a_file_is_tried_alike(remote: Remote) -> None:
    wanted = resources()
    wanted["organization"]["contoso"]["outbound_connector"][0]["mode"] = "rehearse"
    file = remote.folder / "wanted.json"
    for document, status in ((wanted, 0), ({"organization": {"contoso": {"colour": "red", "mailbox": [{}]}}}, 2)):
        file.write_text(json.dumps(document), encoding="utf-8")
        for as_json in (False, True):
            here, there = remote.both("apply", "-f", str(file), "--dry-run", "--since", "2026-01-01", as_json=as_json)
            assert _untimed(there.stdout) == _untimed(here.stdout)
            assert (there.stderr, there.exit_code) == (here.stderr, here.exit_code)
            assert there.exit_code == status
    dated = remote.folder / "dated.toml"
    dated.write_text("[organization.contoso]\ndisplay_name = 2026-01-01\n", encoding="utf-8")
    assert "dates" in remote.there("apply", "-f", str(dated), expect=2).stderr


# ------------------------------------------------------------------------------------------------ changes


@pytest.fixture
def changing(gateway: Callable[..., Gateway], tmp_path: Path) -> Remote:
    """A gateway of one's own."""
    options: dict[str, Any] = {"settings": sealing(tmp_path), "nameservers": ["127.0.0.1:1"]}
    found = Remote(served(gateway, contoso(outbound=(BANK,)), **options), tmp_path)
    found.token_file("owner")
    return found


def test_a_gateway_is_administered_from_afar(changing: Remote) -> None:
    server, there = changing.centre.gateway, changing.there
    there("organization", "add", "woodgrove", "display_name=Bank")
    there("domain", "add", "woodgrove.example", "--organization", "woodgrove", "--note", "agreed")
    there("mailbox", "add", "Sue@Woodgrove.example", "aliases=s@woodgrove.example")
    there("connector", "add", "inbound", "a/b", "--organization", "woodgrove", "sender_domains=b.example")
    there("connector", "set", "A/B", "sender_domains+=c.example", "mode=rehearse", "name=c/d")
    there("connector", "set", "c/d", "mode=", "sender_domains-=b.example")
    assert server.cli("connector", "show", "c/d", json=True).data["table"] == {
        "name": "c/d",
        "sender_domains": ["c.example"],
    }
    newest, *_, domain, _ = server.cli("history", "--organization", "woodgrove", json=True).data
    assert newest["author"] == "token owner"
    assert domain["note"] == "agreed"
    there("connector", "remove", "c/d")
    exported = there("export", json=True).data
    assert exported == server.cli("export", json=True).data
    assert "inbound_connector" not in exported["organization"]["woodgrove"]

    file = changing.folder / "resources.json"
    exported["organization"]["woodgrove"]["display_name"] = "Woodgrove Bank"
    file.write_text(json.dumps(exported), encoding="utf-8")
    done = there("apply", "-f", str(file), json=True).data
    assert [one["field"] for one in done["changes"]] == ["organization.woodgrove.display_name"]
    there("organization", "remove", "woodgrove")
    assert [one["name"] for one in there("organization", "list", json=True).data] == ["contoso"]


def test_the_queue_is_acted_on_from_afar(changing: Remote) -> None:
    server, there = changing.centre.gateway, changing.there
    send(server.port, "teller@bank.example")
    wait_until(lambda: _deferred(server), "the mail to the bank waits")
    assert there("queue", "hold", "--domain", "bank.example").stdout == "hold: 1 delivery\n"
    (held,) = server.cli("queue", "list", "--held", json=True).data
    identity = held["message"]["id"]
    assert there("queue", "release", identity, json=True).data == [held]
    assert there("queue", "retry", "--recipient", "nobody@bank.example", expect=1).stdout == "retry: 0 deliveries\n"
    assert "not a queue id" in there("queue", "drop", "???", expect=2).stderr
    assert there("queue", "drop", "--all", "--yes", "--reason", "x").stdout == "drop: 1 delivery\n"
    # Released, it is tried, and leaves when its attempt ends.
    wait_until(lambda: server.cli("queue", "list", json=True).data == [], "an empty queue")
    wait_until(lambda: "token owner" in there("trace", "show", identity).stdout, "who dropped it, in the trace")


def test_certificates_are_changed_from_afar(changing: Remote, pki: Pki) -> None:
    """From a request, whose key never leaves the gateway, to the way back; all of it is in the audit."""
    there, folder, way = changing.there, changing.folder, ("certificate", "changeover")
    request, leaf = folder / "mx.csr", pki.leaf(MX)
    there("certificate", "request", "--name", MX, "-o", str(request))
    assert list(folder.glob("mx.*")) == [request]
    assert "exists already" in there("certificate", "request", "--name", MX, "-o", str(request), expect=2).stderr
    old = there("certificate", "add", str(pki.sign(request)), json=True).data
    assert (old["state"], old["origin"]) == ("current", "upload")
    new = there("certificate", "add", str(leaf.chain), "--key", str(leaf.key), "--note", "agreed", json=True).data
    assert there(*way, "stage", new["id"], json=True).data == {"id": new["id"], "replaces": [old["id"]]}
    assert there(*way, "told", new["id"], "--all").stdout.startswith("notified: ")
    assert there(*way, "switch", new["id"], "--at", "2h", json=True).data["planned"]
    assert "stays staged" in there(*way, "cancel").stdout
    assert there(*way, "switch", new["id"], "--force", "a drill", json=True).data["replaced"] == [old["id"]]
    assert there(*way, "roll-back", "--note", "x", json=True).data == {"id": new["id"], "current": [old["id"]]}
    there(*way, "switch", new["id"], "--force", "a drill")
    assert there(*way, "withdraw", old["id"], "--force", "stolen", json=True).data["state"] == "retired"
    assert "needed" in there("certificate", "remove", new["id"], expect=1).stderr
    assert there("certificate", "remove", new["id"], "--force", "the end").stdout == f"{new['id']}: removed\n"
    events = [one for one in there("audit", json=True).data if one["action"].startswith("certificate-")]
    assert {one["who"] for one in events} == {"token owner"}
    assert [one["action"] for one in reversed(events)] == [
        *("certificate-request", "certificate-add", "certificate-add", "certificate-stage", "certificate-tell"),
        *("certificate-switch", "certificate-cancel", "certificate-switch", "certificate-roll-back"),
        *("certificate-switch", "certificate-withdraw", "certificate-remove", "certificate-remove"),
    ]
    switched = next(one["detail"] for one in events if one["action"] == "certificate-switch")
    assert switched["before"][f"{new['id']} state"] == "next"
    assert switched["after"][f"{new['id']} state"] == "current"


def test_accounts_are_changed_from_afar(changing: Remote) -> None:
    there = changing.there
    secret = there("token", "add", "reader", "--scope", "read", "--expires", "2h", json=True).data["token"]
    reader = changing.folder / "reader"
    reader.touch(mode=0o600)
    reader.write_text(secret, encoding="ascii")
    there("queue", "list", token=str(reader))
    assert "scope" in there("user", "list", token=str(reader), expect=2).stderr
    there("user", "set", "olga", "--disable", expect=1)  # the last owner stays
    assert there("user", "list", json=True).data[0]["enabled"]
    there("token", "remove", "reader")
    assert "API token" in there("queue", "list", token=str(reader), expect=2).stderr
    refused = [one["action"] for one in there("audit", "--outcome", "refused", json=True).data]
    assert refused == ["request", "user-set", "request"]


def test_nobody_is_overwritten(changing: Remote) -> None:
    """Many change one list at the same time, and none of it is lost."""
    names = [f"d{number}.example" for number in range(4)]
    runs: list[CliRun] = []

    def add(name: str) -> None:
        where = ("--server", changing.centre.url, "--token-file", str(changing.folder / "owner"), "--ca", changing.ca)
        words = ("domain", "add", name, "--organization", "contoso")
        runs.append(changing.centre.gateway.cli(*where, *words, expect=None, timeout=110))

    threads = [threading.Thread(target=add, args=(name,)) for name in names]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [run.stderr for run in runs if run.status] == []
    found = {one["name"] for one in changing.there("domain", "list", json=True).data}
    assert found == {"contoso.example", *names}


# ------------------------------------------------------------------------------------------------ who may, and who


def test_a_tenants_token_reaches_its_own_alone(remote: Remote) -> None:
    token = remote.token_file("tenant", "read", "connectors", "queue", organizations=("fabrikam",))
    assert [one["name"] for one in remote.there("organization", "list", token=token, json=True).data] == ["fabrikam"]
    assert set(remote.there("export", token=token, json=True).data["organization"]) == {"fabrikam"}
    assert remote.there("connector", "list", token=token, json=True).data == []
    assert remote.there("queue", "list", token=token, json=True).data == []
    assert remote.there("trace", "search", token=token, expect=1, json=True).data == []
    for words in (
        ("organization", "show", "contoso"),
        ("mailbox", "set", ANN, "comment=mine"),
        ("domain", "add", "x.example", "--organization", "contoso"),
        ("connector", "rehearsal", "partner in"),
    ):
        refused = remote.there(*words, token=token, expect=2)
        assert "contoso" not in refused.stderr.replace("'contoso'", "").replace(ANN, "")
    assert (
        remote.there("queue", "drop", "--all", "--reason", "x", token=token, expect=1).stdout == "drop: 0 deliveries\n"
    )
    assert "some organizations only" in remote.there("organization", "add", "mine", token=token, expect=2).stderr


def test_a_token_does_what_its_scope_says(remote: Remote) -> None:
    token = remote.token_file("reader", "read")
    remote.there("queue", "list", token=token)
    for words, scope in (
        (("queue", "drop", "--all"), "queue"),
        (("mailbox", "set", ANN, "comment=mine"), "connectors"),
    ):
        assert f"The scope '{scope}' is needed" in remote.there(*words, token=token, expect=2).stderr
    wrong = remote.folder / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text("gp_" + "A" * 43, encoding="ascii")
    refused = remote.there("queue", "list", token=str(wrong), expect=2)
    assert "API token does not exist" in refused.stderr
    assert "gp_A" not in refused.stderr


def test_a_gateway_is_known_by_its_certificate(remote: Remote, pki: Pki) -> None:
    sha256 = hashlib.sha256(ssl.PEM_cert_to_DER_cert(Path(remote.ca).read_text(encoding="ascii"))).hexdigest()
    pinned = ":".join(sha256[place : place + 2] for place in range(0, 64, 2)).upper()
    remote.there("queue", "list", trust=("--fingerprint", pinned))
    remote.there("queue", "list", trust=("--fingerprint", sha256, "--ca", remote.ca))
    other = remote.there("queue", "list", trust=("--fingerprint", sha256[::-1]), expect=3)
    assert sha256 in other.stderr
    assert "nothing was sent" in other.stderr
    strange = remote.there("queue", "list", trust=("--ca", str(pki.root)), expect=3)
    assert "not trusted" in strange.stderr
    unknown = remote.there("queue", "list", trust=("--config", str(remote.centre.gateway.config)), expect=3)
    assert "--fingerprint" in unknown.stderr
    named = remote.centre.url.replace("127.0.0.1", "127.0.0.2")
    assert "IP address mismatch" in remote.there("queue", "list", url=named, expect=3).stderr or _refuses(named)
    empty = remote.folder / "owner"
    assert "no PEM certificates" in remote.there("queue", "list", trust=("--ca", str(empty)), expect=2).stderr


def _refuses(url: str) -> bool:
    """The admin centre listens at one address alone."""
    host, _, port = url.removeprefix("https://").partition(":")
    with socket.socket() as one:
        return one.connect_ex((host, int(port))) != 0


@pytest.fixture
def impostor(pki: Pki) -> Iterator[_Answers]:
    with _Answers(pki.leaf("localhost")) as started:
        yield started


ANSWERS = {
    "a redirect": (
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: https://thief.example/\r\n",
        b"",
        "sends us elsewhere",
    ),
    "a page": (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n", b"<html>", "not JSON"),
    "an error of somebody else": (b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\n", b"<html>", "answers 404"),
    "not HTTP": (b"220 mx ESMTP\r\n", b"", "not HTTP"),
    "nothing": (b"", b"", "ended the connection"),
    "a problem that plays with the terminal": (
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 7\r\n",
        b'{"detail": "\\u001b[2Jwiped"}',
        "?[2Jwiped (again in 7 seconds)",
    ),
}


@pytest.mark.parametrize(("head", "body", "text"), ANSWERS.values(), ids=ANSWERS)
def test_what_is_no_gateway_is_called_so(
    remote: Remote, impostor: _Answers, pki: Pki, head: bytes, body: bytes, text: str
) -> None:
    length = f"Content-Length: {len(body)}\r\n\r\n".encode() if head.startswith(b"HTTP") else b""
    impostor.answer = head + length + body
    url = f"https://localhost:{impostor.port}"
    refused = remote.there("queue", "list", url=url, trust=("--ca", str(pki.root)), expect=3)
    assert text in refused.stderr
    assert refused.stdout == ""


def test_a_dead_server_is_told(remote: Remote) -> None:
    url = f"https://127.0.0.1:{free_port()}"
    assert "Connection refused" in remote.there("queue", "list", url=url, expect=3).stderr


HERE_ONLY = {
    "serve": ("serve",),
    "files of that machine": ("certificate", "add", "--directory", "/etc/letsencrypt/live"),
    "the first owner": ("user", "setup"),
    "S/MIME": ("smime", "identity", "list"),
    "a site": ("site", "status"),
    "evidence": ("evidence", "verify"),
    "reports to others": ("report", "send", "--dry-run"),
}


@pytest.mark.parametrize("words", HERE_ONLY.values(), ids=HERE_ONLY)
def test_other_commands_say_that_they_work_on_the_machine_only(remote: Remote, words: tuple[str, ...]) -> None:
    refused = remote.there(*words, expect=2)
    assert "works only on the gateway's own machine" in refused.stderr
    assert refused.stdout == ""


class _Answers:
    """A TLS server that says the same to everybody. seen: what it was sent."""

    def __init__(self, leaf: Leaf) -> None:
        self.answer = b""
        self.seen: list[bytes] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(leaf.chain, leaf.key)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, name="answers")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(30)

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listening.accept()
            except OSError:
                return
            try:
                with self._context.wrap_socket(plain, server_side=True) as connection:
                    connection.settimeout(30)
                    self.seen.append(connection.recv(65536))
                    connection.sendall(self.answer)
            except OSError:
                continue
