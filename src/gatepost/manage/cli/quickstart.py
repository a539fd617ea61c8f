"""`gatepost quickstart`: from nothing to a gateway that can be started, with the DNS records to publish."""

from __future__ import annotations

import os
import pwd
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import click
import msgspec
import tomlkit

from gatepost.manage.cli.doctor import print_findings, with_ports
from gatepost.manage.cli.options import (
    BAD_INPUT,
    NO,
    client,
    current_server,
    fail,
    json_option,
    loaded_settings,
    use_settings_file,
)
from gatepost.manage.cli.output import _, in_words, ours, printed_json, say
from gatepost.manage.cli.remote_options import only_here
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.cli.serve import serve
from gatepost.manage.use_cases import quickstart as quickstart_cases
from gatepost.manage.use_cases.doctor import Examination, ExamineGateway, examination, examine_gateway, start_findings
from gatepost.manage.use_cases.first_setup import set_up_gateway
from gatepost.manage.use_cases.publication import DomainPublication, GetPublication, get_publication
from gatepost.manage.use_cases.resource_cases import ExportResources, export_resources
from gatepost.node.machine_findings import DoctorFinding, Level
from gatepost.node.privileges import (
    DEFAULT_ACCOUNT,
    PrivilegeError,
    act_as,
    as_caller,
    first_closed,
    gateway_account,
    prepare_data_dir,
)
from gatepost.pki.certificates.authority import self_signed
from gatepost.pki.certificates.files import write_whole
from gatepost.policy.connectors.errors import ResourceErrors
from gatepost.policy.connectors.model import parse
from gatepost.settings.loader import DEFAULT_PATHS, load
from gatepost.settings.model import Server
from gatepost.settings.problem import SettingsError
from gatepost.values import replace

_SETTINGS: Final = "gatepost.toml"
_RESOURCES: Final = "resources.toml"
_MASTER_KEY: Final = 32  # bytes
_MODE: Final = 0o640  # for root and the group of the gateway
_FOLDER_MODE: Final = 0o750
_EVERYWHERE: Final = "0.0.0.0:25"
_ADMIN: Final = "127.0.0.1:8443"
_OF_THE_WORLD: Final = ("nameservers", "own name", "DNS")
"""Areas of findings that do not keep a gateway from being started: its records are published afterwards."""
_CONTAINER_MARK: Final = Path(sys.prefix, "container")
"""A file that deploy/Containerfile makes: commands are typed on the container's host."""
_FOLDER: Final = click.Path(file_okay=False, path_type=Path)


@click.command()
@request_options(quickstart_cases.FirstAnswers)
@click.option(
    "--certificate",
    nargs=2,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    metavar="CHAIN KEY",
    help="Certificate and key, PEM. Default: the command makes one, which nobody trusts yet.",
)
@click.option("--acme", is_flag=True, help="Request a certificate from Let's Encrypt, and agree to its terms.")
@click.option(
    "--address", default=_EVERYWHERE, show_default=True, metavar="HOST:PORT", help="Where to listen for mail."
)
@click.option(
    "--admin-address", default=_ADMIN, show_default=True, metavar="HOST:PORT", help="Where the admin centre listens."
)
@click.option(
    "--directory", type=_FOLDER, help="Folder of the settings. Default: /etc/gatepost for root, else ./gatepost."
)
@click.option("--data-dir", type=_FOLDER, help="Default: /var/lib/gatepost for root, else data in the directory.")
@json_option
def quickstart(
    request: quickstart_cases.FirstAnswers, directory: Path | None, data_dir: Path | None, **given: Any
) -> None:
    """Set up a gateway: account, directories, keys, settings, first resources, certificate, DKIM keys.

    On a terminal it asks for options that are missing. It prints the DNS records to publish, what is still wrong
    (`gatepost doctor`), and the next commands. If settings exist already, it changes nothing and prints the same.

    Exit codes: 0 the gateway can be started, 1 something must be fixed first, 2 invalid input.
    """
    _stay_here()
    root = os.geteuid() == 0
    folder = (directory or Path("/etc/gatepost" if root else "gatepost")).absolute()
    file = folder / _SETTINGS
    if is_new := not _is_set_up(file):
        data = (data_dir or (Path("/var/lib/gatepost") if root and directory is None else folder / "data")).absolute()
        answers = _answers(request, folder, data, **given)
        seen = _set_up(answers, file)
        say(
            "made %(file)s, %(master_key)s and %(folder)s",
            err=True,
            file=file,
            master_key=answers.master_key,
            folder=folder / _RESOURCES,
        )
    else:
        say("%(file)s is there already: nothing is changed", err=True, file=file)
        seen = _seen_by_caller(file)
    _tell(file, seen, is_new=is_new)


