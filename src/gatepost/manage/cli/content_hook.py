"""`gatepost hook …`: content hooks, scanners that are asked about a message before it is taken."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from msgspec.structs import replace

from gatepost.manage.cli.named_files import read_file
from gatepost.manage.cli.options import NO, UNKNOWN, client, gateway_options
from gatepost.manage.cli.output import _, ours, printable, printed_json, say
from gatepost.manage.cli.part_commands import add_commands, add_list, organization_option, part_argument
from gatepost.manage.use_cases.name_lookup import HOOK, Part
from gatepost.manage.use_cases.trials import HookTrial, HookTrials, TryHook, try_hook
from gatepost.policy.connectors.units import format_duration

_COLUMNS = ("status", "name", "organization", "type", "address", "direction", "timeout", "on_failure")
_MAX_MESSAGE = 1 << 30


@click.group()
def hook() -> None:
    """Manage content hooks: rspamd and ClamAV, which scan a message before it is accepted."""


@hook.command("check")
@part_argument(HOOK)
@organization_option
@click.option(
    "--message",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Scan this message instead, exactly as in the file.",
)
@gateway_options
def check(part: Part, message: Path | None) -> None:
    """Have the scanner of a hook scan a harmless message, and a test message that it must detect.

    The test message is the EICAR test file for ClamAV and GTUBE for rspamd; both are harmless too. The command shows
    what would happen to such a message with the hook enforced, even if it is not. Nothing is delivered.

    Exit codes: 0 the scanner answers and detects the test message (with --message: the message passes), 1 it does not,
    2 there is no such hook, 3 no usable answer.
    """
    content = None
    if message is not None:  # with the line ends of mail
        content = read_file(message, _MAX_MESSAGE, "--message: ").replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    request = TryHook(organization=part.organization.name, hook=part.name, message=content)
    hook_trials = client().call(try_hook, request)
    trials = hook_trials.trials
    if message is not None:
        trials[0] = replace(trials[0], message=str(message))
    if not printed_json(hook_trials):
        _print(hook_trials)
    if not all(trial.answered for trial in trials):
        sys.exit(UNKNOWN)
    passes = not any(trial.reply for trial in trials) if message else all(trial.right for trial in trials)
    sys.exit(0 if passes else NO)


def _print(result: HookTrials) -> None:
    label = _("content hook %(hook)s of %(organization)s", hook=repr(result.hook), organization=result.organization)
    say("%(label)s: %(type)s at %(address)s", label=label, type=result.type, address=result.address)
    for trial in result.trials:
        sign = _("ok") if trial.right else _("no answer") if not trial.answered else _("WRONG")
        click.echo(f"  {printable(trial.message):10} {sign:10} {_said(trial)}")


def _said(trial: HookTrial) -> str:
    record = trial.answer
    said = [ours(record.get("does" if trial.answered else "failure", "")) or _("too large for the scanner")]
    said.append(f"{record.get('ms', 0)} ms")
    if "score" in record:
        said.append(
            _(
                "score %(score)s of %(required)s",
                score=f"{record['score']:g}",
                required=f"{record.get('required', 0):g}",
            )
        )
    said += [str(record[key]) for key in ("signature", "said") if key in record]
    said += [", ".join(record["symbols"])] if "symbols" in record else []
    return printable("; ".join(said))


add_list(
    hook,
    HOOK,
    "List content hooks by organization and name.",
    _COLUMNS,
    lambda content_hook: content_hook.name,
    timeout=lambda content_hook: format_duration(content_hook.timeout),
)

add_commands(
    hook,
    HOOK,
    example="av --organization contoso \\\n  type=clamav address=unix:/run/clamav/clamd.ctl mode=rehearse",
)
