from __future__ import annotations

import pytest

from gatepost.settings.loader import load
from gatepost.settings.problem import SettingsError
from gatepost.settings.section import SectionError
from gatepost.settings.sections import Otel

HERE = "http://127.0.0.1:4318/v1/traces"
SERVER = '[server]\nhostname = "mx1.contoso.example"\n'


def test_it_is_off_unless_written():
    assert Otel() == Otel(endpoint="", service_name="gatepost", sample=1000, header="Authorization", secret="")


@pytest.mark.parametrize("endpoint", ["", HERE, "https://otlp.example/otlp/v1/traces", "http://[::1]:4318/v1/traces"])
def test_addresses(endpoint):
    assert Otel(endpoint=endpoint).endpoint == endpoint


# wrong fields -> what is said
FAULTS = [
    (
        {"endpoint": "127.0.0.1:4318"},
        "is not an address for traces; write it with its path, such as http://127.0.0.1:4318/v1",
    ),
    ({"endpoint": "http://127.0.0.1:4318"}, "is not an address for traces; write it with its path"),
    ({"endpoint": "http://127.0.0.1:port/v1/traces"}, "is not an address for traces"),
    ({"endpoint": "http://[::1/v1/traces"}, "is not an address for traces"),
    ({"endpoint": "grpc://127.0.0.1:4317/v1/traces"}, "is not an address for traces"),
    ({"endpoint": "http://otlp.example/v1/trac es"}, "is not an address for traces"),
    ({"endpoint": "https://me:pass@otlp.example/v1/traces"}, "with a password or a query would be in logs"),
    ({"endpoint": "https://otlp.example/v1/traces?key=x"}, "with a password or a query would be in logs"),
    ({"header": "X Key:"}, "is not a name of an HTTP header field"),
    ({"secret": "Bearer x"}, "not a reference to a secret; write file:/PATH, env:NAME or credential:NAME"),
    ({"sample": 1001}, "1000"),
    ({"service_name": ""}, "must have at least 1 character"),
]


@pytest.mark.parametrize(("fields", "said"), FAULTS)
def test_what_is_wrong_is_said(fields, said):
    with pytest.raises(SectionError) as raised:
        Otel(**fields)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("endpoint", "private"),
    [
        (HERE, True),
        ("http://localhost:4318/v1/traces", True),
        ("http://[::1]:4318/v1/traces", True),
        ("https://otlp.example/v1/traces", True),
        ("http://otlp.example/v1/traces", False),
        ("http://192.0.2.1:4318/v1/traces", False),
    ],
)
def test_a_secret_crosses_no_network_in_clear(endpoint, private, tmp_path):
    assert Otel(endpoint=endpoint).is_private is private
    file = tmp_path / "gatepost.toml"
    file.write_text(f'{SERVER}[otel]\nendpoint = "{endpoint}"\nsecret = "env:TOKEN"\n')
    if private:
        assert load(str(file), {}).otel.secret == "env:TOKEN"
        return
    with pytest.raises(SettingsError) as raised:
        load(str(file), {})
    assert "otel.secret: the secret would cross the network unencrypted; write an https endpoint" in str(raised.value)
