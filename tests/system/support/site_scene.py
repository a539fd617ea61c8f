"""Two nodes of one site on loopback, each with a store of its own, and organizations that live on one or the other.

Contoso lives on mx2, fabrikam on mx1, and mail comes in on either. The authority of the site is on mx1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from support.gateway import Gateway
from support.scenes import OWN_SERVERS, connector

from gatepost.testing.pki import Leaf
from gatepost.testing.process import free_port

SITE, MX1, MX2 = "contoso-site", "mx1.contoso.example", "mx2.contoso.example"
KEY_VARIABLE = "SITE_SCENE_KEY"
KEY = "only for these tests, and long enough for a key"
URIS = {name: f"spiffe://{SITE}/node/{name}" for name in (MX1, MX2)}


def organizations(*, contoso_home: str = MX2, outbound: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """Contoso with ann and alice, fabrikam with bob; contoso's ken forwards to a stranger, its tom to fabrikam."""
    contoso: dict[str, Any] = {
        "home": contoso_home,
        "accepted_domain": [{"name": "contoso.example"}],
        "mailbox": [
            {"address": "ann@contoso.example"},
            {"address": "alice@contoso.example"},
            {"address": "ken@contoso.example", "forwarding_smtp_address": "ken@far.example"},
            {
                "address": "tom@contoso.example",
                "forwarding_smtp_address": "bob@fabrikam.example",
                "deliver_to_mailbox_and_forward": True,
            },
        ],
        "inbound_connector": [OWN_SERVERS],
        "outbound_connector": list(outbound),
    }
    fabrikam: dict[str, Any] = {
        "home": MX1,
        "accepted_domain": [{"name": "fabrikam.example"}],
        "mailbox": [{"address": "bob@fabrikam.example"}],
        "outbound_connector": [connector("*", "127.0.0.1:9", name="to nowhere")],
    }
    return {"organization": {"contoso": {k: v for k, v in contoso.items() if v}, "fabrikam": fabrikam}}


class TwoNodes:
    """mx1, mx2: running, unless `start` is False. Each finds the other by [[site.node]]; both know the same resources.

    lifetime: of the certificates of nodes. certificates: of the listeners for the world. settings: of both nodes.
    """

    def __init__(
        self,
        stack: ExitStack,
        *,
        lifetime: str = "7d",
        resources: Mapping[str, Any] | None = None,
        certificates: Sequence[Leaf] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.joining = free_port()
        self._common = {"certificates": certificates, "listeners": ("mx", "internal")}
        self._settings = dict(settings or {})
        resources = resources if resources is not None else organizations()
        home = {"address": f"127.0.0.1:{self.joining}", "node_lifetime": lifetime}
        self.mx1 = self._made(MX1, resources, home)
        self.mx2 = self._made(MX2, resources, {})
        stack.callback(self.mx2.remove)
        self._introduce()
        self.mx1.cli("site", "init", "--name", SITE, "--domain", "contoso.example")
        stack.enter_context(self.mx1)
        self.join(self.mx2)
        stack.enter_context(self.mx2)
        self.mx1.wait_in_force()  # from here on its workers know mx2

    def join(self, gateway: Gateway, *words: str) -> None:
        """Make a gateway a node, by a token for it."""
        token = self.mx1.cli("site", "token", "--for", gateway.hostname).stdout.strip()
        gateway.cli("site", "join", f"127.0.0.1:{self.joining}", "--token", token, *words)

    def port(self, node: Gateway) -> int:
        """Of its internal listener."""
        return node.ports["internal"]

    def _made(self, name: str, resources: Mapping[str, Any], site: Mapping[str, Any]) -> Gateway:
        own = {"store": {"master_key": f"env:{KEY_VARIABLE}"}, "site": site, "queue": {"retry": ["1s"]}}
        return Gateway(resources, hostname=name, settings={**own, **self._settings}, **self._common)

    def _introduce(self) -> None:
        """Tell each where the other is, in its settings file."""
        for one, other in ((self.mx1, self.mx2), (self.mx2, self.mx1)):
            place = f'\n[[site.node]]\nname = "{other.hostname}"\naddress = "127.0.0.1:{other.ports["internal"]}"\n'
            with one.config.open("a") as file:
                file.write(place)
