from __future__ import annotations

import json

from support.table_scene import AIA, CRL, HOST, OCSP, certificate, chain

from gatepost.pki.certificates.entry import State
from gatepost.pki.certificates.published_json import table_record, version_of, written
from gatepost.protocols.tls.profile import PROFILES
from gatepost.values import replace

CURRENT, NEXT = certificate(organization="Contoso Corporation"), certificate(kind="rsa")


def test_the_document(entry, table):
    found = table((entry(CURRENT, current_from=86400.0), chain(CURRENT)), (entry(NEXT, State.NEXT), chain(NEXT)))
    record = json.loads(json.dumps(table_record(found)))
    assert (record["format"], record["hostname"], record["changed"]) == (1, HOST, None)
    assert record["version"] == version_of(found)
    current, later = record["certificates"]
    facts = entry(CURRENT).leaf
    assert {key: current[key] for key in ("state", "root_issuer", "root_missing", "current_from", "current_until")} == {
        "state": "current",
        "root_issuer": "Test Root R1",
        "root_missing": None,
        "current_from": "1970-01-02T00:00:00Z",
        "current_until": None,
    }
    assert (current["name"], current["organization"], current["organization_unit"]) == (HOST, "Contoso Corporation", "")
    assert (current["key"], current["key_bits"], later["key"], later["key_bits"]) == ("EC-P-256", 256, "RSA-2048", 2048)
    assert int(current["serial"], 16) == CURRENT.certificate.serial_number
    assert (current["sha1"], current["sha256"], current["spki_sha256"]) == (facts.sha1, facts.sha256, facts.spki_sha256)
    assert current["tlsa"] == [f"_25._tcp.{HOST}. IN TLSA 3 1 1 {facts.spki_sha256}"]
    assert (current["crl"], current["ocsp"], current["aia"]) == ([CRL], [OCSP], [AIA])
    by_thumbprint = {one["sha256"]: one for one in record["authorities"]}
    assert [by_thumbprint[one]["type"] for one in current["path"]] == ["intermediate", "root"]
    assert (record["crl_endpoints"], record["ocsp_endpoints"], record["aia_endpoints"]) == ([CRL], [OCSP], [AIA])
    assert record["firewall"][0] == {"host": "crl.ca.example", "port": 80, "for": ["crl"]}
    assert record["tls"]["profile"] == "default"


def test_the_version_is_of_the_content_alone(entry, table, change):
    one = entry(CURRENT)
    first = table((one, chain(CURRENT)))
    same = table((replace(one, told=("bank.example",), held="x"), chain(CURRENT)), changes=[change(100.0, one)])
    assert same.changed
    assert version_of(first) == version_of(same)
    others = (
        table((replace(one, current_from=5.0), chain(CURRENT))),
        table((one, chain(CURRENT)), roots=()),
        table((one, chain(CURRENT)), hostname="mx2.contoso.example"),
        replace(first, profile=PROFILES["modern"]),
        table(),
    )
    assert len({version_of(one) for one in (first, *others)}) == 6


def test_times():
    assert (written(0), written(1_700_000_000.9)) == ("", "2023-11-14T22:13:20Z")
