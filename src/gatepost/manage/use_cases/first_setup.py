"""The first organization of a gateway that has none: its domains, the way to its mail server, DKIM keys.

`gatepost quickstart`, `gatepost up` and the page of that name ask the same few questions (`quickstart`). The settings
file is not the admin process's to write: what it lacks is returned as lines for its owner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import tomlkit

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases import quickstart
from gatepost.manage.use_cases.change import NOTHING, ChangeOptions, Edit, change
from gatepost.manage.use_cases.context import AuditTrail, Context
from gatepost.manage.use_cases.declaration import Visibility, use_case
from gatepost.manage.use_cases.dkim_changes import MakeDkimKey, make_dkim_key
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.sealed_store import store_and_vault
from gatepost.values import replace

if TYPE_CHECKING:
    from gatepost.policy.connectors.resources import Resources


NOTE: Final = "quickstart"
"""The reason that the history has."""
MASTER_KEY: Final = "/etc/gatepost/secrets/master.key"
"""The file that is proposed where the settings name none, as the package and the command have it."""


class FirstSetup(msgspec.Struct, kw_only=True):
    """Result of the set-up, or with dry_run what it would be.

    resources: as a resource file. settings: lines that the settings file lacks, "" if it has all. makes_key: whether
    the file of the master key, which `settings` names, has to be made. signs: whether each domain got a DKIM key, which
    needs a master key.
    """

    resources: str
    settings: str
    makes_key: bool
    signs: bool


@use_case(
    scope=Scope.OWNER, visibility=Visibility.GATEWAY, tag="resources", dry_run=True, action="change", self_audited=True
)
def set_up_gateway(context: Context, request: quickstart.FirstAnswers) -> FirstSetup:
    """Make the first organization: domains, a connector to the mail server behind or mailboxes, DKIM keys.

    Refused where there is an organization already. hostname and nameservers change nothing here: they are settings.
    """
    settings = context.settings
    answers = quickstart.normalized(request)
    answers = answers if answers.hostname else replace(answers, hostname=settings.server.hostname)
    if errors := quickstart.answer_errors(answers):
        raise Refusal(RefusalKind.INPUT, NOTHING, errors)
    resources, signs = quickstart.first_resources(answers), bool(settings.store.master_key)
    with store_and_vault(context.gateway, keys=signs):
        pass  # a master key that cannot be used is said before anything is made
    _make(context, resources["organization"])
    if signs and not context.dry_run:
        for domain in answers.domains:
            key = MakeDkimKey(organization=answers.organization, domain=domain)
            execute(make_dkim_key, replace(context, expected=None, audit=AuditTrail()), key)
    tables = quickstart.settings_to_write(answers, settings, MASTER_KEY)
    return FirstSetup(
        resources=tomlkit.dumps(resources),
        settings=tomlkit.dumps(tables) if tables else "",
        makes_key=not signs,
        signs=signs,
    )


def _make(context: Context, organizations: dict[str, Any]) -> None:
    """Raises Refusal: CONFLICT if there is an organization, and as `change`."""

    def step(_: Resources, draft: dict[str, Any]) -> Edit:
        if draft:
            text = f"the gateway is set up: it has the organization {min(draft)}; {NOTHING}"
            raise Refusal(RefusalKind.CONFLICT, text)
        draft.update(organizations)
        return Edit(tuple(organizations))

    options = ChangeOptions(context.principal.name, NOTE, context.dry_run, expected=context.expected)
    change(context.gateway, context.principal, step, options)
