"""What needs no authority; the rest is in `tests/system/test_acme.py`, against Pebble."""

from __future__ import annotations

import datetime as dt
import http.server
import json
import ssl
import threading
import time
from contextlib import suppress
from email.utils import format_datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gatepost.pki.acme.challenges import AcmeFailed
from gatepost.pki.acme.client import Authority, ExternalAccount, Order, _seconds, certificate_id
from gatepost.pki.certificates.authority import Authority as Locals
from gatepost.settings.acme import Challenge

KEY = ec.generate_private_key(ec.SECP256R1())
KEY_PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
DAY = dt.timedelta(days=1)


def certificate(serial, issuer_key=b""):
    name, now = x509.Name([]), dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(KEY.public_key())
    builder = builder.serial_number(serial).not_valid_before(now).not_valid_after(now + DAY)
    if issuer_key:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier(issuer_key, None, None), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM)


def test_the_id_of_a_renewed_certificate():
    """The example of RFC 9773 section 4.1."""
    issuer = bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4")
    assert certificate_id(certificate(0x87654321, issuer)) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
    assert certificate_id(certificate(0x17654321, issuer)) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.F2VDIQ"
    assert certificate_id(certificate(0x87654321)) == ""


RETRIES = {"": 0, "120": 120, "-5": 0, "soon": 0, "1.5": 0, "9" * 40: 999999999, "Thu, 01 Jan 1970 00:00:00 GMT": 0}
RETRIES |= {"Sun, 06 Nov 9999999999 08:49:37 GMT": 0, "Sun, 06 Nov 2094 08:49:37 +99999999999999": 0}


@pytest.mark.parametrize(("text", "seconds"), RETRIES.items())
def test_retry_after(text, seconds):
    assert _seconds(text) == seconds


def test_retry_after_as_a_date():
    later = format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(hours=2), usegmt=True)
    assert 7000 < _seconds(later) < 7300


def authority(url, seconds=20.0):
    return Authority(url, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), KEY_PEM, seconds=seconds)


def test_an_authority_that_is_not_there_is_named():
    url = "https://127.0.0.1:1/directory"
    with pytest.raises(
        AcmeFailed, match=rf"{url} cannot be reached: .*; does a firewall allow connections to its port\?"
    ):
        authority(url)


def test_it_never_leaves_https_and_never_goes_on_for_ever():
    with pytest.raises(AcmeFailed, match="it leads to an address that is not https"):
        authority("http://127.0.0.1:1/directory")
    with pytest.raises(AcmeFailed, match="took too long in all"):
        authority("https://127.0.0.1:1/directory", seconds=-1.0)


ROOT = Locals("ACME Root")


@pytest.fixture
def listen(tmp_path):
    """listen(handler): an HTTPS server; its directory's address."""
    chain, key = ROOT.issue(["localhost"])
    (tmp_path / "c.pem").write_bytes(chain + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "c.pem")
    servers = []

    def start(handler):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        servers.append((server, thread))
        return f"https://localhost:{server.server_port}/directory"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def speak(listen):
    """speak(status, headers, body): an HTTPS server that answers so, whatever is asked; its directory's address."""

    def start(status, headers, body, pause=0.0):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(OSError):
                    for part in body:
                        self.wfile.write(part)
                        self.wfile.flush()
                        time.sleep(pause)

            def log_message(self, *_):
                pass

        return listen(Handler)

    return start


def refused(url, *, trusted=True, seconds=20.0):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if trusted:
        context.load_verify_locations(cadata=ROOT.certificate_pem.decode())
    with pytest.raises(AcmeFailed) as failure:
        Authority(url, context, KEY_PEM, seconds=seconds)
    return str(failure.value), failure.value.retry_after


PROBLEM = "application/problem+json"


def problem(code, detail):
    return [json.dumps({"type": f"urn:ietf:params:acme:error:{code}", "detail": detail}).encode()]