def _stay_here() -> None:
    if current_server() is not None:
        raise only_here(click.get_current_context())


@click.command()
@click.option(
    "--directory", type=_FOLDER, default=Path("gatepost"), show_default=True, help="Folder of settings and data."
)
@click.option(
    "--address", default="127.0.0.1:2525", show_default=True, metavar="HOST:PORT", help="Where to listen for mail."
)
@click.option(
    "--admin-address", default=_ADMIN, show_default=True, metavar="HOST:PORT", help="Where the admin centre listens."
)
@json_option
@click.pass_context
def up(ctx: click.Context, directory: Path, address: str, admin_address: str) -> None:
    """Set up a gateway on loopback, without a question, and run it: to try it, or to develop against it.

    It accepts mail for gatepost.localdomain. If the folder exists already, it uses what is in it.

    Exit codes: 0 stopped normally, 2 settings, certificates, ports or the store cannot be used (every reason is named),
    3 the store cannot be reached now.
    """
    _stay_here()
    folder = directory.absolute()
    file = folder / _SETTINGS
    if not _is_set_up(file):
        answers = quickstart_cases.QuickstartAnswers(
            hostname="mx.gatepost.localdomain",
            domains=["gatepost.localdomain"],
            upstream=quickstart_cases.MAILBOXES,
            directory=folder,
            data_dir=folder / "data",
            certificate=(folder / "mx.pem", folder / "secrets" / "mx.key"),
            nameservers=["127.0.0.1:53"],
            address=address,
            admin_address=admin_address,
            user="root" if os.geteuid() == 0 else "",
        )
        _set_up(answers, file)
    settings = load(str(file), {})
    in_force = (settings.listeners[0].address if settings.listeners else "", settings.admin.address)
    if any(
        value != kept and ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        for name, value, kept in zip(("address", "admin_address"), (address, admin_address), in_force, strict=True)
    ):
        say("%(file)s is there already, and says where to listen: change it there", err=True, file=file)
    say(
        "mail at %(address)s, admin centre at https://%(admin_address)s, settings in %(file)s",
        err=True,
        address=in_force[0],
        admin_address=in_force[1],
        file=file,
    )
    use_settings_file(str(file))
    ctx.invoke(serve, check=False)


def _is_set_up(file: Path) -> bool:
    """Whether there are settings that can be used. Those of the package, which have no hostname yet, are none."""
    if not file.exists():
        return False
    try:
        load(str(file), {})
    except SettingsError as error:
        if all(problem.key in {"server", "server.hostname"} for problem in error.problems):
            return False
        said = "\n".join(map(in_words, error.problems))
        fail(BAD_INPUT, "%(error)s\nmend %(file)s, or move it away; nothing was changed", error=said, file=file)
    return True


def _answers(
    request: quickstart_cases.FirstAnswers, folder: Path, data_dir: Path, **given: Any
) -> quickstart_cases.QuickstartAnswers:
    """What was given, and asked for where it was not. Ends the command if it must be asked and cannot."""
    first = _completed(request)
    chain, key = given["certificate"] or (
        folder / f"{first.hostname}.pem",
        folder / "secrets" / f"{first.hostname}.key",
    )
    return quickstart_cases.QuickstartAnswers(
        **msgspec.structs.asdict(first),
        directory=folder,
        data_dir=data_dir,
        certificate=(chain.absolute(), key.absolute()),
        acme=given["acme"],
        address=given["address"] or _EVERYWHERE,
        admin_address=given["admin_address"],
        user="" if os.geteuid() != 0 else os.environ.get("GATEPOST_SERVER__USER", DEFAULT_ACCOUNT),
    )


def _completed(request: quickstart_cases.FirstAnswers) -> quickstart_cases.FirstAnswers:
    """The answers with what they lack. Ends the command if it must be asked for and cannot."""
    name = socket.getfqdn()
    questions = [
        ("hostname", "--hostname", _("Name of this gateway (FQDN)"), name if "." in name else ""),
        ("domains", "--domain", _("Domains it accepts mail for (with spaces)"), ""),
        ("upstream", "--upstream", _("Mail server behind it, HOST[:PORT], or mailboxes"), quickstart_cases.MAILBOXES),
        ("nameservers", "--nameserver", _("Validating nameservers; none: the gateway validates"), "none"),
    ]
    if request.hostname and request.domains and request.upstream:
        questions.pop()  # the one question that needs no answer, and nothing else has to be asked
    for field, option, question, default in questions:
        if not getattr(request, field):
            request = _prompted(request, field, option, question, default)
    return quickstart_cases.normalized(request)


