from __future__ import annotations

from typing import Any

from gatepost.policy.connectors.content_hook import ContentHook
from gatepost.policy.connectors.hook_index import ApplicableHook, HookIndex
from gatepost.policy.connectors.records import Organization
from gatepost.policy.connectors.values import HookDirection


def hook(**fields: Any) -> ContentHook:
    return ContentHook(**{"name": "h", "type": "clamav", "address": "127.0.0.1"} | fields)


def test_the_index_has_enabled_hooks_by_direction_and_name() -> None:
    hooks = (
        hook(name="z"),
        hook(name="a", direction="inbound"),
        hook(name="b", direction="outbound"),
        hook(name="off", enabled=False),
    )
    index = HookIndex((Organization(name="contoso", content_hooks=hooks), Organization(name="fabrikam")))
    assert index
    assert [one.hook.name for one in index.hooks("contoso", HookDirection.INBOUND)] == ["a", "z"]
    assert [one.hook.name for one in index.hooks("contoso", HookDirection.OUTBOUND)] == ["b", "z"]
    assert index.hooks("fabrikam", HookDirection.INBOUND) == ()
    # The very same each time, so that to compare two recipients' costs nothing.
    assert index.hooks("contoso", HookDirection.INBOUND) is index.hooks("contoso", HookDirection.INBOUND)


def test_a_hook_shares_its_scanner_with_enabled_hooks_of_others_that_count_its_connections_alike() -> None:
    def shared(*others: ContentHook) -> bool:
        own = Organization(name="contoso", content_hooks=(hook(), hook(name="i")))
        index = HookIndex((own, Organization(name="fabrikam", content_hooks=others)))
        first, second = index.hooks("contoso", HookDirection.INBOUND)
        assert first.shared == second.shared
        return first.shared

    assert shared(hook(direction="outbound"))
    assert not shared()
    assert not shared(hook(enabled=False))
    assert not shared(hook(address="127.0.0.2"), hook(name="i", connections=7))


def test_no_hook_is_no_index() -> None:
    only_off = Organization(name="contoso", content_hooks=(hook(enabled=False),))
    assert not HookIndex((only_off,))
    assert not HookIndex(())


def test_a_label_is_a_sentences_name() -> None:
    assert ApplicableHook("contoso", hook(name="av")).label == "content hook 'av' of contoso"
