"""The password of the gateway at the directory of an accepted domain: set, removed, and whether there is one.

Used by `gatepost domain password` and over REST. Of the gateway's owner alone, as is the directory. None shows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.change import NOTHING
from gatepost.manage.use_cases.declaration import Visibility, use_case
from gatepost.manage.use_cases.name_lookup import choose_part, visible
from gatepost.manage.use_cases.parts import DOMAIN
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.sealed_store import store_and_vault
from gatepost.pki.certificates.connector_secrets import SecretError
from gatepost.pki.certificates.directory_secrets import DirectorySecrets, content_name
from gatepost.policy.connectors.errors import FieldError

if TYPE_CHECKING:
    from gatepost.manage.use_cases.context import Context
    from gatepost.manage.use_cases.parts import Part


_PATH: Final = "/organizations/{organization}/directory_passwords/{domain:path}"

type _Owner = Annotated[str, Meta(description="Whose domain it is.")]
type _Domain = Annotated[str, Meta(description="An accepted domain whose recipient_directory has a bind_dn.")]


class SetDirectoryPassword(msgspec.Struct, kw_only=True):
    """password: of bind_dn; at most 1024 octets."""

    organization: _Owner
    domain: _Domain
    password: Annotated[str, Meta(max_length=4096)]


class RemoveDirectoryPassword(msgspec.Struct, kw_only=True):
    """The password of a domain's directory."""

    organization: _Owner
    domain: _Domain


class ShowDirectoryPassword(msgspec.Struct, kw_only=True):
    """Whether there is a password for a domain's directory."""

    organization: _Owner
    domain: _Domain


class DirectoryPassword(msgspec.Struct):
    """password: "sealed", "file", "missing", or "stale": entered for other servers, so that it is not used."""

    domain: str
    password: str


@use_case(
    f"GET {_PATH}",
    scope=Scope.READ,
    visibility=Visibility.GATEWAY,
    tag="accepted domains",
    may_404=True,
    commands=("domain password",),
)
def show_directory_password(context: Context, request: ShowDirectoryPassword) -> DirectoryPassword:
    """Whether there is a password for the directory of a domain. The password itself is never shown."""
    part = _chosen(context, request)
    with store_and_vault(context.gateway, keys=False) as (store, _):
        state = DirectorySecrets(store.content, None).state(part.organization.name, part.record)
    return DirectoryPassword(part.name, str(state))


@use_case(
    f"PUT {_PATH}",
    scope=Scope.CONNECTORS,
    visibility=Visibility.GATEWAY,
    tag="accepted domains",
    action="directory-password",
    may_404=True,
    commands=("domain password",),
)
def set_directory_password(context: Context, request: SetDirectoryPassword) -> DirectoryPassword:
    """Seal the password by which the gateway logs in to the directory of a domain.

    It counts for the next connection, for the servers, bind_dn and trust_anchors that the directory has now: after a
    change of these it has to be entered again.
    """
    part = _chosen(context, request)
    with store_and_vault(context.gateway, keys=True) as (store, vault):
        secrets = DirectorySecrets(store.content, vault)
        try:
            content = secrets.sealed(part.organization.name, part.record, request.password)
        except SecretError as error:
            raise Refusal(RefusalKind.INPUT, f"{error}; {NOTHING}", [FieldError("password", str(error))]) from error
        store.apply({}, author=context.principal.name, content=dict(content))
        return DirectoryPassword(part.name, str(secrets.state(part.organization.name, part.record)))


@use_case(
    f"DELETE {_PATH}",
    scope=Scope.CONNECTORS,
    visibility=Visibility.GATEWAY,
    tag="accepted domains",
    action="directory-password",
    may_404=True,
    commands=("domain password",),
)
def remove_directory_password(context: Context, request: RemoveDirectoryPassword) -> DirectoryPassword:
    """Destroy the password: until there is another, the directory cannot be asked over new connections."""
    context.audit.describe(removed=True)
    part = _chosen(context, request)
    with store_and_vault(context.gateway, keys=False) as (store, _):
        place = content_name(part.organization.name, part.name)
        store.apply({}, author=context.principal.name, content={place: None})
        state = DirectorySecrets(store.content, None).state(part.organization.name, part.record)
    return DirectoryPassword(part.name, str(state))


def _chosen(context: Context, request: SetDirectoryPassword | RemoveDirectoryPassword | ShowDirectoryPassword) -> Part:
    """The domain. Raises Refusal: MISSING if there is none, INPUT if nobody logs in to a directory for it."""
    resources = visible(context.directory().resources, context.principal)
    part = choose_part(resources, DOMAIN, request.domain, request.organization)
    context.audit.describe(organization=part.organization.name, subject=part.name)
    directory = part.record.recipient_directory
    if directory is None or not directory.bind_dn:
        said = "logs in to no directory; first write its recipient_directory.bind_dn"
        raise Refusal(RefusalKind.INPUT, f"{part.label} {said}", [FieldError("domain", said)])
    return part


USE_CASES = (show_directory_password, set_directory_password, remove_directory_password)
