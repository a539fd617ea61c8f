"""`gatepost smime recipient|identity`, and what `explain` says of it: files in, tables and JSON out."""

from __future__ import annotations

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs7,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from support.rsa_keys import rsa_key

RESOURCES = """
[organization.contoso]
[[organization.contoso.accepted_domain]]
name = "contoso.example"
[[organization.contoso.inbound_connector]]
name = "own"
connector_type = "on-premises"
sender_ip_addresses = ["192.0.2.7"]
[[organization.contoso.outbound_connector]]
name = "secret"
recipient_domains = ["secret.example"]
encrypt = "smime"
sign = "smime"
[[organization.contoso.outbound_connector]]
name = "trial"
recipient_domains = ["trial.example"]
encrypt = "smime"
mode = "rehearse"
[[organization.contoso.mail_flow_rule]]
name = "labelled"
header_name = "X-Label"
encrypt = "smime"
sign = "smime"
"""
CA_KEY = ec.generate_private_key(ec.SECP256R1())
RSA = rsa_key()
NOW = dt.datetime.now(dt.UTC)
BOB = "bob@secret.example"


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def issued(subject, key, *names, days=90, issuer="CA", ca=False):
    builder = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer))
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(NOW - dt.timedelta(days=99)).not_valid_after(NOW + dt.timedelta(days=days))
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    else:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(usage, critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(CA_KEY, SHA256())


CA = issued("CA", CA_KEY, ca=True)


def pem(*certificates):
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def person(address, **how):
    return issued(address, RSA, x509.RFC822Name(address), **how)


@pytest.fixture
def place(home, tmp_path):
    master = tmp_path / "master"
    master.write_bytes(bytes(range(32)))
    master.chmod(0o600)
    home.settings(store={"master_key": f"file:{master}"})
    home.call("apply", "-f", home.write(RESOURCES))
    return home


@pytest.fixture
def file(tmp_path):
    def write(content, stem="file.pem"):
        path = tmp_path / stem
        path.write_bytes(content)
        path.chmod(0o600)
        return path

    return write


# recipients


@pytest.mark.parametrize("form", ["PEM", "DER", "P7B"])
def test_a_recipient_is_added_shown_and_removed(place, file, form):
    one = person(BOB)
    content = {
        "PEM": pem(CA, one),
        "DER": one.public_bytes(Encoding.DER),
        "P7B": pkcs7.serialize_certificates([one, CA], Encoding.DER),
    }[form]
    said = place.call("smime", "recipient", "add", "Bob@Secret.example", file(content), "--note", "by phone")
    number = one.fingerprint(SHA256()).hex()
    assert f"{BOB}: added {number}" in said.stdout
    assert "compare this fingerprint" in said.stderr
    (row,) = place.table("smime", "recipient", "list")
    assert (row["owner"], row["organization"], row["certificate"], row["key"], row["state"]) == (
        BOB,
        "contoso",
        number[:16],
        "RSA-2048",
        "usable",
    )
    assert place.json("smime", "recipient", "list", "--organization", "other") == []
    shown = place.json("smime", "recipient", "show", BOB)
    assert (shown["certificates_of"], shown["certificates"][0]["addresses"]) == (BOB, [BOB])
    assert f"{number}: usable" in place.call("smime", "recipient", "show", BOB).stdout
    assert "there are: " in place.call("smime", "recipient", "remove", BOB, "0000", code=2).stderr
    assert number in place.call("smime", "recipient", "remove", BOB, number[:10]).stdout
    assert place.table("smime", "recipient", "list") == []
    assert place.call("smime", "recipient", "remove", BOB, code=2).stderr.endswith("there are: none\n")
    assert [one.note for one in place.history()][1] == "by phone"


def test_a_domain_has_its_gateways(place, file):
    gateway = issued("gw", RSA, x509.RFC822Name("confidential@secret.example"))
    place.call("smime", "recipient", "add", "secret.example", file(pem(gateway)))
    said = place.call("smime", "recipient", "show", BOB).stdout
    assert "(of secret.example): usable" in said
    assert place.json("smime", "recipient", "show", "secret.example")["certificates_of"] == "secret.example"


@pytest.mark.parametrize(
    ("owner", "certificate", "why"),
    [
        ("eve@secret.example", person(BOB), f"does not name eve@secret.example, but {BOB}"),
        ("other.example", issued("x", RSA, x509.DNSName("x.example")), "does not name other.example, but no address"),
        (BOB, person(BOB, days=-1), "expired on"),
        ("eve@secret.example", person(BOB, days=-1), "; and expired on"),
    ],
)
def test_what_cannot_be_used_is_added_only_by_force(place, file, owner, certificate, why):
    path = file(pem(certificate))
    assert why in place.call("smime", "recipient", "add", owner, path, code=1).stderr
    assert place.table("smime", "recipient", "list") == []
    place.call("smime", "recipient", "add", owner, path, "--force", "as agreed")
    assert place.history()[0].note == "forced: as agreed"
    expired = "expired" in why
    found = place.call("smime", "recipient", "show", owner, code=1 if expired else 0)
    assert ("cannot be encrypted" in found.stderr) is expired


def test_what_ends_soon_is_said(place, file):
    place.call("smime", "recipient", "add", BOB, file(pem(person(BOB, days=10))))
    assert place.table("smime", "recipient", "list")[0]["state"].startswith("expires in ")
    place.call("smime", "recipient", "add", BOB, file(pem(person(BOB, days=-2))), "--force", "for the list")
    assert [row["state"][:7] for row in place.table("smime", "recipient", "list")] == ["expires", "expired"]


def test_a_chain_is_checked_where_anchors_are_named(place, file):
    trusted, anchors = file(pem(person(BOB)), "bob.pem"), file(pem(CA), "ca.pem")
    stranger = file(pem(issued("s", RSA, x509.RFC822Name(BOB), issuer="Nobody")), "s.pem")
    place.call("smime", "recipient", "add", BOB, trusted, "--trust-anchors", anchors)
    said = place.call("smime", "recipient", "add", BOB, stranger, "--trust-anchors", anchors, code=1)
    assert "is not trusted" in said.stderr
    assert (
        "--trust-anchors"
        in place.call("smime", "recipient", "add", BOB, trusted, "--trust-anchors", "/nowhere", code=2).stderr
    )
    server = file(pem(issued("t", RSA, x509.RFC822Name(BOB))), "t.pem")
    place.call("smime", "recipient", "add", BOB, server, "--trust-anchors", anchors)


@pytest.mark.parametrize(
    ("content", "owner", "words", "why"),
    [
        (b"nothing", BOB, (), "file.pem"),
        (pem(person(BOB), person("eve@secret.example")), BOB, (), "several recipients"),
        (pem(person(BOB)), "no owner", (), "write an address, or the domain"),
        (pem(person(BOB)), BOB, ("--organization", "other"), "there is no organization 'other'"),
    ],
)
def test_bad_input_is_explained(place, file, content, owner, words, why):
    assert why in place.call("smime", "recipient", "add", owner, file(content), *words, code=2).stderr


def test_of_several_organizations_one_is_said(place, file):
    place.call("apply", "-f", place.write('[organization.adatum]\ndisplay_name = "Adatum"\n'))
    path = file(pem(person(BOB)))
    assert "--organization is needed" in place.call("smime", "recipient", "add", BOB, path, code=2).stderr
    added = place.json("smime", "recipient", "add", BOB, path, "--organization", "adatum")
    assert (added["organization"], added["usable"]) == ("adatum", True)


def test_a_store_that_was_damaged_is_said(place, file):
    import sqlite3  # noqa: PLC0415 - for this one
    from contextlib import closing  # noqa: PLC0415

    place.call("smime", "recipient", "add", BOB, file(pem(person(BOB))))
    with closing(sqlite3.connect(place.data / "config.db")) as store:
        store.execute("UPDATE content SET data = 'x'")
        store.commit()
    assert "cannot be read from the store" in place.call("smime", "recipient", "list", code=3).stderr


# identities

OURS = "ann@contoso.example"


def key_pem(password=None):
    how = BestAvailableEncryption(password) if password else NoEncryption()
    return RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)


