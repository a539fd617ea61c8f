from __future__ import annotations

from types import SimpleNamespace

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.stored_message import hidden_from
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse


def test_hidden_are_the_names_of_others_and_shown_the_trust_anchors_of_ones_own_connectors() -> None:
    def owner(name: str) -> dict[str, object]:
        connector = {
            "name": "in",
            "connector_type": "partner",
            "sender_domains": ["*"],
            "trust_anchors": f"/{name}.pem",
        }
        return {"accepted_domain": [{"name": f"{name}.example"}], "inbound_connector": [connector]}

    directory = Directory(parse({"organization": {name: owner(name) for name in ("zeta", "omega")}}))
    gateway = SimpleNamespace(directory=lambda: directory)
    hidden = hidden_from(gateway, Principal("t", frozenset(Scope), frozenset({"omega"})))  # type: ignore[arg-type]
    assert (hidden.names, hidden.anchors) == ({"zeta"}, {"/omega.pem"})
