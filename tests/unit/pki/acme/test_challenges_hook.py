from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from shlex import quote

import pytest

from gatepost.pki.acme.challenges import HookFailed, run_hook

NAME, VALUE = "_acme-challenge.a.example", "-vAlue_"


def run(script, *, timeout=20.0, action="present"):
    run_hook(["/bin/sh", "-c", script, "hook"], action, NAME, VALUE, timeout=timeout)


def test_it_gets_what_is_to_be_done_and_nothing_of_a_shell(tmp_path):
    run_hook(["/usr/bin/touch"], str(tmp_path / "a; b"), str(tmp_path / "$(c)"), str(tmp_path / "d"), timeout=20)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["$(c)", "a; b", "d"]


FAILURES = {
    'echo "$@"; exit 3': f"/bin/sh present {NAME} ended with 3: present {NAME} {VALUE}",
    "exit 1": "ended with 1: it said nothing",
    "printf 'a\\033[1mb\\n\\tc' >&2; exit 1": "ended with 1: a [1mb c",
    "kill -9 $$": "ended with -9: it said nothing",
    "read line && exit 0; exit 4": "ended with 4",  # nothing to read
    "exec >&- 2>&-; sleep 0.2; exit 5": "ended with 5: it said nothing",
    "head -c 300000 /dev/zero | tr '\\0' x; echo; echo the end; exit 6": "xxx the end",
}


@pytest.mark.parametrize(("script", "text"), FAILURES.items())
def test_what_it_says_of_a_failure(script, text):
    with pytest.raises(HookFailed) as failure:
        run(script)
    assert text in str(failure.value)
    assert len(str(failure.value)) < 700


def test_a_program_that_is_not_there():
    with pytest.raises(HookFailed, match=r"/no/where cannot be run: No such file or directory; see acme.dns_hook"):
        run_hook(["/no/where"], "present", NAME, VALUE, timeout=1)


@pytest.mark.parametrize("script", ["sleep 300", "exec >&- 2>&-; sleep 300", "yes", "sleep 300 & sleep 300"])
def test_it_is_ended_with_all_that_it_started(script, tmp_path):
    group = tmp_path / "group"
    for seconds in (0.3, 3, 30):  # on a busy machine it may not have begun when it is killed
        with pytest.raises(HookFailed, match=rf"did not end within {seconds} s, and was killed"):
            run(f"echo $$ > {quote(str(group))}; {script}", timeout=seconds)
        if group.exists() and (text := group.read_text()):
            break
    number = int(text)
    for _ in range(200):  # who was killed may be a moment in the process table
        with suppress(ProcessLookupError):
            os.killpg(number, 0)
            time.sleep(0.05)
            continue
        break
    with pytest.raises(ProcessLookupError):
        os.killpg(number, 0)


def test_what_goes_on_in_the_background_is_not_waited_for(tmp_path):
    run(f"echo $$ > {quote(str(tmp_path))}/group; sleep 300 & exit 0")
    os.killpg(int((tmp_path / "group").read_text()), signal.SIGKILL)


def test_our_secrets_are_not_its_own(monkeypatch):
    monkeypatch.setenv("GATEPOST_MASTER", "secret")
    run('[ -z "$GATEPOST_MASTER" ] && [ -n "$PATH" ]')
