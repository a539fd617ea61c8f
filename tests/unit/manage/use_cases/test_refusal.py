from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from support import source_trees

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases import refusal as refusal_module
from gatepost.manage.use_cases.refusal import (
    STORE_AWAY,
    Refusal,
    RefusalKind,
    StoreUnreadable,
    refusing,
    wrong_field,
)
from gatepost.policy.connectors.errors import FieldError
from gatepost.store.interface import StoreFailure


def test_a_refusal_has_its_text_and_all_errors():
    errors = [FieldError("name", "is missing"), FieldError("priority", "is too small")]
    refusal = Refusal(RefusalKind.INPUT, "2 errors; nothing was changed", iter(errors))
    assert str(refusal) == refusal.text == "2 errors; nothing was changed"
    assert (refusal.kind, refusal.errors) == (RefusalKind.INPUT, tuple(errors))


def test_of_tens_of_thousands_of_errors_a_refusal_lists_some():
    refusal = Refusal(RefusalKind.INPUT, "no", [FieldError(f"list[{place}]", "no") for place in range(48_000)])
    assert len(refusal.errors) == 20
    assert refusal.errors[-1] == FieldError("list", "has more errors, which are not listed here: 47,981")


def test_one_field_that_is_wrong():
    refusal = wrong_field("at", "is in the past", "nothing was done")
    assert (refusal.kind, refusal.text) == (RefusalKind.INPUT, "nothing was done")
    assert refusal.errors == (FieldError("at", "is in the past"),)
    assert wrong_field("at", "is in the past").text == "is in the past"


def test_what_a_store_says_of_itself_is_told_to_principals_of_the_gateway_alone(caplog):
    owner, tenant = (Principal("ann", frozenset(Scope), whose) for whose in (None, frozenset({"contoso"})))
    with (
        pytest.raises(StoreUnreadable) as caught,
        refusing(RefusalKind.UNREADABLE, StoreFailure, text="{data}: {error}", data="/srv/data"),
    ):
        raise StoreFailure("refused by 10.1.2.3")
    assert (caught.value.kind, caught.value.text) == (RefusalKind.UNREADABLE, "/srv/data: refused by 10.1.2.3")
    assert caught.value.for_principal(owner) is caught.value
    told = caught.value.for_principal(tenant)
    assert told.text == str(told) == told.for_principal(tenant).text == STORE_AWAY
    assert caplog.messages == ["/srv/data: refused by 10.1.2.3"]


def test_an_error_within_becomes_a_refusal_with_its_text():
    with (
        pytest.raises(Refusal) as caught,
        refusing(RefusalKind.UNREADABLE, OSError, ValueError, text="{place}: {error}; wait", place="{a}", field="key"),
    ):
        raise ValueError("no {number}")
    assert (caught.value.kind, caught.value.text) == (RefusalKind.UNREADABLE, "{a}: no {number}; wait")
    assert caught.value.errors == (FieldError("key", "no {number}"),)
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(Refusal) as caught, refusing(RefusalKind.INPUT, ValueError):
        raise ValueError("why")
    assert (caught.value.text, caught.value.errors) == ("why", ())


def test_another_error_and_no_error_pass():
    with pytest.raises(KeyError), refusing(RefusalKind.INPUT, ValueError):
        raise KeyError
    with refusing(RefusalKind.INPUT, ValueError):
        pass


PACKAGES = Path(refusal_module.__file__).parents[2]
# Texts of these are for who is at a shell alone, or of documents, or, in `pages`, commands that its pages show.
OWN = (
    "manage/cli/",
    "manage/remote/",
    "manage/pages/",
    "analysis/hybrid/",
    "analysis/migration/",
    "settings/",
    "pki/site/",
    "testing/",
)
# What these say are commands, to be copied into a shell; two have colours of a style sheet.
COMMANDS = {
    "analysis/alarms/domain_conflicts",
    "analysis/alarms/machine",
    "analysis/alarms/mail_flow",
    "analysis/alarms/partners",
    "analysis/alarms/senders",
    "analysis/alarms/site_certificates",
    "analysis/checks/certificate_alarm_texts",
    "analysis/reports/evidence_pdf",
    "events/log_lines",
    "mail/outbound/smime",
    "manage/use_cases/changeover",
    "manage/use_cases/part_record",
    "manage/web/request_limits",
    "node/privileges",
    "node/report_sending",
    "pki/certificates/clients",
    "pki/certificates/published_html",
    "pki/certificates/vault",
    "pki/smime/readiness",
    "store/postgres/database",
}
SHARED = {
    name: one
    for one in sorted(PACKAGES.rglob("*.py"))
    if not (name := one.relative_to(PACKAGES).with_suffix("").as_posix()).startswith(OWN) and name not in COMMANDS
}


@pytest.mark.parametrize("file", SHARED.values(), ids=SHARED)
def test_no_text_names_an_option_of_a_command(file):
    """Pages and calls say the same texts; what would help is in `options`."""
    nodes = source_trees.nodes(file)
    prose = {
        node.body[0].value
        for node in nodes
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and isinstance(node.body[0], ast.Expr)
    }
    prose |= {node.value for node in nodes if isinstance(node, ast.Expr)}
    texts = [
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in prose
    ]
    assert [text for text in texts if re.search(r"(?<![\w-])--[a-z]", text)] == []
