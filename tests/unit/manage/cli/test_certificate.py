from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from support.rsa_keys import rsa_key

from gatepost.pki.certificates.authority import Authority

ROOT = Authority("CLI Root")
NAME = "mx.gate.example"
ORGANIZATION = """
[organization.contoso]
[[organization.contoso.accepted_domain]]
name = "contoso.example"
"""
CONTOSO = f"""{ORGANIZATION}
[[organization.contoso.outbound_connector]]
name = "bank"
recipient_domains = ["bank.example"]
client_certificate = {{ label = "to-bank" }}
"""
CLIENT = ("--client", "--organization", "contoso", "--label", "to-bank")


class Place:
    """A gateway that does not run, with a master key, and files of certificates."""

    def __init__(self, home, path):
        self.home, self.path = home, path
        (path / "master").write_bytes(bytes(range(32)))
        (path / "master").chmod(0o600)
        (path / "root.pem").write_bytes(ROOT.certificate_pem)
        self.settings()

    def settings(self, *, master=True, **more):
        tls = {"tls": {"trust_anchors": str(self.path / "root.pem")}}
        store = {"store": {"master_key": f"file:{self.path / 'master'}"}} if master else {}
        self.home.settings(**tls, **store, **more)

    def files(self, stem, *names, **how):
        chain, key = (self.path / f"{stem}.{kind}" for kind in ("pem", "key"))
        for path, content in zip((chain, key), ROOT.issue(names or (NAME,), **how), strict=True):
            path.write_bytes(content)
            path.chmod(0o600)
        return chain, key

    def call(self, *words, code=0):
        return self.home.call("certificate", *words, code=code)

    def added(self, stem, *words, code=0):
        """Add what is in files; the id."""
        return self.call("add", self.path / f"{stem}.pem", "--key", self.path / f"{stem}.key", *words, code=code).stdout

    def rows(self, key="certificates"):
        return self.home.json("certificate", "list")[key]

    def states(self, key="certificates"):
        return [(row["state"], row["origin"]) for row in self.rows(key)]


@pytest.fixture
def place(home, tmp_path):
    return Place(home, tmp_path)


# list, show, history


def test_files_of_the_settings_are_listed_though_the_gateway_never_ran(place):
    chain, key = place.files("a")
    named = [{"chain": str(chain), "key": str(key)}, {"chain": "/nowhere.pem", "key": "/nowhere.key"}]
    place.settings(master=False, certificate=named)
    found = place.home.json("certificate", "list")
    (row,) = found["certificates"]
    assert (row["state"], row["origin"], row["names"], row["days_left"]) == ("current", "settings", [NAME], 89)
    assert found["trouble"] == ["certificate chain /nowhere.pem: No such file or directory"]
    result = place.call("list")
    assert "[[certificate]]: certificate chain /nowhere.pem" in result.stderr
    columns, line = result.stdout.splitlines()
    assert columns.split("\t") == ["id", "state", "names", "issuer", "key", "valid_until", "in_use", "origin"]
    assert line.split("\t")[1:5] == ["current", NAME, "CLI Root", "EC-P-256"]
    shown = place.home.json("certificate", "show", row["id"])
    assert shown["key_is"] == f"in its file {key}"
    assert shown["tlsa"] == f"3 1 1 {shown['spki_sha256']}"


def test_everything_about_one(place):
    place.files("a", crl_url="http://crl.example/x.crl")
    place.added("a", "--label", "mail")
    text = place.call("show", "mail").stdout
    for wanted in ("sha1", "sha256", "spki_sha256", "tlsa            3 1 1", "private key     encrypted in the store"):
        assert wanted in text
    assert "crl           http://crl.example/x.crl" in text
    assert "'x' does not name exactly one certificate" in place.call("show", "x", code=2).stderr