def _prompted(
    request: quickstart_cases.FirstAnswers, field: str, option: str, question: str, default: str
) -> quickstart_cases.FirstAnswers:
    """The answers with that of a question, which is asked again while the answer is wrong."""
    if not sys.stdin.isatty():
        fail(BAD_INPUT, "%(option)s is missing, and there is no terminal to ask on; nothing was changed", option=option)

    def checked(text: str) -> quickstart_cases.FirstAnswers:
        several = isinstance(getattr(request, field), list)
        answer: Any = [word for word in text.split() if word != "none"] if several else text
        answered = quickstart_cases.normalized(replace(request, **{field: answer}))
        whole = (
            answered if answered.upstream else replace(answered, upstream=quickstart_cases.MAILBOXES)
        )  # asked for later
        errors = [error.message for error in quickstart_cases.answer_errors(whole) if error.path == field]
        if errors:
            raise click.BadParameter(ours("; ".join(errors)))
        return answered

    answers: quickstart_cases.FirstAnswers = click.prompt(
        question, default=default or None, value_proc=checked, err=True
    )
    return answers


def _set_up(answers: quickstart_cases.QuickstartAnswers, file: Path) -> list[DoctorFinding]:
    """Make everything; returns what the caller sees of the machine.

    The settings get their name last, so that a set-up that was cut off is begun again.
    """
    draft = file.with_name(f".{file.name}.draft")
    try:
        _write_all(answers, draft)
    except OSError as error:
        place = error.filename or answers.directory
        fail(BAD_INPUT, "%(place)s: %(why)s; choose another --directory", place=place, why=error.strerror)
    try:
        seen = _seen_by_caller(draft)
        resources = _make_resources(draft, answers)
        with as_caller():
            write_whole(answers.directory / _RESOURCES, resources.encode(), _MODE, _owner(answers))
            if file.exists():
                shutil.copy2(file, file.with_name(f"{file.name}.before-quickstart"))
            draft.replace(file)
    finally:
        with as_caller():
            draft.unlink(missing_ok=True)
    return seen


def _seen_by_caller(file: Path) -> list[DoctorFinding]:
    """Findings before the command acts as the gateway's account, which may see less of who has a port."""
    use_settings_file(str(file))
    return list(start_findings(loaded_settings()))


def _write_all(answers: quickstart_cases.QuickstartAnswers, file: Path) -> None:
    """Account, directories, keys and both documents; checked before the first of them is written."""
    text = _check(answers)
    if answers.user == DEFAULT_ACCOUNT:
        _make_account()
    _check_reach(answers)
    private = answers.directory / "secrets"
    private.mkdir(parents=True, exist_ok=True)
    owner = _owner(answers)
    for folder in (answers.directory, private):
        if os.geteuid() in {0, folder.stat().st_uid}:  # a volume that its group may write belongs to root
            folder.chmod(_FOLDER_MODE)
        owner(folder)
    if not answers.master_key.exists():
        write_whole(answers.master_key, secrets.token_bytes(_MASTER_KEY), _MODE, owner)
    chain, key = answers.certificate
    if not answers.acme and not chain.exists():
        certificate_pem, key_pem = self_signed([answers.hostname])
        write_whole(key, key_pem, _MODE, owner)
        write_whole(chain, certificate_pem, _MODE, owner)
    write_whole(file, text.encode(), _MODE, owner)


def _check(answers: quickstart_cases.QuickstartAnswers) -> str:
    """The settings as text. Ends the command if the answers make no settings or no resources."""
    text = tomlkit.dumps(quickstart_cases.first_settings(answers))
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / _SETTINGS
        draft.write_text(text, encoding="utf-8")
        try:
            load(str(draft), {})
            parse(quickstart_cases.first_resources(answers))
        except SettingsError as error:
            problems = [f"{problem.key}: {ours(problem.message)}" for problem in error.problems]
        except (ResourceErrors, ValueError) as error:
            problems = [str(error)]
    if problems:
        fail(BAD_INPUT, "\n".join((*problems, _("nothing was changed"))))
    return text


