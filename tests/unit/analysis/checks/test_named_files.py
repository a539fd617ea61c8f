from __future__ import annotations

import datetime as dt
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gatepost.analysis.checks.named_files import file_alarms, named_files, server_anchors, unusable, unusable_files
from gatepost.net.identity import IdentityError, ServerIdentity
from gatepost.store.nodes import UnusableFile

NOW = 1_800_000_000.0


def nobody(organization, label, now):
    raise IdentityError(f"{organization} has no current client certificate {label!r}")


@pytest.fixture
def files(tmp_path):
    """A certificate with its key, and the key of another."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gw")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "chain.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    for file, one in (("key.pem", key), ("other.pem", ec.generate_private_key(ec.SECP256R1()))):
        form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (tmp_path / file).write_bytes(one.private_bytes(*form))
        (tmp_path / file).chmod(0o600)
    (tmp_path / "open.pem").write_bytes((tmp_path / "key.pem").read_bytes())
    (tmp_path / "open.pem").chmod(0o644)
    return tmp_path


def needs(directory, text):
    return list(named_files(directory(text).resources.organizations))


def alarm_of(directory, text, why, node=""):
    organizations = directory(text).resources.organizations
    found = [UnusableFile(file.about, why) for file in named_files(organizations)]
    (alarm,) = file_alarms([*found, UnusableFile("contoso/unknown/key_file", "x")], organizations, node=node)
    return alarm


def test_what_enabled_resources_name_is_found(directory):
    found = needs(
        directory,
        """
        [organization.contoso]
        [[organization.contoso.inbound_connector]]
        name = "from bank"
        sender_domains = ["bank.example"]
        trust_anchors = "/anchors.pem"
        [[organization.contoso.outbound_connector]]
        name = "bank"
        recipient_domains = ["bank.example"]
        client_certificate = { label = "bank" }
        [[organization.contoso.outbound_connector]]
        name = "off"
        enabled = false
        recipient_domains = ["off.example"]
        trust_anchors = "/gone.pem"
        [[organization.contoso.outbound_connector]]
        name = "shop"
        recipient_domains = ["shop.example"]
        trust_anchors = "system"
        client_certificate = { chain = "/chain.pem", key = "/key.pem" }
        [[organization.contoso.accepted_domain]]
        name = "contoso.example"
        [[organization.contoso.dkim_key]]
        name = "a._domainkey.contoso.example"
        key_file = "/dkim.pem"
        [[organization.contoso.dkim_key]]
        name = "b._domainkey.contoso.example"
        [[organization.contoso.dkim_key]]
        name = "c._domainkey.contoso.example"
        state = "retired"
        key_file = "/old.pem"
        """,
    )
    assert [(one.owner, one.field) for one in found] == [
        ("inbound connector 'from bank' of contoso", "trust_anchors"),
        ("outbound connector 'bank' of contoso", "client_certificate.label"),
        ("outbound connector 'shop' of contoso", "client_certificate"),
        ("DKIM key 'a._domainkey.contoso.example' of contoso", "key_file"),
    ]
    assert found[0].path == "organization.contoso.inbound_connector[0] 'from bank'.trust_anchors"
    assert len({one.need for one in found}) == 4


OUT = """
[organization.contoso]
[[organization.contoso.outbound_connector]]
name = "bank"
recipient_domains = ["bank.example"]
"""


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('trust_anchors = "{}/chain.pem"', ""),
        ('trust_anchors = "{}/gone.pem"', "gone.pem: No such file or directory"),
        ('trust_anchors = "{}/key.pem"', "key.pem: no certificate in it"),
        ('client_certificate = {{ chain = "{0}/chain.pem", key = "{0}/key.pem" }}', ""),
        ('client_certificate = {{ chain = "{0}/chain.pem", key = "{0}/gone.pem" }}', "gone.pem: No such file"),
        ('client_certificate = {{ chain = "{0}/chain.pem", key = "{0}/open.pem" }}', "mode 0644 lets others use it"),
        (
            'client_certificate = {{ chain = "{0}/chain.pem", key = "{0}/other.pem" }}',
            "does not belong to the certificate",
        ),
        ('client_certificate = {{ label = "bank" }}', "contoso has no current client certificate 'bank'"),
    ],
)
def test_why_something_cannot_be_used(directory, files, line, why):
    (one,) = needs(directory, OUT + line.format(files))
    said = unusable(one, nobody, NOW)
    assert why in said
    assert bool(said) is bool(why)


DKIM = """
[organization.contoso]
[[organization.contoso.accepted_domain]]
name = "contoso.example"
[[organization.contoso.dkim_key]]
name = "a._domainkey.contoso.example"
"""


def test_a_private_key_of_dkim_that_is_gone(directory, files):
    line = f'key_file = "{files}/dkim.pem"\n'
    (one,) = needs(directory, DKIM + line)
    assert "dkim.pem: No such file or directory" in unusable(one, nobody, NOW)
    assert needs(directory, DKIM + line + 'comment = "x"')[0].need == one.need
    assert needs(directory, DKIM + line + 'state = "current"')[0].need != one.need
    alarm = alarm_of(directory, DKIM + line, "gone")
    assert (alarm.key, "mail that needs it waits" in alarm.fix) == (
        "file-unusable - contoso/a._domainkey.contoso.example/key_file",
        True,
    )


def test_a_label_that_is_there_will_do(directory):
    (one,) = needs(directory, OUT + 'client_certificate = { label = "bank" }')
    assert unusable(one, lambda *_: ServerIdentity(b"", b""), NOW) == ""


def test_the_alarm_names_the_resource_and_what_is_gone(directory):
    text, why = OUT + 'trust_anchors = "/gone.pem"', "/gone.pem: No such file or directory"
    alarm = alarm_of(directory, text, why)
    assert alarm.key == "file-unusable - contoso/bank/trust_anchors"
    assert "outbound connector 'bank' of contoso" in alarm.title
    assert "/gone.pem" in alarm.detail
    of_node = alarm_of(directory, text, f"{why}\n" * 100, "mx2")
    assert of_node.key == "file-unusable - contoso/bank/trust_anchors on mx2"
    assert of_node.title.endswith("names a file that cannot be used on node mx2: trust_anchors")
    assert ("\n" in of_node.detail, len(of_node.detail)) == (False, 300), "whatever a node that was taken over says"


def test_what_cannot_be_used_on_this_node_is_found(directory, files):
    organizations = directory(OUT + f'trust_anchors = "{files}/gone.pem"').resources.organizations
    (found,) = unusable_files({}, organizations, nobody, NOW)
    assert found.about == "contoso/bank/trust_anchors"
    assert found.why.endswith("gone.pem: No such file or directory")


def test_a_directory_of_recipients_names_a_file_too(directory, files):
    text = """
        [organization.contoso]
        [[organization.contoso.accepted_domain]]
        name = "contoso.example"
        type = "internal-relay"
        recipient_validation = "ldap"
        recipient_directory = {{ urls = ["ldaps://dc1.contoso.example"], base_dn = "dc=contoso", trust_anchors = "{}" }}
        """
    (one,) = needs(directory, text.format(files / "gone.pem"))
    assert one.path == "organization.contoso.accepted_domain[0] 'contoso.example'.recipient_directory.trust_anchors"
    assert "gone.pem: No such file" in unusable(one, nobody, NOW)
    assert unusable(needs(directory, text.format(files / "chain.pem"))[0], nobody, NOW) == ""
    assert needs(directory, text.format("system")) == []


def test_the_server_s_trust_anchors_have_an_alarm_of_their_own(files):
    assert list(unusable_files({"tls.trust_anchors": str(files / "chain.pem")}, (), nobody, NOW)) == []
    (alarm,) = file_alarms(unusable_files({"tls.trust_anchors": str(files / "key.pem")}, (), nobody, NOW), ())
    assert alarm.key == "file-unusable - tls.trust_anchors"
    assert alarm.detail.endswith("key.pem: no certificate in it (PEM or DER is expected)")
    assert "SIGHUP reads no file again" in alarm.fix
    (of_node,) = file_alarms([UnusableFile("tls.trust_anchors", "gone")], (), node="mx2")
    assert of_node.key == "file-unusable - tls.trust_anchors on mx2"
    assert of_node.title == "Trust anchors of the settings cannot be read on node mx2: tls.trust_anchors"


@pytest.mark.parametrize(
    ("issuer", "anchors", "is_on", "keys"),
    [
        ("", "/issuer.pem", False, ["tls"]),
        ("https://login.example", "", False, ["tls"]),
        ("https://login.example", "/issuer.pem", False, ["tls", "oidc"]),
        ("", "", True, ["tls", "acme"]),
    ],
)
def test_trust_anchors_of_the_settings_that_are_in_use(issuer, anchors, is_on, keys):
    settings = SimpleNamespace(
        tls=SimpleNamespace(trust_anchors="system"),
        oidc=SimpleNamespace(issuer=issuer, trust_anchors=anchors),
        acme=SimpleNamespace(is_on=is_on, trust_anchors="/pebble.pem"),
    )
    assert list(server_anchors(settings)) == [f"{key}.trust_anchors" for key in keys]


@pytest.mark.parametrize(("key", "said"), [("oidc", "log-ins at the issuer"), ("acme", "no certificate is requested")])
def test_the_alarm_says_what_trust_anchors_of_the_settings_are_for(key, said):
    (alarm,) = file_alarms([UnusableFile(f"{key}.trust_anchors", "gone")], ())
    assert alarm.title.endswith(f"cannot be read: {key}.trust_anchors")
    assert said in alarm.fix


def test_mail_waits_for_a_label_and_goes_by_a_file_that_was_read(directory):
    texts = 'client_certificate = { label = "bank" }', 'trust_anchors = "/gone.pem"'
    fixes = [alarm_of(directory, OUT + text, "gone").fix for text in texts]
    assert ["the gateway goes by what it read last" in fix for fix in fixes] == [False, True]
