"""Proves the first thing a newcomer does: `gatepost demo` ends by itself in under a minute and tells five outcomes.

With several nodes it tells how they go on when one is killed.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.debian import need
from support.pace import Pace
from support.process import BIN, ROOT
from support.tutorial import commands

from gatepost.testing.process import Folder

# What the demonstration must say of each of its five messages, in this order.
OUTCOMES = [
    ("opportunistic, partner offers TLS", "delivered (TLSv1.3", "none/encrypted"),
    ("opportunistic, partner has no TLS", "delivered (unencrypted)", "none/none"),
    ("forced, certificate verified", "delivered (TLSv1.3", "none/authenticated"),
    ("forced, certificate has another name", "waiting, not sent", "Expected Subject: mail.northwind.example"),
    ("inbound, TLS required, none used", "refused (unencrypted)", "530 5.7.0"),
]


@pytest.mark.timeout(300)
def test_the_demonstration_tells_five_outcomes_and_ends() -> None:
    need("root")  # with Postfix as the partner, which only root may start
    with Pace() as pace:
        run = subprocess.run(
            [BIN / "gatepost", "demo"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=280,
            check=False,
            umask=0o077,  # as administrators may have it
        )
    assert run.returncode == 0, run.stdout + run.stderr
    assert pace.took_less_than(60), pace
    assert "Traceback" not in run.stderr
    parts = re.split(r"^  \d  ", run.stdout, flags=re.MULTILINE)[1:]
    assert len(parts) == len(OUTCOMES), run.stdout
    for part, words in zip(parts, OUTCOMES, strict=True):
        assert [word for word in words if word not in part] == [], part
        assert "why:" in part
    assert "mail.fabrikam.example" in parts[3], "what was presented"
    assert "refused it on the wire: 530 5.7.0 Must issue a STARTTLS command first [mx.contoso.example" in run.stderr
    assert "https://" not in run.stdout + run.stderr, "nothing answers there any more"
    assert "to open it, run: gatepost demo --keep\n" in run.stdout


@pytest.mark.timeout(300)
def test_the_demonstration_of_nodes_loses_nothing_and_leaves_nothing() -> None:
    need("root", "postgresql")
    place = Folder("place")
    command = [BIN / "gatepost", "demo", "--nodes", "3"]
    environment = os.environ | {"TMPDIR": str(place.path)}
    try:
        with Pace() as pace:
            run = subprocess.run(
                command,
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                timeout=280,
                check=False,
                env=environment,
            )
        assert list(place.path.iterdir()) == []
    finally:
        place.remove()
    assert run.returncode == 0, run.stdout + run.stderr
    assert pace.took_less_than(60), pace
    assert "Traceback" not in run.stderr
    told = run.stdout
    assert [f"mx{number} took message {number}, mx{number} delivered it" in told for number in (1, 2, 3)] == [True] * 3
    assert "asked on mx2: 10\n" in told
    assert "mx1 took message 15, mx1 delivered it" in told
    assert "250 for 15, the partner has 15 (2 by mx1," in told
    assert told.count("0 lost, 0 twice") == 2
    assert [line.split()[:2] for line in told.splitlines() if line.startswith("  mx")] == [
        ["mx1", "active"],
        ["mx2", "active"],
        ["mx3", "active"],
    ]
    left = subprocess.run(["pgrep", "-f", str(place.path)], capture_output=True, text=True, check=False)
    assert left.stdout == ""


@contextmanager
def kept() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The demonstration that goes on, and what it said."""
    with subprocess.Popen(
        [BIN / "gatepost", "demo", "--keep"], stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    ) as run:
        try:
            assert run.stdout is not None
            lines = []
            for line in run.stdout:
                lines.append(line)
                if line.startswith("Ctrl-C ends it"):
                    break
            yield run, "".join(lines)
        finally:
            if run.poll() is None:
                run.send_signal(signal.SIGTERM)


@pytest.mark.long
@pytest.mark.timeout(90)
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_kept_it_ends_by_a_signal_and_leaves_nothing(sent: signal.Signals) -> None:
    need("root")
    with kept() as (run, said):
        run.send_signal(sent)
        assert run.wait(timeout=40) == 0
    assert "/setup?code=" in said, "the admin centre can be opened meanwhile"
    (folder,) = re.findall(r"gatepost --config (\S+)/gateway/gatepost\.toml explain", said)
    assert not Path(folder).exists()
    left = subprocess.run(["pgrep", "-f", folder], capture_output=True, text=True, check=False)
    assert left.stdout == ""


@pytest.mark.long
@pytest.mark.timeout(180)
def test_the_tour_shows_what_the_demonstration_has() -> None:
    """Each command of docs/tour.md and README.md, on a terminal; but one, which asks a domain of the lab."""
    need("root")
    pages = (ROOT / "docs/tour.md").read_text() + (ROOT / "README.md").read_text()
    steps = [step for step in commands(pages) if step[0] != "gatepost check partner good.test"]
    assert len(steps) == 5, steps
    with kept() as (_, said):
        (config,) = re.findall(r"gatepost --config (\S+) explain", said)
        environment = os.environ | {"GATEPOST_CONFIG": config, "PATH": f"{BIN}:{os.environ['PATH']}", "COLUMNS": "110"}
        for command, shown in steps:
            run = subprocess.run(
                ["script", "-qec", command, "/dev/null"],
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
                stdin=subprocess.DEVNULL,
            )
            assert re.search(expected(shown), run.stdout), f"$ {command}\n{run.stdout}\n-- expected:\n{shown}"


def expected(shown: str) -> str:
    """What a page shows, as a pattern: lines are folded anywhere; ports, times and ids are others each time."""
    varies = r"(?<=127\.0\.0\.1:)\d+|\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ|\b[0-9a-f]{16}\b"
    words = re.sub(varies, "…", shown).split()
    return r"\s+".join(re.escape(word).replace("…", r"[\s\S]*?") for word in words)