def _make_account() -> None:
    """The account that the gateway runs as, as the package makes it."""
    with suppress(KeyError):
        pwd.getpwnam(DEFAULT_ACCOUNT)
        return
    command = ["/usr/sbin/useradd", *["--system", "--user-group", "--home-dir", "/var/lib/gatepost"]]
    try:
        subprocess.run(  # noqa: S603 - nothing in it is from elsewhere
            [*command, "--shell", "/usr/sbin/nologin", DEFAULT_ACCOUNT], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        fail(
            BAD_INPUT,
            "the account %(default_account)s could not be made: %(error)s; make it, and run this again",
            default_account=DEFAULT_ACCOUNT,
            error=ours(str(error)),
        )


def _check_reach(answers: quickstart_cases.QuickstartAnswers) -> None:
    """End the command if the gateway's account could not come through to what is about to be made."""
    server = Server(hostname=answers.hostname, data_dir=str(answers.data_dir), user=answers.user)
    try:
        account = gateway_account(server)
        back = act_as(account, answers.data_dir)
        closed = first_closed(answers.directory)
        back()
        if not closed:
            prepare_data_dir(account, answers.data_dir)
    except PrivilegeError as error:
        fail(BAD_INPUT, "\n".join((str(error), _("nothing was changed"))))
    if closed:
        text = _(
            "%(closed)s does not let the account %(name)s through: chmod o+x %(closed)s, or choose another --directory",
            closed=closed,
            name=account.name,
        )
        fail(BAD_INPUT, "\n".join((text, _("nothing was changed"))))


def _owner(answers: quickstart_cases.QuickstartAnswers) -> Any:
    """A function that lets the gateway's account read a file of root's, where root sets up."""
    if os.getuid() != 0 or answers.user != DEFAULT_ACCOUNT:
        return lambda _context: None
    return lambda path: shutil.chown(path, "root", DEFAULT_ACCOUNT)


def _make_resources(file: Path, answers: quickstart_cases.FirstAnswers) -> str:
    """Make the first organization, unless somebody made one already; returns all resources as a file for `apply`.

    With the DKIM keys: a file without them would remove them when it is applied.
    """
    use_settings_file(str(file))
    through = client()
    if not through.directory().organizations:
        names = quickstart_cases.FirstAnswers.__struct_fields__
        through.call(set_up_gateway, quickstart_cases.FirstAnswers(**{name: getattr(answers, name) for name in names}))
    return tomlkit.dumps(through.call(export_resources, ExportResources()).value)


def _tell(file: Path, seen: list[DoctorFinding], *, is_new: bool) -> None:
    """The records to publish, what is still wrong, and what to type next."""
    use_settings_file(str(file))
    through = client()
    publications = [
        through.call(get_publication, GetPublication(domain=domain.name, organization=organization.name))
        for organization in through.directory().organizations
        for domain in organization.accepted_domains
    ]
    examined = through.call(examine_gateway, ExamineGateway())
    if os.getuid() == 0:
        examined = examination(with_ports(examined.findings, seen))
    findings = examined.findings
    if not printed_json(_record(file, publications, examined, is_new=is_new)):
        for publication in publications:
            _print_zone(publication)
        say("\nStill to do:", err=True)
        print_findings([finding for finding in findings if finding.level is not Level.PASS], err=True)
        say("\nNext: start it, examine it, make the owner of the admin centre:", err=True)
        for command in _next_commands(file):
            click.echo(f"    {command}", err=True)
    if any(finding.level is Level.FAIL and not finding.area.startswith(_OF_THE_WORLD) for finding in findings):
        raise SystemExit(NO)


def _record(
    file: Path, publications: list[DomainPublication], examined: Examination, *, is_new: bool
) -> dict[str, Any]:
    """The same for programs. made: whether it was set up now. dmarc: what each domain may publish, too."""
    return {
        "settings": str(file),
        "made": is_new,
        "domains": [msgspec.to_builtins(each) | {"dmarc": _dmarc_line(each.domain) or None} for each in publications],
        "examination": examined,
        "next": list(_next_commands(file)),
    }


def _next_commands(file: Path) -> tuple[str, str, str]:
    """What starts the gateway, examines it, and makes its first owner, as one types it where this runs."""
    if _CONTAINER_MARK.exists():
        inside = "podman exec --interactive --tty gatepost gatepost"
        return "podman run --detach --name gatepost …", f"{inside} doctor", f"{inside} user add NAME --role owner"
    prefix = "gatepost " if file == DEFAULT_PATHS[0] else f"gatepost --config {shlex.quote(str(file))} "
    is_service = file == DEFAULT_PATHS[0] and Path("/run/systemd/system").exists()
    start = "systemctl enable --now gatepost" if is_service else f"{prefix}serve"
    return start, f"{prefix}doctor", f"{prefix}user setup"


def _print_zone(publication: DomainPublication) -> None:
    say("; records to publish for %(domain)s", domain=publication.domain)
    click.echo(publication.zone)
    if line := _dmarc_line(publication.domain):
        click.echo(line)


def _dmarc_line(domain: str) -> str:
    return "" if domain.startswith("*.") else quickstart_cases.dmarc_line(domain)
