"""An index of the content hooks that apply, by organization and direction of mail.

Made by `policy.connectors.directory` for one version of the resources, asked by `policy.decisions.content`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gatepost.policy.connectors.values import HookDirection

if TYPE_CHECKING:
    from gatepost.policy.connectors.content_hook import ContentHook
    from gatepost.policy.connectors.records import Organization


class ApplicableHook(NamedTuple):
    """A hook and its organization. shared: whether a hook of another organization has the same scanner."""

    organization: str
    hook: ContentHook
    shared: bool = False

    @property
    def label(self) -> str:
        """The name of the hook in a sentence: "content hook 'av' of contoso"."""
        return f"content hook {self.hook.name!r} of {self.organization}"


class HookIndex:
    """The enabled content hooks of all organizations, in the order of their names."""

    __slots__ = ("_hooks",)

    def __init__(self, organizations: tuple[Organization, ...]) -> None:
        self._hooks: dict[tuple[str, HookDirection], tuple[ApplicableHook, ...]] = {}
        users = _users(organizations)
        for organization in organizations:
            enabled = sorted((hook for hook in organization.content_hooks if hook.enabled), key=lambda hook: hook.name)
            for direction in (HookDirection.INBOUND, HookDirection.OUTBOUND):
                applicable = [hook for hook in enabled if hook.direction in {direction, HookDirection.BOTH}]
                if applicable:
                    self._hooks[organization.name, direction] = tuple(
                        ApplicableHook(organization.name, hook, len(users[scanner_of(hook)]) > 1) for hook in applicable
                    )

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._hooks)

    def hooks(self, organization: str, direction: HookDirection) -> tuple[ApplicableHook, ...]:
        """The hooks that scan an organization's mail of one direction."""
        return self._hooks.get((organization, direction), ())


def scanner_of(hook: ContentHook) -> tuple[str, int]:
    """The scanner of a hook, as its connections are counted: hooks that differ here share none."""
    return hook.address, hook.connections


def _users(organizations: tuple[Organization, ...]) -> dict[tuple[str, int], set[str]]:
    """The names of the organizations that have an enabled hook with a scanner."""
    users: dict[tuple[str, int], set[str]] = {}
    for organization in organizations:
        for hook in organization.content_hooks:
            if hook.enabled:
                users.setdefault(scanner_of(hook), set()).add(organization.name)
    return users
