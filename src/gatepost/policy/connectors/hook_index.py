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
    """A hook and its organization."""

    organization: str
    hook: ContentHook

    @property
    def label(self) -> str:
        """The name of the hook in a sentence: "content hook 'av' of contoso"."""
        return f"content hook {self.hook.name!r} of {self.organization}"


class HookIndex:
    """The enabled content hooks of all organizations, in the order of their names."""

    __slots__ = ("_hooks",)

    def __init__(self, organizations: tuple[Organization, ...]) -> None:
        self._hooks: dict[tuple[str, HookDirection], tuple[ApplicableHook, ...]] = {}
        for organization in organizations:
            enabled = sorted((hook for hook in organization.content_hooks if hook.enabled), key=lambda hook: hook.name)
            for direction in (HookDirection.INBOUND, HookDirection.OUTBOUND):
                applicable = [hook for hook in enabled if hook.direction in {direction, HookDirection.BOTH}]
                if applicable:
                    self._hooks[organization.name, direction] = tuple(
                        ApplicableHook(organization.name, hook) for hook in applicable
                    )

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._hooks)

    def hooks(self, organization: str, direction: HookDirection) -> tuple[ApplicableHook, ...]:
        """The hooks that scan an organization's mail of one direction."""
        return self._hooks.get((organization, direction), ())
