"""Where everything is: the navigation of every page, as data, and which of it somebody may see. Pure.

`manage.pages.pages` hands it to `layout.html`. A new page group adds its entry here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gatepost.manage.access.principal import Scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.access.principal import Principal


class Entry(NamedTuple):
    """A link. icon: of icons.svg. of_gateway: there for those who see the whole gateway. scope: what it asks for."""

    text: str
    path: str
    icon: str = ""
    of_gateway: bool = False
    scope: Scope = Scope.READ

    def is_current(self, path: str) -> bool:
        """Whether a page at `path` belongs to it."""
        return path == self.path or (self.path != "/" and path.startswith(f"{self.path}/"))


class Group(NamedTuple):
    """Links under a heading; "" is none."""

    heading: str
    entries: tuple[Entry, ...]


NAVIGATION: Final[tuple[Group, ...]] = (
    Group("", (Entry("Overview", "/", "overview"),)),
    Group(
        "Mail flow",
        (
            Entry("Connectors", "/connectors", "flow"),
            Entry("Mail flow rules", "/rules", "trace"),
            Entry("Domains", "/domains", "organization"),
            Entry("Mailboxes", "/mailboxes", "archive"),
            Entry("DKIM keys", "/dkim", "lock"),
            Entry("Organizations", "/organizations", "gear"),
            Entry("Explain", "/explain", "info"),
            Entry("Check partner", "/check", "verified"),
        ),
    ),
    Group(
        "Operation",
        (
            Entry("Certificates", "/certificates", "certificate", of_gateway=True),
            Entry("Queue", "/queue", "queue"),
            Entry("Message trace", "/trace", "search"),
            Entry("Reports", "/reports", "report"),
            Entry("Alarms", "/alarms", "alarm"),
        ),
    ),
    Group(
        "Administration",
        (
            Entry("Users", "/users", "user", of_gateway=True, scope=Scope.OWNER),
            Entry("API tokens", "/tokens", "lock", of_gateway=True, scope=Scope.OWNER),
            Entry("History", "/history", "retry"),
            Entry("Audit log", "/audit", "clock"),
        ),
    ),
)


def navigation(who: Principal) -> Sequence[Group]:
    """What of it is there for them; a group without entries is not."""
    shown = (Group(group.heading, tuple(one for one in group.entries if _sees(who, one))) for group in NAVIGATION)
    return tuple(group for group in shown if group.entries)


def _sees(who: Principal, entry: Entry) -> bool:
    if entry.of_gateway and not who.is_of_gateway:
        return False
    return entry.scope in who.scopes or Scope.OWNER in who.scopes