def test_a_limit_is_told_with_its_end(speak):
    url = speak(429, {"Content-Type": PROBLEM, "Retry-After": "7200"}, problem("rateLimited", "too many\r\n\x1b[1m"))
    text, retry_after = refused(url)
    assert text == f"{url} refuses (rateLimited): too many   [1m; the gateway waits until its limit allows more"
    assert retry_after == 7200
    text, retry_after = refused(speak(503, {"Content-Type": PROBLEM}, problem("serverInternal", "x" * 5000)))
    assert retry_after == 0
    assert len(text) < 500


ODD = {
    # status, headers, body -> what is said
    (200, "{", ()): "does not answer as an ACME authority does",
    (200, "[1]", ()): "does not answer as an ACME authority does",
    (200, "[" * 100_000, ()): "does not answer as an ACME authority does: RecursionError",
    (404, "<html>", ()): "does not answer as an ACME authority does",
    (500, '{"type": 7}', ()): "refuses (error)",
    (302, "", (("Location", "http://localhost:1/"),)): "it leads to an address that is not https",
    (302, "", (("Location", "/directory"),)): "Exceeded 3 redirects",
    (200, "{}", (("Content-Length", "9"),)): "cannot be reached: IncompleteRead",
    (200, "x" * (2 << 20), ()): "a response of more than 1048576 octets",
}


@pytest.mark.parametrize(("given_", "text"), ODD.items(), ids=list(ODD.values()))
def test_what_is_no_authority_is_told_so(speak, given_, text):
    status, body, headers = given_
    assert text in refused(speak(status, dict(headers), [body.encode()]))[0]


def test_who_trickles_is_left(speak):
    url = speak(200, {}, [b" "] * 200, pause=0.1)
    assert "the authority took too long in all" in refused(url, seconds=2)[0]


