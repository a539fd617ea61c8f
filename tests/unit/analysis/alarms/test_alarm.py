from __future__ import annotations

from gatepost.analysis.alarms.alarm import Alarm, Kind, Severity, command_line, make_alarm


def test_what_is_about_mail():
    assert sorted(one for one in Kind if one.of_mail) == [
        "acme-port",
        "clock-jumped",
        "connector-failing",
        "disk-low",
        "dnssec-fails",
        "dnssec-off",
        "domain-conflict",
        "journal-waits",
        "lmtp-failing",
        "login-refused",
        "mail-refused",
        "mail-unreadable",
        "nameservers-down",
        "node-silent",
        "notice-missing",
        "old-primary",
        "overload",
        "partner-failing",
        "process-ended",
        "protection-drop",
        "quarantine-full",
        "queue-age",
        "queue-share",
        "recipients-unknown",
        "records-unwritten",
        "scanner-down",
        "sending-limit",
        "sending-unusual",
        "tls-failures-rising",
    ]
    assert [one for one in Kind if one.of_mail and not one.of_traffic] == ["domain-conflict"]


def test_what_nodes_have_to_say():
    assert [one for one in Kind if one.of_nodes] == ["not-presented", "key-unusable"]


def test_the_key_says_what_it_is_about():
    one = Alarm(Kind.EXPIRY, Severity.ERROR, "0a1b", "t", "d", "f")
    assert one.key == "expiry 0a1b"
    assert Alarm(Kind.QUEUE_AGE, Severity.ERROR, "", "t", "d", "f").key == "queue-age -"
    assert Alarm(Kind.PARTNER_FAILING, Severity.ERROR, "", "t", "d", "f", "contoso/bank").key == (
        "partner-failing - contoso/bank"
    )


def test_what_only_the_running_gateway_can_end():
    ours = {kind for kind in Kind if kind.of_running_gateway}
    assert ours >= {Kind.FILE_UNUSABLE, Kind.KEY_UNUSABLE, Kind.NOT_PRESENTED, Kind.PARTNER_FAILING}
    assert not ours & {Kind.EXPIRY, Kind.DOMAIN_CONFLICT, Kind.NOT_GRANTED}


def test_texts_of_others_are_one_line_and_end():
    made = make_alarm(Kind.QUEUE_AGE, Severity.ERROR, "a\nb", "t" * 400, "d\r\n" * 400, "Do this:", "x\ty")
    assert (made.certificate, made.fix, made.step) == ("", "Do this:", -1)
    assert (len(made.title), "\n" in made.detail, "\n" in made.about) == (300, False, False)
    assert len(made.lines) == 1


def test_a_command_is_one_whatever_is_in_its_names():
    assert command_line("gatepost", "queue", "list") == "gatepost queue list"
    assert command_line("gatepost", "node", "remove", named="a b") == "gatepost node remove 'a b'"
    assert command_line("gatepost", "x", named="-y") == "gatepost x -- -y"
