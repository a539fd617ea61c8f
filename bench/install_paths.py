"""How many commands and seconds it takes from a package to the first message under forced TLS, in a clean Debian 13.

    .venv/bin/python bench/install_paths.py [deb] [pip] [container]   as root; installs what is in dist/ (make dist deb)

Each way is what docs/install.md says to type, in a copy of the clean system that scripts/fresh_machine.sh keeps
(GATEPOST_FRESH). `systemctl` is played: there is no systemd in it. The time is that of the commands, not of typing. The
partner is a server of `gatepost.testing`, whose certificate the gateway has to verify. Packages of Debian and of Python
come from where this machine gets them. The container is built anew of what is committed, on an image of Debian that is
there; VERBOSE=1 prints what the commands print.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests/system"))

from support.clean_root import CleanRoot  # noqa: E402 - of the tests

from gatepost.testing.partner import Partner  # noqa: E402 - after the tests' path
from gatepost.testing.pki import Pki  # noqa: E402 - as above
from gatepost.testing.process import Folder  # noqa: E402 - as above

FRESH = Path(os.environ.get("GATEPOST_FRESH") or Path.home() / ".cache/gatepost-fresh") / "trixie"
# What each server has, and this system lacks.
USUAL = ("systemd-standalone-sysusers", "systemd-standalone-tmpfiles", "openssl")
START = "systemctl enable --now gatepost"
INSTALL = {
    "deb": ["apt-get install --yes --no-install-recommends ./gatepost_*.deb"],
    "pip": [
        "python3 -m venv /opt/gatepost",
        "/opt/gatepost/bin/pip install --quiet --require-hashes -r requirements/all.txt",
        "/opt/gatepost/bin/pip install --quiet --no-deps dist/gatepost-*.whl",
        "ln -s /opt/gatepost/bin/gatepost /usr/local/bin/gatepost",
        (
            "sed s:/usr/bin/gatepost:/opt/gatepost/bin/gatepost: deploy/debian/gatepost.service"
            " > /etc/systemd/system/gatepost.service"
        ),
        "systemctl daemon-reload",
    ],
}
SET_UP = [
    (
        "gatepost quickstart --hostname mx1.contoso.example --domain contoso.example --upstream mailboxes"
        " --own-server 127.0.0.2 --nameserver 127.0.0.1"
    ),
    START,
    (
        "gatepost connector add outbound insurer recipient_domains=insurer.example use_mx_record=false"
        " smart_hosts=PARTNER tls_settings=domain-validation tls_domain=mail.insurer.example trust_anchors=/etc/ca"
    ),
    "sleep 2; python3 send.py",
]
# As docs/install.md has it, but for the network, which is this machine's: the partner is on loopback.
_HELD = "--volume gatepost:/var/lib/gatepost --network host"
CONTAINER = [
    "podman build --format docker --tag gatepost --file deploy/Containerfile .",
    (
        f"podman run --rm --volume gatepost-settings:/etc/gatepost {_HELD} gatepost"
        " quickstart --directory /etc/gatepost --data-dir /var/lib/gatepost --address 0.0.0.0:2525"
        " --hostname mx1.contoso.example --domain contoso.example --upstream mailboxes"
        " --own-server 127.0.0.2 --nameserver 127.0.0.1"
    ),
    (
        "podman run --detach --name gatepost --read-only --tmpfs /tmp --cap-drop all --security-opt no-new-privileges"
        f" --volume gatepost-settings:/etc/gatepost:ro {_HELD} --stop-timeout 120 gatepost"
    ),
    (
        "podman exec gatepost gatepost connector add outbound insurer recipient_domains=insurer.example"
        " use_mx_record=false smart_hosts=PARTNER tls_settings=domain-validation tls_domain=mail.insurer.example"
        ' "trust_anchors=$(cat ca.pem)"'
    ),
    "sleep 2; python3 send.py",
]
SEND = """\
import smtplib
with smtplib.SMTP("127.0.0.1", source_address=("127.0.0.2", 0)) as client:
    client.sendmail("ann@contoso.example", ["bob@insurer.example"], "Subject: first\\r\\n\\r\\nhello\\r\\n")
