"""Sentences of ours are written in the language of the page, and nothing of a value becomes one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from markupsafe import Markup

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from sentence_sources import sentences

from gatepost.language import in_language
from gatepost.protocols.message.next_step import waiting_step
from gatepost.sentences import in_zone, ours, template
from gatepost.times import named_zone

REPLY = "450 4.7.320 Certificate validation failed [Message=UntrustedRoot] [LastAttemptedServerName=mx.bank.example]"


def in_swedish(text: str) -> str:
    with in_language("sv"):
        return ours(text)


def test_a_sentence_with_values_is_translated():
    assert in_swedish("mail to bank.example waits, as TLS does not meet the requirement of the connector bank") == (
        "e-post till bank.example väntar, eftersom TLS inte uppfyller kravet från kopplingen bank"
    )


def test_a_sentence_within_a_sentence_is_translated():
    said = in_swedish(waiting_step("deferred", "bank.example", REPLY).text)
    assert said.startswith("Administratörerna för mx.bank.example måste visa upp ett certifikat från en utfärdare")
    assert said.endswith("i kopplingens trust_anchors (LMTP: i de under [tls]); meddelandet väntar till dess.")


def test_of_two_templates_that_leave_the_same_the_longer_counts():
    """The template "inbound %(own_label)s" fits as well, and its label is ours."""
    assert in_swedish("inbound connector 'bank-in' of contoso") == "inkommande koppling 'bank-in' hos contoso"


def test_english_stays_as_it_is():
    assert ours("mail to bank.example is no longer protected by TLS") == (
        "mail to bank.example is no longer protected by TLS"
    )


@pytest.mark.parametrize(
    ("text", "swedish"),
    [
        ("1 delivery of contoso is held", "1 leverans för contoso är kvarhållen"),
        ("1,204 deliveries of contoso are held", "1\u00a0204 leveranser för contoso är kvarhållna"),
    ],
)
def test_a_number_has_the_form_of_its_language(text, swedish):
    assert in_swedish(text) == swedish


@pytest.mark.parametrize(
    ("text", "swedish"),
    [
        ("mail flow rule 'offers'", "e-postflödesregel 'offers'"),  # pages have it with a value of their own, too
        ("The quarantine of contoso is full", "Karantänen för contoso är full"),
        ("the quarantine of contoso is full.", "karantänen för contoso är full."),
        ("Fix this error; the gateway tries again by itself:", "Rätta felet; gatewayen försöker igen av sig själv:"),
    ],
)
def test_capital_and_end_are_those_of_the_text(text, swedish):
    assert in_swedish(text) == swedish


@pytest.mark.parametrize(
    "reply",
    [
        "550 No mailbox",
        "the connector bank",
        "There is no mailbox with this address.",
        "<script>alert(1)</script>",
        "%(domain)s %s %%",
        "{domain}",
    ],
)
def test_the_words_of_a_peer_stay(reply):
    text = "The copies stay in the queue, and the gateway tries again; the senders of the messages are not notified."
    assert in_swedish(f"The last reply: {reply}. {text}") == (
        f"Det senaste svaret: {reply}. Kopiorna stannar i kön, och gatewayen försöker igen; meddelandenas avsändare "
        "meddelas inte."
    )


def test_a_value_with_the_words_of_its_template_leaves_the_sentence_in_english():
    text = "mail to a waits, as TLS does not meet the requirement of b waits, as TLS does not meet the requirement of c"
    assert in_swedish(text) == text


@pytest.mark.parametrize(
    "text",
    ["a list of b c", "PEM, or so", "chain: what the authority wrote"],
)
def test_a_template_of_few_words_counts_only_with_values_of_ours(text):
    """ "%(failed)s of %(own_messages)s %(own_failed)s" fits the first, "%(part)s: %(own_text)s" the third."""
    assert in_swedish(text) == text


def test_a_template_of_few_words_has_names_for_values():
    """As "%(host)s has %(addresses)s" has: it would translate one word of a sentence."""
    assert in_swedish("mx.b.example has 127.0.0.1, ::1") == "mx.b.example har 127.0.0.1, ::1"
    assert in_swedish("a server that has this name") == "a server that has this name"


def test_sentences_with_a_sign_between_them_are_translated_if_each_is_ours():
    gates = "key: its private key cannot be opened; partners: all partners were notified"
    assert in_swedish(gates) == "key: dess privata nyckel kan inte öppnas; partners: alla partner har meddelats"
    reply = "its private key cannot be opened; 550 what a peer says"
    assert in_swedish(reply) == reply


def test_the_parts_of_a_value_of_ours_are_translated():
    said = in_swedish("drill FAILED: 2 of 9 attacks took the message: STARTTLS stripped, unknown CA")
    assert said == "övningen MISSLYCKADES: 2 av 9 angrepp fick meddelandet: STARTTLS borttaget, okänd utfärdare"


def test_a_number_of_messages_in_the_summary_of_a_rehearsal():
    assert in_swedish("not ready to enforce: 1,204 of 40,000 messages would have been refused") == (
        "inte redo att tillämpas: 1,204 av 40\u00a0000 meddelanden skulle ha nekats"
    )


@pytest.mark.parametrize(
    "module",
    ["attacks", "drill_report", "gates", "gates_tlsa", "own_records", "partner_advice"],
)
def test_no_template_has_so_few_words_that_it_fits_what_others_say(module):
    """But for those whose values are ours, which count only if they are read."""
    path = Path(__file__).parents[2] / "src" / "gatepost" / "analysis" / "checks" / f"{module}.py"
    templates = [template(text) for text in sentences(path) if isinstance(text, str)]
    assert templates
    wide = [made.id for made in templates if made.is_wide and made.names and "own_" not in made.id]
    assert wide == []


def test_of_two_templates_the_one_with_more_words_counts():
    """ "%(text)s; this message waits until then." fits both, and leaves more to its value."""
    said = in_swedish(
        "An administrator of this gateway must correct the log-in of the connector; this message waits until then."
    )
    assert (
        said == "En administratör för denna gateway måste rätta kopplingens inloggning; meddelandet väntar till dess."
    )


def test_time_is_in_proportion_to_the_text(monkeypatch):
    """Each literal is looked for once in each direction, however often a peer repeats it."""
    many = template("%(a)s, %(b)s, %(c)s, %(d)s, %(e)s")
    assert many.values(", " * 1500) is not None
    assert in_swedish("The last reply: " * 1000) == "The last reply: " * 1000


def test_markup_is_left_alone():
    text = Markup("the quarantine of contoso is full")
    assert in_swedish(text) is text


def test_a_reason_about_a_connector_is_translated():
    assert in_swedish("connector 'to bank' of contoso matches recipient domain bank.example exactly") == (
        "kopplingen 'to bank' hos contoso matchar mottagardomänen bank.example exakt"
    )


@pytest.mark.parametrize(
    ("language", "shown"),
    [
        ("en", "It ends at 2026-11-24 17:12+01; from then on partners that check it will refuse mail."),
        ("de", "Es läuft am 2026-11-24 17:12+01 ab; von da an gilt: Partner, die es prüfen, werden E-Mails ablehnen."),
    ],
)
def test_times_are_in_the_zone_of_the_reader(language, shown):
    text = "It ends at 2026-11-24 16:12Z; from then on partners that check it will refuse mail."
    with in_language(language), in_zone(named_zone("Europe/Stockholm")):
        assert ours(text) == shown
        markup = Markup("<b>2026-11-24 16:12Z</b>")
        assert ours(markup) is markup
    assert ours(text) == text


@pytest.mark.parametrize(
    "named",
    ["--name", "--ip, --from", "organization.a.mailbox[0] 'x y'.name", "/etc/gatepost.toml:4: dns.nameservers[0]"],
)
def test_what_is_said_of_a_field_a_file_or_an_option_is_translated(named):
    assert in_swedish(f"{named}: the domain is too long") == f"{named}: domänen är för lång"
    assert in_swedish(f"{named}: what a peer says") == f"{named}: what a peer says"
