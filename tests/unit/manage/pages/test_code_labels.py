"""Tests of gatepost.manage.pages.code_labels."""

from __future__ import annotations

import pytest

from gatepost.manage.pages.code_labels import (
    EVENTS,
    choice_text,
    event_label,
    event_level,
    failure_label,
    setting_label,
    value_label,
)
from gatepost.manage.use_cases import trace
from gatepost.policy.connectors.values import TlsSettings
from gatepost.protocols.tlsrpt.result import ResultType


def test_every_event_of_the_trace_has_a_label():
    assert set(EVENTS) == set(trace.EVENTS)


@pytest.mark.parametrize(
    ("event", "level", "label"), [("DEFER", "waiting", "Deferred"), ("SEND", "pass", "Sent"), ("NEW", "info", "NEW")]
)
def test_an_event(event, level, label):
    assert (event_level(event), event_label(event)) == (level, label)


@pytest.mark.parametrize(
    ("code", "html"),
    [
        ("certificate-host-mismatch", "Certificate name mismatch <code>certificate-host-mismatch</code>"),
        ("a<b", "<code>a&lt;b</code>"),
    ],
)
def test_a_tls_failure_has_its_code_beside_its_label(code, html):
    assert failure_label(code) == html


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("domain-validation", "Domain validation <code>domain-validation</code>"),
        ("TLSv1.3 or newer", "TLSv1.3 or newer"),
        ("<mx>", "&lt;mx&gt;"),
    ],
)
def test_a_requirement_of_a_connector(text, html):
    assert setting_label(text) == html


def test_no_code_is_without_a_label():
    assert all(not failure_label(code).startswith("<") for code in ResultType)
    assert all("<code>" in setting_label(code) for code in TlsSettings)


@pytest.mark.parametrize(
    ("code", "label", "choice"),
    [
        ("only-if-not-offered", "Only if not offered", "Only if not offered (only-if-not-offered)"),
        ("defer", "Defer", "Defer"),
        ("on-premises", "On-premises", "On-premises"),
        ("smime", "S/MIME", "S/MIME (smime)"),
        ("rspamd", "rspamd", "rspamd"),
        ("rsa-sha256", "rsa-sha256", "rsa-sha256"),
        ("TLSv1.2", "TLSv1.2", "TLSv1.2"),
        ("*", "*", "*"),
        ("", "", ""),
    ],
)
def test_a_value_of_a_field(code, label, choice):
    assert (value_label(code), choice_text(code)) == (label, choice)