def test_who_trickles_a_header_is_left(listen):
    """No octet is late, and there is no end of them: else no certificate would be renewed until a restart."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            with suppress(OSError):
                self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
                for _ in range(80):
                    self.wfile.write(b"x")
                    time.sleep(0.1)

        def log_message(self, *_):
            pass

    began = time.monotonic()
    assert "the authority took too long in all" in refused(listen(Handler), seconds=1)[0]
    assert time.monotonic() - began < 5


def test_who_is_not_trusted_is_not_asked(speak):
    url = speak(200, {}, [])
    said = refused(url, trusted=False)[0]
    assert said.startswith(f"the HTTPS server of {url} is not trusted: ")
    assert said.endswith("; see acme.trust_anchors")


def test_no_proxy_of_the_environment_comes_between(speak, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert "refuses (malformed)" in refused(speak(400, {"Content-Type": PROBLEM}, problem("malformed", "x")))[0]


@pytest.fixture
def play(listen):
    """play(pages): an authority whose answers are JSON, by path; the client that has an account there."""
    made = []

    def start(pages, retry_after="9" * 30):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                here = f"https://{self.headers['Host']}"
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                paths = ("newNonce", "newAccount", "newOrder", "revokeCert", "keyChange", "renewalInfo")
                directory = {one: f"{here}/{one}" for one in paths}
                path = next((one for one in pages if self.path.startswith(one)), "")
                said = json.dumps(pages.get(path, directory)).replace("HERE", here).encode()
                self.send_response(201 if path == "/newOrder" else 200)
                for name, value in (("Content-Type", "application/json"), ("Replay-Nonce", "bm9uY2U")):
                    self.send_header(name, value)
                self.send_header("Retry-After", retry_after)
                self.send_header("Location", f"{here}{self.path}")
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(said)

            do_POST = do_HEAD = do_GET  # noqa: N815 - as the library has it

            def log_message(self, *_):
                pass

        url = listen(Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=ROOT.certificate_pem.decode())
        client = Authority(url, context, KEY_PEM, account=url.replace("directory", "me"), seconds=20.0)
        made.append(client)
        return client

    yield start
    for client in made:
        client.close()


def ordered(*authorizations):
    later = "2099-01-01T00:00:00Z"
    identifiers = [{"type": "dns", "value": "mx.a.example"}]
    order = {"status": "pending", "expires": later, "identifiers": identifiers, "finalize": "HERE/finalize"}
    proofs = {
        f"/authz{number}": {
            "identifier": {"type": "dns", "value": name},
            "status": "pending",
            "expires": later,
            "challenges": [{"type": "dns-01", "url": "HERE/c", "status": "pending", "token": "A" * 43}],
        }
        for number, name in enumerate(authorizations)
    }
    return {"/newOrder": order | {"authorizations": [f"HERE{path}" for path in proofs]}} | proofs


class Published(Exception):  # noqa: N818 - it names what happened
    pass


def publish(proofs):
    raise Published(*(one.place for one in proofs))


def test_nothing_is_published_for_names_that_were_not_ordered(play):
    """The hook writes into whatever zone it is told: an authority does not choose which."""
    order = Order(("mx.a.example",), b"")
    with pytest.raises(Published, match=r"^_acme-challenge\.mx\.a\.example$"):
        play(ordered("mx.a.example")).issue(order, Challenge.DNS_01, publish)
    with pytest.raises(AcmeFailed, match=r"wants a proof for other\.example, which was not ordered"):
        play(ordered("other.example")).issue(order, Challenge.DNS_01, publish)
    with pytest.raises(AcmeFailed, match="wants more proofs than there are names"):
        play(ordered("mx.a.example", "mx.a.example")).issue(order, Challenge.DNS_01, publish)


WINDOWS = [
    {},
    {"suggestedWindow": {"start": "soon", "end": 7}},
    {"suggestedWindow": {"start": "9999-12-31T23:59:59Z", "end": "0001-01-01T00:00:00Z"}},
    {"suggestedWindow": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z"}},  # and an endless Retry-After
    [],
]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_renewal_information_that_is_none_is_told_so(play, window):
    """It is asked for before anything is issued: whatever escapes here would keep all certificates from renewal."""
    chain, _ = ROOT.issue(["mx.a.example"])
    with pytest.raises(AcmeFailed, match="no renewal information: "):
        play({"/renewalInfo": window}).renewal(chain)


def test_the_date_to_ask_again_at_is_no_local_time(play, new_york):
    """The library takes it for one."""
    chain, _ = ROOT.issue(["mx.a.example"])
    window = {"suggestedWindow": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z"}}
    later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=2)
    at, again = play({"/renewalInfo": window}, format_datetime(later, usegmt=True)).renewal(chain)
    assert (
        dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp() <= at <= dt.datetime(2026, 1, 2, tzinfo=dt.UTC).timestamp()
    )
    assert abs(again - later.timestamp()) < 60


@pytest.mark.parametrize("retry_after", ["soon", "0", "1.5", "-5", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_a_time_to_ask_again_at_that_is_none_or_past_means_the_usual_one(play, retry_after):
    """Else it would be asked again and again without a rest."""
    window = {"suggestedWindow": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z"}}
    _, again = play({"/renewalInfo": window}, retry_after).renewal(ROOT.issue(["mx.a.example"])[0])
    assert again > dt.datetime.now(dt.UTC).timestamp() + 3600


@pytest.mark.parametrize(
    "mac_key", ["", "short", "no base64 at all, though it is long", "é" * 30, "zWNDZM6eQGHWp", "a" * 41]
)
def test_a_mac_key_that_is_none_is_refused_before_it_is_used(play, mac_key):
    with pytest.raises(AcmeFailed, match="eab_mac_key is not a MAC key in base64url: copy it in full") as failure:
        play({}).register([], ExternalAccount("kid", mac_key))
    assert not mac_key or mac_key not in str(failure.value)


@pytest.mark.parametrize("mac_key", ["_-" * 12, "/+" * 12, "YWFhYWFhYWFhYWFhYWFhYWE=", "YWFhYWFhYWFhYWFhYWFhYWE"])
def test_a_mac_key_may_be_written_in_either_base64_with_padding_or_without(play, mac_key):
    client = play({"/newAccount": {"status": "valid"}})
    assert client.register([], ExternalAccount("kid", mac_key)).endswith("/newAccount")


def test_an_authority_that_demands_a_customer_is_named(play):
    client = play({"/directory": {"newNonce": "HERE/newNonce", "meta": {"externalAccountRequired": True}}})
    with pytest.raises(AcmeFailed, match=r"set acme\.eab_key_id and acme\.eab_mac_key"):
        client.register([])
    assert "secret" not in repr(ExternalAccount("kid", "secret"))