def test_who_did_what(place):
    place.files("a")
    place.added("a", "--note", "from the bank's authority")
    place.call("remove", place.rows()[0]["id"], "--force", "a drill")
    removed, added = place.home.json("certificate", "history")
    assert (added["change"], added["note"], added["names"]) == ("added as current", "from the bank's authority", [NAME])
    assert (removed["change"], removed["note"]) == ("removed", "forced: a drill")
    place.call("request", "--name", NAME, "-o", place.path / "mx.csr")
    place.call("add", "--directory", place.path)
    rows = place.home.table("certificate", "history")
    assert [(row["kind"], row["change"]) for row in rows] == [
        ("directory", "added"), ("request", "added"), ("certificate", "removed"), ("certificate", "added as current")
    ]  # fmt: skip


# add


def test_what_is_next_and_what_is_current(place):
    place.files("a")
    place.files("b")
    place.files("c", "other.example")
    assert place.added("a").endswith(": current\n")
    assert "; to present it: gatepost certificate changeover " in place.added("b")
    assert place.added("c").endswith(": current\n")
    assert "exists already and is next" in place.call(
        "add", place.path / "b.pem", "--key", place.path / "b.key", code=1
    ).stderr  # fmt: skip
    place.files("d", NAME, "more.example")
    deprecated, current = place.added("d", "--current").splitlines()
    assert deprecated.endswith(": deprecated")
    assert current.endswith(": current")
    assert sorted(state for state, _ in place.states()) == ["current", "current", "deprecated", "next"]


def test_current_is_refused_where_names_would_be_lost(place):
    place.files("a", NAME, "more.example")
    place.files("b")
    place.added("a")
    result = place.call("add", place.path / "b.pem", "--key", place.path / "b.key", "--current", code=1)
    assert "no certificate would cover more.example any more" in result.stderr
    assert "nothing was added" in result.stderr
    assert "is no longer needed" not in result.stderr  # nobody shall throw away a key that was not stored
    again = place.call("add", place.path / "a.pem", "--key", place.path / "a.key", code=1)
    assert "exists already" in again.stderr
    assert "is no longer needed" not in again.stderr


def test_one_without_names_is_nothing_to_present(place):
    """As an authority's, which has a key beside it as well."""
    chain, key = place.files("a")
    (leaf,) = x509.load_pem_x509_certificates(chain.read_bytes())
    own = load_pem_private_key(key.read_bytes(), None)
    builder = x509.CertificateBuilder().subject_name(leaf.subject).issuer_name(leaf.subject).serial_number(9)
    builder = builder.not_valid_before(leaf.not_valid_before_utc).not_valid_after(leaf.not_valid_after_utc)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    chain.write_bytes(builder.public_key(own.public_key()).sign(own, SHA256()).public_bytes(Encoding.PEM))
    assert "has no subjectAltName" in place.call("add", chain, "--key", key, code=2).stderr
    assert place.rows() == []


def test_one_of_the_settings_is_recorded_before_it_is_deprecated(place):
    chain, key = place.files("a")
    place.settings(certificate=[{"chain": str(chain), "key": str(key)}])
    place.files("b")
    assert ": next" in place.added("b")
    place.call("remove", next(row["id"] for row in place.rows() if row["state"] == "next"))
    added = place.call("add", place.path / "b.pem", "--key", place.path / "b.key", "--current")
    assert "no gate was checked" in added.stderr
    assert sorted(place.states()) == [("current", "upload"), ("deprecated", "settings")]
    old = next(row["id"] for row in place.rows() if row["state"] == "deprecated")
    assert len(place.home.json("certificate", "show", old)["chain"]) == 1


def test_files_that_stay_where_they_are(place):
    chain, key = place.files("a")
    place.settings(master=False)
    assert "leave the key in its file" in place.call("add", chain, "--key", key, code=2).stderr
    key.chmod(0o644)
    words = ("add", chain, "--key", key, "--leave-key")
    assert f"run: chmod 0600 {key}" in place.call(*words, code=2).stderr
    key.chmod(0o600)
    place.call(*words)
    assert place.states() == [("current", "files")]
    assert place.home.json("certificate", "show", place.rows()[0]["id"])["key_file"] == str(key)


