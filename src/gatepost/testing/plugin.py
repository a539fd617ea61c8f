"""A pytest plugin: fixtures that start servers and end them with the test. pytest finds it by its entry point.

Their names begin with gatepost_, so that they meet no others. Nothing is imported before a test asks for one.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gatepost.testing.gateway import Gateway
    from gatepost.testing.partner import Partner
    from gatepost.testing.pki import Pki
    from gatepost.testing.signed_zone import SignedZones


@pytest.fixture(scope="session")
def gatepost_pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """The authority that gateways and partners of the tests trust; see `gatepost.testing.pki.Pki`."""
    from gatepost.testing.pki import Pki  # noqa: PLC0415 - for tests that ask for it

    return Pki(tmp_path_factory.mktemp("gatepost-pki"))


@pytest.fixture
def gatepost_running() -> Iterator[ExitStack]:
    """A stack: each server that is entered here is ended with the test, in reverse order."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def gatepost_gateway(gatepost_running: ExitStack) -> Callable[..., Gateway]:
    """Start gateways, which end with the test; it takes what `gatepost.testing.gateway.Gateway` takes."""
    from gatepost.testing.gateway import Gateway  # noqa: PLC0415 - for tests that ask for it

    return lambda resources="", **options: gatepost_running.enter_context(Gateway(resources, **options))


@pytest.fixture
def gatepost_partner(gatepost_running: ExitStack, gatepost_pki: Pki) -> Callable[..., Partner]:
    """Start partners, which end with the test; it takes what `gatepost.testing.partner.Partner` takes after `pki`."""
    from gatepost.testing.partner import Partner  # noqa: PLC0415 - for tests that ask for it

    return lambda *words, **options: gatepost_running.enter_context(Partner(gatepost_pki, *words, **options))


@pytest.fixture
def gatepost_zones(gatepost_running: ExitStack) -> Callable[..., SignedZones]:
    """Start validating nameservers; it takes what `gatepost.testing.signed_zone.SignedZones` takes."""
    from gatepost.testing.signed_zone import SignedZones  # noqa: PLC0415 - for tests that ask for it

    return lambda zones, **options: gatepost_running.enter_context(SignedZones(zones, **options))
