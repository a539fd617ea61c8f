from __future__ import annotations

import ssl
from datetime import timedelta

import pytest

from gatepost.manage.web.certificate import admin_certificate, tls_context
from gatepost.net.identity import read_identity
from gatepost.pki.certificates.authority import self_signed
from gatepost.pki.certificates.files import CertificateFileError, load_identity
from gatepost.settings.loader import load


@pytest.fixture
def settings(tmp_path):
    def made(**admin):
        lines = [f"{key} = {value!r}" for key, value in admin.items()]
        text = f'[server]\nhostname = "mx1.contoso.example"\ndata_dir = "{tmp_path}/data"\n[admin]\n' + "\n".join(lines)
        file = tmp_path / "gatepost.toml"
        file.write_text(text)
        return load(str(file), {})

    return made


def test_one_is_made_for_every_name_it_is_asked_by_and_kept(settings):
    made = admin_certificate(settings(names=["admin.contoso.example"]))
    leaf = read_identity(load_identity(made.chain, made.key)).leaf
    assert made.own
    assert made.sha256 == leaf.sha256
    assert set(leaf.dns_names) == {"mx1.contoso.example", "admin.contoso.example", "localhost"}
    assert set(leaf.ip_addresses) == {"127.0.0.1", "::1"}
    assert [path.stat().st_mode & 0o777 for path in (made.chain, made.key)] == [0o600, 0o600]
    assert admin_certificate(settings(names=["admin.contoso.example"])) == made


def test_another_name_asks_for_another_certificate(settings):
    first = admin_certificate(settings())
    assert admin_certificate(settings(names=["admin.contoso.example"])).sha256 != first.sha256
    assert admin_certificate(settings()).sha256 != first.sha256


@pytest.mark.parametrize("damage", ["ends soon", "cut", "gone", "other key", "open"])
def test_one_that_serves_no_more_is_made_anew(settings, damage):
    first = admin_certificate(settings())
    names = ["mx1.contoso.example", "localhost", "127.0.0.1", "::1"]
    match damage:
        case "ends soon":
            chain, key = self_signed(names, lifetime=timedelta(days=29))
            first.chain.write_bytes(chain)
            first.key.write_bytes(key)
        case "cut":
            first.chain.write_bytes(first.chain.read_bytes()[:200])
        case "gone":
            first.key.unlink()
        case "other key":
            first.key.write_bytes(self_signed(names)[1])
        case "open":
            first.key.chmod(0o644)
    second = admin_certificate(settings())
    assert second.sha256 != first.sha256
    assert second.key.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in second.key.parent.iterdir()) == ["certificate.pem", "key.pem"]


def test_the_one_of_the_settings_is_used(settings, tmp_path):
    chain, key = self_signed(["admin.contoso.example"])
    (tmp_path / "chain.pem").write_bytes(chain)
    (tmp_path / "key.pem").write_bytes(key)
    (tmp_path / "key.pem").chmod(0o600)
    found = admin_certificate(settings(chain="chain.pem", key="key.pem"))
    assert (found.chain, found.own) == (tmp_path / "chain.pem", False)
    (tmp_path / "key.pem").chmod(0o644)
    with pytest.raises(CertificateFileError, match="chmod 0600"):
        admin_certificate(settings(chain="chain.pem", key="key.pem"))


def test_old_versions_of_tls_are_off(settings):
    context = tls_context(admin_certificate(settings()))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    suites = [one["name"] for one in context.get_ciphers()]
    assert all(name.startswith(("TLS_", "ECDHE-")) for name in suites)
