"""Use cases called as an interface calls them, without one."""

from __future__ import annotations

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.certificate_import import add_certificate
from gatepost.manage.use_cases.certificates import certificate
from gatepost.manage.use_cases.context import Context
from gatepost.manage.use_cases.declaration import UseCaseReply
from gatepost.manage.use_cases.execution import execute

ANN = Principal("ann", frozenset({Scope.OWNER}))


class Forgetful:
    """Accounts whose audit is kept nowhere."""

    def record(self, *_, **__):
        pass


def run(gateway, case, *, principal=ANN, accounts=None, dry_run=False, **fields):
    """The value that a use case returns."""
    context = Context(gateway, principal, lambda: accounts or Forgetful(), dry_run=dry_run)
    result = execute(case, context, case.request(**fields))
    return result.value if isinstance(result, UseCaseReply) else result


def add_entry(gateway, root, *names, principal=ANN, **fields):
    """A certificate that came in: add_entry(gateway, root, "mx.gate.example", current=True)."""
    chain, key = (one.decode() for one in root.issue(list(names) or ["mx.gate.example"]))
    number = run(gateway, add_certificate, principal=principal, chain=chain, key=key, **fields).certificate.id
    return certificate(gateway, number).entry
