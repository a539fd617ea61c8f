"""Problems that keep a gateway from starting, and that can be seen without starting it.

Found by `manage.cli.serve` before it binds a port, as root and then as the gateway's account, and by `gatepost doctor`.
Nothing is changed.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.lookups.configured import check_validation
from gatepost.net.lookups.validator import ValidatorError
from gatepost.net.openssl_private import PrivateCallError, self_test
from gatepost.node.alarm_post import webhook_secret
from gatepost.node.database_roles import secret_problems
from gatepost.pki.certificates.files import CertificateFileError, load_identities
from gatepost.pki.certificates.vault import Vault, VaultError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.settings.model import Settings


def start_problems(settings: Settings) -> Iterator[str]:
    """Yield a text for each problem: the setting or file, why it cannot be used, and what helps."""
    if not settings.listeners:
        yield 'no [[listener]]: add one, such as role = "mx" and address = "0.0.0.0:25"'
    try:
        self_test()
    except PrivateCallError as error:
        yield f"the installed pyOpenSSL cannot be used: {error}; install the locked version"
    try:
        load_identities([(Path(certificate.chain), Path(certificate.key)) for certificate in settings.certificates])
    except CertificateFileError as error:
        yield str(error)
    try:
        TrustAnchors.load(settings.tls.trust_anchors)
    except AnchorsError as error:
        yield f"tls.trust_anchors: {error}"
    try:
        check_validation(settings.dns)
    except ValidatorError as error:
        yield f'dns.validate = "local": {error}'
    yield from secret_problems(settings)
    yield from _acme_problems(settings)
    yield from _secret_problems(settings)


def _acme_problems(settings: Settings) -> Iterator[str]:
    """Problems that would prevent every request for a certificate."""
    if not settings.acme.is_on:
        return
    if find_spec("acme") is None:
        yield "[acme] needs a Python package that is missing; install gatepost with its extra: gatepost[acme]"
    try:
        TrustAnchors.load(settings.acme.trust_anchors)
    except AnchorsError as error:
        yield f"acme.trust_anchors: {error}"


def _secret_problems(settings: Settings) -> Iterator[str]:
    """Secrets that are named and cannot be had, or cannot be used."""
    try:
        Vault.of(settings.store.master_key)
    except VaultError as error:
        yield f"store.master_key: {error}"
    yield from _otel_problems(settings)
    try:
        if settings.alarms.webhook:
            webhook_secret(settings.alarms.webhook_secret)
    except VaultError as error:
        yield f"alarms.webhook_secret: {error}"


def _otel_problems(settings: Settings) -> Iterator[str]:
    """Problems that would prevent every span from being sent."""
    if not settings.otel.endpoint:
        return
    try:
        from gatepost.node.span_export import receiver_secret  # noqa: PLC0415 - its libraries are an extra
    except ImportError:
        yield "[otel] needs Python packages that are missing; install gatepost with its extra: gatepost[otel]"
        return
    try:
        if settings.otel.secret:
            receiver_secret(settings.otel)
    except VaultError as error:
        yield f"otel.secret: {error}"
