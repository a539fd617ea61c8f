"""All resources as one value.

`policy.connectors.model` reads and writes it; `policy.connectors.directory` looks things up in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from gatepost.policy.connectors.records import Organization


class Resources(msgspec.Struct, frozen=True):
    """All organizations of an installation, in the order they were written."""

    organizations: tuple[Organization, ...] = ()

    def organization(self, name: str) -> Organization | None:
        """The organization of that name."""
        return next((organization for organization in self.organizations if organization.name == name), None)
