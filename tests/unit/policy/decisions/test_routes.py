from __future__ import annotations

import pytest

from gatepost.policy.connectors.model import parse
from gatepost.policy.decisions.requirement import Opportunistic, Source
from gatepost.policy.decisions.routes import InternalRoute, NextHop, Rulings


@pytest.mark.parametrize(
    ("host", "port", "place"),
    [
        ("hq.b.example", 25, "hq.b.example:25"),
        ("2001:db8::1", 2525, "[2001:db8::1]:2525"),
        ("/run/lmtp", 0, "unix:/run/lmtp"),
    ],
)
def test_a_next_hop_is_written_as_administrators_write_it(host: str, port: int, place: str) -> None:
    assert NextHop(host, port, Opportunistic((Source("default"),))).place == place


def test_a_route_to_a_node_has_those_that_share_its_store_behind_it() -> None:
    first, second = (NextHop(host, 8445, Opportunistic((Source("internal", "site"),))) for host in ("mx2.a", "mx3.a"))
    assert InternalRoute(first).hops == (first,)
    assert InternalRoute(first, others=(second,)).hops == (first, second)


@pytest.mark.parametrize(("names", "expected"), [((), False), (("fabrikam",), False), (("fabrikam", "contoso"), True)])
def test_which_organizations_have_rules(names: tuple[str, ...], expected: bool) -> None:
    rules = {"mail_flow_rule": [{"name": "secret", "require_tls": True}]}
    assert (
        Rulings(parse({"organization": {"contoso": rules, "fabrikam": {}}}).organizations).has_any_of(names) is expected
    )
