from __future__ import annotations

import pytest

from gatepost.pki.certificates.request import KEY_TYPES
from gatepost.settings.acme import LETS_ENCRYPT, Acme, KeyType, acme_directory
from gatepost.settings.loader import load
from gatepost.settings.problem import SettingsError
from gatepost.settings.section import SectionError

HEAD = '[server]\nhostname = "mx.a.example"\n'
KEY = '[store]\nmaster_key = "env:KEY"\n'
ON = "[acme]\nagree_tos = true\n"


def problems(tmp_path, text, environment=None):
    file = tmp_path / "g.toml"
    file.write_text(HEAD + text, encoding="utf-8")
    try:
        load(str(file), environment or {})
    except SettingsError as error:
        return [str(problem).partition(": ")[2] for problem in error.problems]
    return []


GOOD = [
    "",
    KEY + ON,
    KEY + ON + 'directory_url = "https://ca.example:14000/dir"\ncontact = ["ann@a.example", "mailto:bob@a.example"]\n',
    KEY + ON + 'names = ["*.a.example", "a.example"]\nchallenge = "dns-01"\ndns_hook = ["/usr/bin/hook", "-v"]\n',
    KEY + ON + 'eab_key_id = "kid"\neab_mac_key = "env:MAC"\n',
    '[acme]\ndirectory_url = ""\nroll_key = true\n',
    KEY + ON + '[mta_sts]\naddress = "127.0.0.1:443"\n',  # the certificate is still to come
]


@pytest.mark.parametrize("text", GOOD)
def test_what_can_be_written(tmp_path, text):
    assert problems(tmp_path, text) == []


BAD = {
    '[acme]\ncontact = ["ann@a.example"]\n': (
        "acme.agree_tos: without it no certificate is requested; write true if you agree to the terms of "
        f"{LETS_ENCRYPT}"
    ),
    ON: "store.master_key: ACME needs it, to seal the keys of account and certificates; write file:/PATH, env:NAME",
    KEY
    + ON
    + 'directory_url = "http://ca.example/"\n': "acme.directory_url: 'http://ca.example/' is not an https address",
    KEY + ON + 'directory_url = "https://a:b@ca.example/"\n': "acme.directory_url: 'https://a:b@ca.example/' is no",
    KEY + ON + 'contact = ["nobody"]\n': "acme.contact[0]: 'nobody' is not a mail address",
    KEY + ON + 'names = ["*.a.example"]\n': "acme.names[0]: only the DNS can prove that *.a.example is ours; write",
    KEY
    + ON
    + 'eab_key_id = "k"\n': "acme.eab_mac_key: it is needed with eab_key_id; the authority shows both together",
    KEY + ON + 'eab_mac_key = "env:MAC"\n': "acme.eab_key_id: it is needed with eab_mac_key",
    KEY + ON + 'eab_mac_key = "zWNDZM6eQGHW"\n': "acme.eab_mac_key: this is not a reference to a secret; write file:",
    KEY + ON + 'challenge = "dns-01"\n': "acme.dns_hook: dns-01 needs a program that publishes TXT records",
    KEY + ON + 'dns_hook = ["hook"]\n': "acme.dns_hook: 'hook': write the absolute path of the program; no shell looks",
    KEY + ON + '[[listener]]\nrole = "mx"\naddress = "0.0.0.0:80"\n': "listener[0].address: 0.0.0.0:80 is used more",
}


@pytest.mark.parametrize(("text", "begin"), BAD.items())
def test_what_cannot(tmp_path, text, begin):
    assert any(line.startswith(begin) for line in problems(tmp_path, text)), problems(tmp_path, text)


def test_the_environment(tmp_path):
    on = {"GATEPOST_ACME__AGREE_TOS": "true", "GATEPOST_STORE__MASTER_KEY": "env:KEY"}
    assert problems(tmp_path, "", on) == []


def test_anchors_are_found_from_the_file(tmp_path):
    file = tmp_path / "g.toml"
    file.write_text(HEAD + KEY + ON + 'trust_anchors = "ca.pem"\n', encoding="utf-8")
    assert load(str(file), {}).acme.trust_anchors == str(tmp_path / "ca.pem")


SERVED = [
    (Acme(), False, ""),
    (Acme(agree_tos=True), True, "0.0.0.0:80"),
    (Acme(agree_tos=True, directory_url=""), False, ""),
    (Acme(agree_tos=True, challenge="dns-01"), True, ""),
]


@pytest.mark.parametrize(("acme", "on", "address"), SERVED)
def test_whether_it_is_on_and_where_tokens_are_served(acme, on, address):
    assert (acme.is_on, acme.served_at) == (on, address)


def test_every_kind_of_key_can_be_made():
    assert [str(one) for one in KeyType] == list(KEY_TYPES)


@pytest.mark.parametrize("url", ["ftp://a.example/", "https://", "https://[::/x", "https://a.example:port/", "x"])
def test_no_directory(url):
    with pytest.raises(ValueError, match="is not an https address"):
        acme_directory(url)
    with pytest.raises(SectionError):
        Acme(directory_url=url)
