"""The navigation of every page, as data, and the part of it that a principal sees. Pure.

`manage.pages.rendering` hands it to `layout.html`. A new page group adds its entry here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gatepost.manage.access.principal import Scope
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.access.principal import Principal


class NavigationEntry(NamedTuple):
    """A link. icon: of icons.svg. of_gateway: there for those who see the whole gateway. scope: what it asks for."""

    text: str
    path: str
    icon: str = ""
    of_gateway: bool = False
    scope: Scope = Scope.READ

    def is_current(self, path: str) -> bool:
        """Whether a page at `path` belongs to it."""
        return path == self.path or (self.path != "/" and path.startswith(f"{self.path}/"))


class NavigationGroup(NamedTuple):
    """Links under a heading; "" is none."""

    heading: str
    entries: tuple[NavigationEntry, ...]


NAVIGATION: Final[tuple[NavigationGroup, ...]] = (
    NavigationGroup("", (NavigationEntry(N_("Overview"), "/", "overview"),)),
    NavigationGroup(
        N_("Mail flow"),
        (
            NavigationEntry(N_("Connectors"), "/connectors", "flow"),
            NavigationEntry(N_("Mail flow rules"), "/rules", "trace"),
            NavigationEntry(N_("Domains"), "/domains", "organization"),
            NavigationEntry(N_("Mailboxes"), "/mailboxes", "archive"),
            NavigationEntry(N_("DKIM keys"), "/dkim", "lock"),
            NavigationEntry(N_("Organizations"), "/organizations", "gear"),
            NavigationEntry(N_("Explain"), "/explain", "info"),
            NavigationEntry(N_("Check partner"), "/check", "verified"),
            NavigationEntry(N_("Drills"), "/drills", "check"),
        ),
    ),
    NavigationGroup(
        N_("Operation"),
        (
            NavigationEntry(N_("Certificates"), "/certificates", "certificate", of_gateway=True),
            NavigationEntry(N_("Queue"), "/queue", "queue"),
            NavigationEntry(N_("Quarantine"), "/quarantine", "hold"),
            NavigationEntry(N_("Sending limits"), "/limits", "clock"),
            NavigationEntry(N_("Message trace"), "/trace", "search"),
            NavigationEntry(N_("Reports"), "/reports", "report"),
            NavigationEntry(N_("Alarms"), "/alarms", "alarm"),
            NavigationEntry(N_("Doctor"), "/doctor", "check", of_gateway=True),
        ),
    ),
    NavigationGroup(
        N_("Administration"),
        (
            NavigationEntry(N_("Users"), "/users", "user", of_gateway=True, scope=Scope.OWNER),
            NavigationEntry(N_("API tokens"), "/tokens", "lock", of_gateway=True, scope=Scope.OWNER),
            NavigationEntry(N_("History"), "/history", "retry"),
            NavigationEntry(N_("Audit log"), "/audit", "clock"),
        ),
    ),
)


def navigation(principal: Principal) -> Sequence[NavigationGroup]:
    """The navigation that a principal sees, without empty groups."""
    shown = (
        NavigationGroup(group.heading, tuple(entry for entry in group.entries if _sees(principal, entry)))
        for group in NAVIGATION
    )
    return tuple(group for group in shown if group.entries)


def _sees(principal: Principal, entry: NavigationEntry) -> bool:
    if entry.of_gateway and not principal.is_of_gateway:
        return False
    return entry.scope in principal.scopes or Scope.OWNER in principal.scopes
