"""A gateway on real files in tmp_path."""

from __future__ import annotations

import time

import pytest
import tomlkit

from gatepost.manage.use_cases.context import Gateway
from gatepost.pki.certificates.authority import Authority
from gatepost.settings.loader import load
from gatepost.store.evidence_files import evidence_directory


@pytest.fixture
def gateway(tmp_path):
    """One without resources."""
    file = tmp_path / "gatepost.toml"
    file.write_text('[server]\nhostname = "mx.gate.example"\ndata_dir = "data"\n', encoding="utf-8")
    return Gateway(load(str(file), {}))


@pytest.fixture(scope="session")
def root():
    """An authority whose certificates the gateways here trust."""
    return Authority("Administration Root")


@pytest.fixture
def sealed(tmp_path, root):
    """A gateway with a master key, an organization and a partner; nothing answers where its DNS server should be."""
    (tmp_path / "master").touch(0o600)
    (tmp_path / "master").write_bytes(bytes(range(32)))
    (tmp_path / "root.pem").write_bytes(root.certificate_pem)
    document = {
        "server": {"hostname": "mx.gate.example", "data_dir": "data"},
        "store": {"master_key": f"file:{tmp_path / 'master'}"},
        "tls": {"trust_anchors": "root.pem"},
        "dns": {"nameservers": ["127.0.0.1:1"], "timeout": 0.2},
    }
    file = tmp_path / "gatepost.toml"
    file.write_text(tomlkit.dumps(document), encoding="utf-8")
    found = Gateway(load(str(file), {}))
    resources = {
        "accepted_domain": [{"name": "contoso.example"}],
        "inbound_connector": [{"name": "bank", "sender_domains": ["bank.example"]}],
        "outbound_connector": [
            {"name": "out", "recipient_domains": ["bank.example"], "client_certificate": {"label": "to-bank"}}
        ],
    }
    with found.config() as store:
        store.apply({"organization": {"contoso": resources}}, author="ann")
    return found


@pytest.fixture
def log(gateway, logs):
    """Two days that are over, with heads, and today."""
    directory = evidence_directory(gateway.data)
    logs.keep_key(directory)
    chain = logs.chain(directory)
    for day in range(3):
        at = time.time() - (2 - day) * 86_400
        chain.append(logs.events(3, at=at, message=f"m{day}"), at)
        chain.checkpoint(at)
    logs.heads(directory).make(time.time())
    return directory


@pytest.fixture
def from_settings(tmp_path, root):
    """A gateway whose certificate is named in the settings; it never ran."""
    chain, key = root.issue(["mx.gate.example"])
    (tmp_path / "chain.pem").write_bytes(chain)
    (tmp_path / "key.pem").touch(0o600)
    (tmp_path / "key.pem").write_bytes(key)
    document = {
        "server": {"hostname": "mx.gate.example", "data_dir": "data"},
        "certificate": [{"chain": "chain.pem", "key": "key.pem"}],
    }
    (tmp_path / "gatepost.toml").write_text(tomlkit.dumps(document))
    return Gateway(load(str(tmp_path / "gatepost.toml"), {}))
