from __future__ import annotations

from gatepost.node.content import content_steps
from gatepost.outbound.dkim import DkimSigning


def test_the_signature_comes_last() -> None:
    steps = content_steps("mx1.contoso.example", None)  # type: ignore[arg-type] # nothing is signed here
    assert isinstance(steps._steps[-1], DkimSigning)
