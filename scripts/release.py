"""Makes a release of what is committed: version, changelog, artifacts, signed checksums, signed tag (make release).

    .venv/bin/python scripts/release.py VERSION --key KEY [--date YYYY-MM-DD]
    .venv/bin/python scripts/release.py --verify FOLDER

KEY is an SSH key whose public half stands in release-signers, so that whoever has the last release can verify the next
one. Nothing is published: it ends with the commands that do so. If a step fails, the commit is taken back. The commit
and all artifacts have the time DATE, 12:00 UTC: the same commit, date and Ed25519 key give the same bytes. --verify
checks the files of a folder against SHA256SUMS and its signature. Docs: docs/releasing.md.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SIGNERS = "release-signers"
NAMESPACE = "gatepost-release"
CHANGELOG = "CHANGELOG.md"
VERSION_FILE = "src/gatepost/__init__.py"
# What names the version besides: packages, images and the commands that install them.
NAMING = ("deploy/helm/gatepost/Chart.yaml", "deploy/helm/rendered.yaml", "docs/install.md")
UNRELEASED = "## Unreleased\n"


class ReleaseError(Exception):
    """What keeps a release from being made, and what to do."""


def run(*command: str | Path, given: bytes = b"", environment: dict[str, str] | None = None) -> str:
    """What a command prints. ReleaseError with its errors if it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        input=given,
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        check=False,
    )
    if done.returncode:
        raise ReleaseError(f"{command[0]} {command[1]} ended with {done.returncode}\n{done.stderr.decode()}")
    return done.stdout.decode().strip()


def current_version() -> str:
    """The version that the source has."""
    found = re.search(r'^__version__ = "(.+)"$', (ROOT / VERSION_FILE).read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise ReleaseError(f"{VERSION_FILE} has no line __version__")
    return found[1]


def check(version: str, key: Path) -> None:
    """Whether a release can be made at all: the tree, the version, the key."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ReleaseError(f"{version} is no version: write MAJOR.MINOR.PATCH, such as 0.2.0")
    if changes := run("git", "status", "--porcelain"):
        raise ReleaseError(f"there are changes that are not committed: commit or stash them\n{changes}")
    if run("git", "tag", "--list", f"v{version}"):
        raise ReleaseError(f"the tag v{version} is there already: choose the next version")
    if parts(version) < parts(current_version()):
        raise ReleaseError(f"{version} is older than {current_version()} in {VERSION_FILE}")
    beside = key.with_name(f"{key.name}.pub")  # a key with a passphrase, or in an agent, cannot be asked
    written = beside.read_text(encoding="utf-8") if beside.exists() else run("ssh-keygen", "-y", "-P", "", "-f", key)
    public = written.split()[:2]
    signers = ROOT / SIGNERS
    if not signers.exists() or " ".join(public) not in signers.read_text(encoding="utf-8"):
        line = f'gatepost namespaces="git,{NAMESPACE}" {" ".join(public)}'
        raise ReleaseError(f"{key} is no key of {SIGNERS}: commit this line there\n{line}")


def parts(version: str) -> tuple[int, ...]:
    """A version as numbers, to compare."""
    return tuple(int(part) for part in version.split("."))


def cut_changelog(text: str, version: str, date: str) -> str:
    """The changelog with the version's section dated, below an empty "Unreleased".

    The section is what "Unreleased" had, unless one without a date is written already. ReleaseError if there is
    nothing to release, or both have text.
    """
    before, heading, rest = text.partition(UNRELEASED)
    if not heading:
        raise ReleaseError(f"{CHANGELOG} has no section {UNRELEASED.strip()}")
    end = re.search(r"^## ", rest, re.MULTILINE)
    new, old = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    written = f"## {version}\n"
    if old.startswith(written):
        if new.strip():
            raise ReleaseError(f"{CHANGELOG}: move what is below Unreleased into {written.strip()}, then try again")
        new, old = old.removeprefix(written), ""
    elif not new.strip():
        raise ReleaseError(f"{CHANGELOG} says of nothing that it changed since the last release")
    return f"{before}{UNRELEASED}\n## {version} ({date})\n{new}{old}"


def write_version(version: str, date: str) -> None:
    """The version where it is named, and the changelog's section for it."""
    old = current_version()
    for name in (VERSION_FILE, *NAMING):
        path = ROOT / name
        path.write_text(path.read_text(encoding="utf-8").replace(old, version), encoding="utf-8")
    changelog = ROOT / CHANGELOG
    changelog.write_text(cut_changelog(changelog.read_text(encoding="utf-8"), version, date), encoding="utf-8")


def build(epoch: str) -> Path:
    """The artifacts in dist/, nothing else there, with their checksums."""
    output = ROOT / "dist"
    for path in output.glob("*"):
        path.unlink()
    run("make", "--no-print-directory", "dist", "deb", "sbom", environment={"SOURCE_DATE_EPOCH": epoch})
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(output.iterdir())]
    (output / "SHA256SUMS").write_text("".join(sums), encoding="ascii")
    return output


