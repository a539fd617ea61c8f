from __future__ import annotations

from types import SimpleNamespace

import pytest

from gatepost.net.anchors import AnchorsError
from gatepost.net.lookups.authority_origin import AuthorityOrigin
from gatepost.policy.connectors.grants import TENANTS_CHOOSE

PEM = "-----BEGIN CERTIFICATE-----MAAA-----END CERTIFICATE-----"
DER = b"0\0\0"


def organization(*anchors, tenants=True):
    connectors = [SimpleNamespace(trust_anchors=text) for text in anchors]
    ungranted = {TENANTS_CHOOSE} if tenants else set()
    return SimpleNamespace(ungranted=ungranted, inbound_connectors=connectors, outbound_connectors=())


@pytest.mark.parametrize(
    ("organizations", "server", "is_tenants"),
    [
        ([organization(PEM)], "system", True),
        ([organization(PEM), organization(PEM, tenants=False)], "system", False),
        ([organization(PEM), organization("/etc/corp.pem", tenants=False)], "system", False),
        ([organization(PEM), organization("/etc/away.pem", tenants=False)], "system", True),
        ([organization(PEM)], "/etc/corp.pem", False),
        ([organization()], "", False),
    ],
)
def test_an_authority_is_a_tenants_while_nobody_else_names_it(organizations, server, is_tenants):
    files = {"/etc/corp.pem": {DER}, "system": set()}

    def load(place):
        if place not in files:
            raise AnchorsError("it is away")
        return files[place]

    origin = AuthorityOrigin(organizations, server, load)
    assert origin.is_tenants(DER) is is_tenants
    assert not origin.is_tenants(b"another")


def test_no_file_is_read_for_an_authority_that_no_tenant_names():
    def load(_place):
        raise AssertionError

    assert not AuthorityOrigin([organization("/etc/corp.pem")], "system", load).is_tenants(DER)
