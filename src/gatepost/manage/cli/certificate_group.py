"""What the `certificate` commands share: how a refusal ends one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from gatepost.manage.cli.lazy import LazyGroup

if TYPE_CHECKING:
    from gatepost.manage.use_cases.refusal import Refusal


class CertificateGroup(LazyGroup):
    """Options are few, and the text of a refusal says all that its fields do."""

    def end(self, refusal: Refusal) -> NoReturn:
        """With the text alone."""
        refusal.errors = ()
        super().end(refusal)
