"""Keys for rewritten reverse-paths (SRS): which there are, a new one, and the end of an old one. No key is shown.

On a running gateway as on a stopped one: workers take changes up (`node.srs_keys`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NoReturn

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.declaration import Cli, Items, Visibility, use_cases
from gatepost.manage.use_cases.paging import Paging, page_of
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, refusing
from gatepost.manage.use_cases.sealed_store import store_and_vault
from gatepost.pki.certificates.vault import VaultError
from gatepost.store.interface import StoreFailure
from gatepost.store.srs_keys import change_shared_srs_keys, change_srs_keys, load_srs_keys, new_key, shared_srs_keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.manage.use_cases.context import Context
    from gatepost.protocols.message.srs import SrsKeys


use_case = use_cases(scope=Scope.OWNER, visibility=Visibility.GATEWAY, tag="srs keys")


class ListSrsKeys(Paging, kw_only=True):
    """Of the keys."""


class RotateSrsKey(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Nothing is to be said."""


class RemoveSrsKey(msgspec.Struct, kw_only=True):
    """A key, by its name."""

    name: Annotated[str, Meta(min_length=1, max_length=64, description="Name of the key."), Cli(argument=True)]


class SrsKey(msgspec.Struct, frozen=True):
    """A key. name: the first 16 hexadecimal digits of its SHA-256. signs: whether new addresses are made with it."""

    name: str
    signs: bool


@use_case("GET /srs_keys")
def list_srs_keys(context: Context, request: ListSrsKeys) -> Items[SrsKey]:
    """List the keys for rewritten reverse-paths (SRS): the first signs, all verify."""
    return page_of(_shown(_keys(context)), lambda key: key.name, request, lambda key: key)


@use_case("POST /srs_keys", requires_reauth=True, action="srs-rotate")
def rotate_srs_key(context: Context, request: RotateSrsKey) -> SrsKey:  # noqa: ARG001 - nothing is to be said
    """Make a new key for rewritten reverse-paths, which signs from now on.

    All workers of all nodes know it within seconds, and sign with it half a minute later. The keys before it go on
    verifying, so that notices for mail sent until now still come back, until they are removed.
    """
    (made, *_) = _shown(_keys(context, _with_new))
    context.audit.describe(name=made.name)
    return made


@use_case("DELETE /srs_keys/{name}", status=204, requires_reauth=True, action="srs-remove")
def remove_srs_key(context: Context, request: RemoveSrsKey) -> None:
    """Remove a key that only verifies: addresses that were made with it are refused from then on.

    Addresses are valid for 30 days: a month after the rotation a key is of no use. Remove it at once if it was stolen.
    """

    def step(keys: SrsKeys) -> SrsKeys:
        try:
            return keys.without(request.name)
        except KeyError as error:
            text = f"there is no SRS key {request.name!r}; `gatepost srs list` lists the keys"
            raise Refusal(RefusalKind.MISSING, text) from error
        except ValueError as error:
            text = f"The SRS key {request.name} signs: rotate first, then remove it."
            raise Refusal(RefusalKind.CONFLICT, text) from error

    _keys(context, step)


def _with_new(keys: SrsKeys) -> SrsKeys:
    with refusing(
        RefusalKind.CONFLICT,
        ValueError,
        text="No SRS key was made: {error}. Remove old ones first; a month after its rotation a key is of no use.",
    ):
        return keys.with_new(new_key())


def _keys(context: Context, step: Callable[[SrsKeys], SrsKeys] | None = None) -> SrsKeys:
    """The keys, or what `step` makes of them, stored. Raises Refusal."""
    try:
        if not context.storage.is_shared:
            return load_srs_keys(context.data) if step is None else change_srs_keys(context.data, step)
        with store_and_vault(context.gateway, keys=True) as (store, vault):
            if step is None:
                return shared_srs_keys(store, context.data, vault)
            return change_shared_srs_keys(store, context.data, vault, step)
    except (OSError, StoreFailure, VaultError) as failure:
        _refuse(failure)


def _refuse(failure: Exception) -> NoReturn:
    raise Refusal(RefusalKind.UNREADABLE, f"the SRS keys cannot be read or written: {failure}") from failure


def _shown(keys: SrsKeys) -> list[SrsKey]:
    return [SrsKey(name, place == 0) for place, name in enumerate(keys.names)]