"""


def prepare(root: CleanRoot, pki: Pki) -> None:
    """What is there before the first command: the downloads, and how this machine reaches package archives."""
    for path in (ROOT / "dist").glob("*.deb"):
        shutil.copy(path, root / "root")
    for folder in ("dist", "requirements", "deploy"):
        shutil.copytree(ROOT / folder, root / "root" / folder)
    shutil.copy(pki.root, root / "etc/ca")
    (root / "root/send.py").write_text(SEND)
    root.lend_network()
    root.run("apt-get", "-qq", "update")
    root.run("apt-get", "-qq", "install", "--yes", "--no-install-recommends", *USUAL)


class Container:
    """Commands on this machine, with podman as scripts/container_images.sh has it; a build takes nothing of another."""

    def __init__(self, ca: Path) -> None:
        self.folder = Folder("container-path")
        images = subprocess.run([ROOT / "scripts/container_images.sh"], stdout=subprocess.PIPE, text=True, check=True)
        source = self.folder / "gatepost"
        subprocess.run(["git", "clone", "--quiet", "--no-local", ROOT, source], check=True)
        shutil.copy(ca, source / "ca.pem")
        (source / "send.py").write_text(SEND.replace('"127.0.0.1",', '"127.0.0.1", 2525,'))
        (self.folder / "bin").mkdir()
        self._podman = self.folder / "bin/podman"
        fresh = 'case $1 in build) shift; set -- build --no-cache "$@";; esac'
        self._podman.write_text(f'#!/bin/sh\n{fresh}\nexec {images.stdout.strip()} "$@"\n')
        self._podman.chmod(0o755)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.run("podman rm --force --ignore gatepost; podman volume rm --force gatepost gatepost-settings")
        self.folder.remove()

    def run(self, line: str) -> str:
        """What a line prints, whatever its exit status."""
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=self.folder / "gatepost",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr


def lines_of(way: str, partner: Partner) -> list[str]:
    """What is typed."""
    typed = CONTAINER if way == "container" else [*INSTALL[way], *SET_UP]
    return [line.replace("PARTNER", partner.address) for line in typed]


def measure(way: str) -> tuple[int, float, list[tuple[float, str]]]:
    """The number of commands, the seconds of all, and each with its seconds."""
    steps = []
    with (
        Pki() as pki,
        Partner(pki, "mail.insurer.example") as partner,
        Container(pki.root) if way == "container" else CleanRoot(FRESH) as place,
    ):
        if isinstance(place, CleanRoot):
            prepare(place, pki)
        for line in lines_of(way, partner):
            begun = time.monotonic()
            said = run(place, line)
            steps.append((time.monotonic() - begun, line))
            if os.environ.get("VERBOSE"):
                print(said, file=sys.stderr)
        begun = time.monotonic()
        (message,) = partner.wait_messages(1, timeout=60)
        if not message.tls:
            raise SystemExit("it came unencrypted")
        steps.append((time.monotonic() - begun, "(the message arrives)"))
    return len(steps) - 1, sum(seconds for seconds, _ in steps), steps


def run(place: CleanRoot | Container, line: str) -> str:
    """What a typed line prints."""
    if isinstance(place, Container):
        return place.run(line)
    if line.startswith("systemctl"):
        if line == START:
            place.start_unit("gatepost.service")
        return ""
    expect = None if "quickstart" in line else 0  # it says 1 where the DNS does not know the names
    said: str = place.run("sh", "-c", f"cd /root; PATH=/usr/local/bin:$PATH; {line}", expect=expect)
    if "quickstart" in line and not (place / "etc/gatepost/gatepost.toml").exists():
        raise SystemExit(said)
    return said


def main(ways: Sequence[str]) -> int:
    """Print a row for each way, and the steps."""
    for way in ways or [*INSTALL, "container"]:
        commands, seconds, steps = measure(way)
        print(f"| {way} | {commands} | {seconds:.0f} |")
        for took, line in steps:
            print(f"    {took:6.1f} s  {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