def test_an_identity_is_added_listed_and_removed(place, file):
    path, key = file(pem(person(OURS), CA)), file(key_pem(), "key")
    said = place.call("smime", "identity", "add", OURS, path, "--key", key).stdout
    (row,) = place.table("smime", "identity", "list")
    assert said.startswith(f"{row['id']}: added for {OURS}")
    assert (row["owner"], row["signs"], row["decrypts"]) == (OURS, "usable", "yes")
    (shown,) = place.json("smime", "identity", "list", "--organization", "contoso")
    assert (shown["signs"], shown["decrypts"], shown["owner"]) == (True, True, OURS)
    assert (
        "does not name exactly one S/MIME identity" in place.call("smime", "identity", "remove", "xyz", code=2).stderr
    )
    assert "with its key" in place.call("smime", "identity", "remove", row["id"][:6]).stdout
    assert place.table("smime", "identity", "list") == []


def test_pkcs12_with_a_password(place, file):
    content = pkcs12.serialize_key_and_certificates(b"x", RSA, person(OURS), [CA], BestAvailableEncryption(b"pass"))
    path, password = file(content, "ours.p12"), file(b"pass\nmore\n", "password")
    assert "password" in place.call("smime", "identity", "add", OURS, path, code=2).stderr
    added = place.json("smime", "identity", "add", OURS, path, "--password-file", password)
    assert added["owner"] == OURS