def test_pkcs12_with_a_password(place):
    chain, key = place.files("a")
    (leaf,) = x509.load_pem_x509_certificates(chain.read_bytes())
    private = load_pem_private_key(key.read_bytes(), None)
    root = x509.load_pem_x509_certificate(ROOT.certificate_pem)
    bundle, word = place.path / "a.p12", place.path / "word"
    sealed = pkcs12.serialize_key_and_certificates(b"x", private, leaf, [root], BestAvailableEncryption(b"geheim"))
    bundle.write_bytes(sealed)
    assert "it is encrypted; give its password: --password-file FILE" in place.call("add", bundle, code=2).stderr
    word.write_text("wrong\n")
    assert "the password is not the right one" in place.call("add", bundle, "--password-file", word, code=2).stderr
    word.write_text("geheim\n")
    result = place.call("add", bundle, "--password-file", word)
    assert "note: left out: CN=CLI Root" in result.stderr
    assert place.states() == [("current", "upload")]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "give CHAIN, the file with the certificate, or --directory"),
        (["none.pem"], "none.pem: No such file or directory"),
        (["a.pem"], "no private key is in it, and none waits for this certificate"),
        (["a.pem", "--key", "b.key"], "the private key does not belong to its certificate CN=mx.gate.example"),
        (["a.pem", "--key", "a.pem"], "no private key in it"),
        (["a.key"], "a private key without a certificate"),
        (["root.pem", "--key", "a.key"], "does not belong"),
        (["old.pem", "--key", "old.key"], "the certificate has expired; get a new one"),
        (["a.pem", "--key", "a.key", "--client"], "a client certificate needs an organization and a label"),
        (["a.pem", "--key", "a.key", "--organization", "contoso"], "only a client certificate has an organization"),
        (
            ["a.pem", "--key", "a.key", "--client", "--organization", "nobody", "--label", "x"],
            "there is no organization 'nobody'",
        ),
        (["--directory", "none"], "none cannot be read: "),
        (["--directory", ".", "--current"], "--directory can be combined only with --note"),
    ],
)
def test_what_cannot_be_added(place, words, why):
    place.files("a")
    place.files("b")
    place.files("old", not_before=datetime.now(UTC) - timedelta(days=200))
    named = [place.path / word if "." in word or word == "none" else word for word in words]
    assert why in place.call("add", *named, code=2).stderr
    assert place.rows() == []


def test_a_directory_of_others(place):
    live = place.path / "live"
    (live / NAME).mkdir(parents=True)
    assert "no certificate is in it yet" in place.call("add", "--directory", live).stderr
    chain, key = place.files("a")
    shutil.copy(chain, live / NAME / "fullchain.pem")
    shutil.copy(key, live / NAME / "privkey.pem")
    found = place.home.json("certificate", "add", "--directory", live)
    assert found["pairs"] == [[str(live / NAME / "fullchain.pem"), str(live / NAME / "privkey.pem")]]
    (live / NAME / "privkey.pem").chmod(0o644)
    assert "cannot be used: private key" in place.call("add", "--directory", live).stderr
    assert place.rows("directories") == [str(live)]
    assert place.call("remove", live).stdout == f"{live}: no longer watched\n"
    assert place.rows("directories") == []


# request


def answer(request, issued):
    """What an authority makes of a request."""
    asked = x509.load_pem_x509_csr(request.read_bytes())
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(asked.subject).issuer_name(x509.Name([])).serial_number(7)
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=9))
    for extension in asked.extensions:
        builder = builder.add_extension(extension.value, critical=False)
    made = builder.public_key(asked.public_key()).sign(ec.generate_private_key(ec.SECP256R1()), SHA256())
    issued.write_bytes(made.public_bytes(Encoding.PEM))
    return issued


@pytest.mark.parametrize("master", [True, False])
def test_a_request_and_its_certificate(place, master):
    place.settings(master=master)
    request = place.path / "mx.csr"
    result = place.call("request", "--name", NAME, "-o", request)
    assert ("sealed in the store" in result.stderr) == master
    assert request.with_suffix(".key").exists() != master
    (waiting,) = place.rows("requests")
    assert waiting["names"] == [NAME]
    assert "requests that wait for their certificate" in place.call("list").stdout
    place.call("add", answer(request, place.path / "issued.pem"))
    assert place.rows("requests") == []
    assert place.states() == [("current", "upload" if master else "files")]


