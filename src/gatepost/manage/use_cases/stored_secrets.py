"""The secrets of connectors and domains in the configuration store: stored, sealed, and removed; none shows one.

Used by `connector_secrets` and `directory_password`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.manage.use_cases.change import NOTHING
from gatepost.manage.use_cases.refusal import RefusalKind, refusing
from gatepost.manage.use_cases.sealed_store import store_and_vault
from gatepost.pki.certificates.connector_secrets import ConnectorSecrets, SecretError

if TYPE_CHECKING:
    from gatepost.manage.use_cases.context import Context
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.manage.use_cases.parts import Part
    from gatepost.pki.certificates.directory_secrets import DirectorySecrets


def secret_state(gateway: Gateway, secrets: type[ConnectorSecrets | DirectorySecrets], part: Part) -> str:
    """The state of the secret of a part. Raises Refusal as `store_and_vault`."""
    with store_and_vault(gateway, keys=False) as (store, _):
        return str(secrets(store.content, None).state(part.organization.name, part.record))


def seal_secret(
    context: Context, secrets: type[ConnectorSecrets | DirectorySecrets], part: Part, field: str, secret: str
) -> str:
    """Store the secret of a part, and return its state. Raises Refusal: INPUT (field) for one that cannot be one."""
    with store_and_vault(context.gateway, keys=True) as (store, vault):
        sealing = secrets(store.content, vault)
        with refusing(RefusalKind.INPUT, SecretError, text=f"{{error}}; {NOTHING}", field=field):
            content = sealing.sealed(part.organization.name, part.record, secret)
        store.apply({}, author=context.principal.name, content=dict(content))
        return str(sealing.state(part.organization.name, part.record))


def destroy_secret(context: Context, secrets: type[ConnectorSecrets | DirectorySecrets], part: Part, place: str) -> str:
    """Remove the secret of a part from its place in the store, and return the state that is left."""
    with store_and_vault(context.gateway, keys=False) as (store, _):
        store.apply({}, author=context.principal.name, content={place: None})
        return str(secrets(store.content, None).state(part.organization.name, part.record))