@pytest.mark.parametrize(
    ("certificate", "why"),
    [
        (person("bob@contoso.example"), f"does not name {OURS}, but bob@contoso.example"),
        (person(OURS, days=-1), "expired on"),
        (issued("x", RSA, x509.DNSName("x.example"), days=-1), "no address; and expired"),
    ],
)
def test_an_identity_that_is_of_no_use(place, file, certificate, why):
    path, key = file(pem(certificate)), file(key_pem(), "key")
    assert why in place.call("smime", "identity", "add", OURS, path, "--key", key, code=1).stderr
    place.call("smime", "identity", "add", OURS, path, "--key", key, "--force", "for old mail")
    assert place.history()[0].note == "forced: for old mail"


def test_files_that_cannot_be_used(place, file, tmp_path):
    path = file(pem(person(OURS)))
    assert "name the file with the key: --key FILE" in place.call("smime", "identity", "add", OURS, path, code=2).stderr
    assert "No such file" in place.call("smime", "identity", "add", OURS, tmp_path / "no.pem", code=2).stderr
    large = file(bytes((1 << 20) + 1), "large")
    assert "larger than" in place.call("smime", "identity", "add", OURS, large, code=2).stderr


def test_without_a_master_key_no_key_is_kept(place, file):
    place.settings()
    path, key = file(pem(person(OURS))), file(key_pem(), "key")
    assert "set store.master_key" in place.call("smime", "identity", "add", OURS, path, "--key", key, code=2).stderr


# explain


def explain(place, *words, code=0):
    return place.call("explain", "--from", "ann@contoso.example", "--ip", "192.0.2.7", "--to", *words, code=code).stdout


def test_explain_says_who_asks_and_whether_there_is_a_certificate(place, file):
    said = explain(place, BOB, code=1)
    assert "  encryption    S/MIME  (required by connector:secret)" in said
    assert "  signature     S/MIME  (required by connector:secret)" in said
    assert f"there is no certificate for {BOB}; add one: gatepost smime recipient add" in " ".join(said.split())
    place.call("smime", "recipient", "add", BOB, file(pem(person(BOB))))
    assert f"encrypted to 1 certificate of {BOB}: " in explain(place, BOB)
    found = place.json("explain", "--from", "ann@contoso.example", "--ip", "192.0.2.7", "--to", BOB)
    assert found["outbound"]["smime"]["encrypt"] == {"required_by": ["connector:secret"]}
    assert found["certificates"]["missing"] == ""


def test_explain_tells_a_rule_and_a_rehearsal(place):
    labelled = explain(place, "x@any.example", "--header", "X-Label: y", code=1)
    assert "(required by rule:labelled)" in labelled
    assert "encrypts it (S/MIME), signs it (S/MIME)" in " ".join(labelled.split())
    assert "in rehearsal: S/MIME  (required by connector:trial)" in explain(place, "x@trial.example")
    assert "S/MIME" not in explain(place, "x@any.example")


def test_lists_say_it_too(place):
    requires = {row["name"]: row["requires"] for row in place.json("connector", "list")}
    assert requires["secret"] == ["opportunistic", "encrypted (S/MIME)", "signed (S/MIME)"]
    assert place.json("rule", "list")[0]["then"] == "encrypted (S/MIME); signed (S/MIME)"