def test_a_request_for_a_client_identity_is_answered_as_one(place):
    place.home.call("apply", "-f", place.home.write(ORGANIZATION))
    request = place.path / "bank.csr"
    request.write_bytes(place.call("request", *CLIENT).stdout.encode())
    place.call("add", answer(request, place.path / "issued.pem"))
    (row,) = place.rows("client_identities")
    assert (row["organization"], row["label"], row["state"]) == ("contoso", "to-bank", "current")
    assert "client certificates" in place.call("list").stdout


def test_requests_that_cannot_be_made(place):
    assert "a name is required" in place.call("request", code=2).stderr
    assert "a name cannot be used: 'a b' is not a domain" in place.call("request", "--name", "a b", code=2).stderr
    there = place.path / "there.csr"
    there.touch()
    assert "exists already; name another file" in place.call("request", "--name", NAME, "-o", there, code=2).stderr
    assert place.rows("requests") == []
    place.settings(master=False)
    assert "name a file with -o FILE" in place.call("request", "--name", NAME, code=2).stderr


# remove


def test_what_is_needed_is_not_removed(place):
    place.home.call("apply", "-f", place.home.write(ORGANIZATION))
    place.files("a")
    place.files("b")
    place.files("c")
    place.added("a")
    place.added("c", *CLIENT)
    place.home.call("apply", "-f", place.home.write(CONTOSO))
    mx, client = place.rows()[0]["id"], place.rows("client_identities")[0]["id"]
    assert f"no other current certificate covers {NAME}" in place.call("remove", mx, code=1).stderr
    assert "outbound connectors use it: bank" in place.call("remove", client, code=1).stderr
    place.added("b", "--current")
    assert "its key is needed to roll back" in place.call("remove", mx, code=1).stderr
    place.call("remove", mx, "--force", "stolen")
    place.call("remove", client, "--force", "the bank is no more")
    assert (place.states(), place.rows("client_identities")) == ([("current", "upload")], [])
    assert "does not name exactly one certificate" in place.call("remove", mx, code=2).stderr


def test_a_request_is_removed_and_what_would_come_back_is_not(place):
    chain, key = place.files("a")
    place.settings(certificate=[{"chain": str(chain), "key": str(key)}])
    (number,) = [row["id"] for row in place.rows()]
    assert "comes from the settings: remove its [[certificate]] there" in place.call("remove", number, code=2).stderr
    live = place.path / "live"
    live.mkdir()
    chain, key = place.files("live/b", "b.example")
    place.call("add", chain, "--key", key, "--leave-key")
    place.call("add", "--directory", live)
    (number,) = [row["id"] for row in place.rows() if row["origin"] == "files"]
    assert f"is in the watched directory {live}" in place.call("remove", number, "--force", "x", code=2).stderr
    place.call("request", "--name", NAME, "-o", place.path / "mx.csr")
    (waiting,) = place.rows("requests")
    assert place.call("remove", waiting["id"]).stdout == f"request {waiting['id']}: removed\n"
    assert place.rows("requests") == []


def test_a_key_that_no_listener_takes(place):
    chain, key = place.files("a")
    small = rsa_key(1024)
    (leaf,) = x509.load_pem_x509_certificates(chain.read_bytes())
    builder = x509.CertificateBuilder().subject_name(leaf.subject).issuer_name(leaf.issuer).serial_number(9)
    builder = builder.not_valid_before(leaf.not_valid_before_utc).not_valid_after(leaf.not_valid_after_utc)
    chain.write_bytes(builder.public_key(small.public_key()).sign(small, SHA256()).public_bytes(Encoding.PEM))
    key.write_bytes(small.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert "listeners cannot present it: " in place.call("add", chain, "--key", key, code=2).stderr
    assert place.rows() == []