def release(version: str, key: Path, date: str) -> Path:
    """Make it; the folder of the artifacts. If something fails, the commit is taken back."""
    check(version, key)
    when = dt.datetime.fromisoformat(f"{date}T12:00:00+00:00")
    epoch = str(int(when.timestamp()))
    dated = {"GIT_AUTHOR_DATE": f"{epoch} +0000", "GIT_COMMITTER_DATE": f"{epoch} +0000"}
    before = run("git", "rev-parse", "HEAD")
    try:
        write_version(version, date)
        run("git", "commit", "--all", "--quiet", "--message", f"Release {version}", environment=dated)
        output = build(epoch)
        run("ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", NAMESPACE, output / "SHA256SUMS")
        verify(output)
        signing = ["-c", "gpg.format=ssh", "-c", f"user.signingkey={key}"]
        run("git", *signing, "tag", "--sign", "--message", f"gatepost {version}", f"v{version}", environment=dated)
    except BaseException:
        run("git", "reset", "--quiet", "--hard", before)  # the tree was clean: nothing of anybody's is lost
        raise
    return output


def verify(folder: Path) -> None:
    """Check the signature of SHA256SUMS and every file that it names. ReleaseError if something is not as signed."""
    sums = (folder / "SHA256SUMS").read_bytes()
    words: list[str | Path] = ["-f", ROOT / SIGNERS, "-I", "gatepost", "-n", NAMESPACE, "-s", folder / "SHA256SUMS.sig"]
    run("ssh-keygen", "-Y", "verify", *words, given=sums)
    for line in sums.decode().splitlines():
        digest, _, name = line.partition("  ")
        path = folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise ReleaseError(f"{path} is not the file that was signed: do not use it")


def main() -> int:
    """0: done. 1: it cannot be done, and why."""
    parser = argparse.ArgumentParser(description="Make a release of what is committed, or verify one.")
    parser.add_argument("version", nargs="?", help="MAJOR.MINOR.PATCH")
    parser.add_argument("--key", type=Path, help="private SSH key, perhaps in an agent")
    parser.add_argument("--date", default=dt.datetime.now(dt.UTC).date().isoformat(), help="of the release")
    parser.add_argument("--verify", type=Path, metavar="FOLDER", help="check the files of a release")
    given = parser.parse_args()
    if not given.verify and not (given.version and given.key):
        parser.error("name VERSION and --key, or --verify FOLDER")
    try:
        if given.verify:
            verify(given.verify)
            print(f"{given.verify}: all files are as they were signed")
            return 0
        output = release(given.version, given.key.expanduser().absolute(), given.date)
    except ReleaseError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    print(f"{output}: {', '.join(path.name for path in sorted(output.iterdir()))}")
    print(f"Publish it: git push origin HEAD v{given.version}, and upload the files of {output.name}/.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
