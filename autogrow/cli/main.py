"""``autogrow``: the group of commands, and how every error becomes one line and an exit code.

Exit codes: 0 done; 1 no trial succeeded; 2 bad usage or bad input; 3 the run folder is in use; 130 interrupted.
"""

import os
import sys
from collections.abc import Sequence

import click

from autogrow.cli.data import data
from autogrow.cli.environment import doctor, list_names
from autogrow.cli.experiments import compare, confirm, reproduce
from autogrow.cli.generation import generate, predict
from autogrow.cli.groups import Commands, help_alone, usage_line
from autogrow.cli.inspection import inspect
from autogrow.cli.networks import evaluate, train
from autogrow.cli.runs import export, report, status
from autogrow.cli.search import search
from autogrow.cli.shrinking import shrink
from autogrow.errors import AutogrowError, as_line, one_line
from autogrow.printing import OutputError, ReaderGoneError, printable_output
from autogrow.urls import without_secrets

INTERRUPTED = 130


def _print_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from autogrow import __version__

        click.echo(f"autogrow {__version__}")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("--version", is_flag=True, callback=_print_version, expose_value=False, is_eager=True, help="Show it.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Find out how a neural network should grow.

    \b
    autogrow search --dataset digits           search for a growth policy
    autogrow report results/digits-1           what came out
    autogrow confirm results/digits-1          the best of it again, on other seeds
    autogrow export results/digits-1 --to policy.yaml
    autogrow train policy.yaml --dataset digits --out model/
    autogrow shrink model/ --to-flops 0.25     of a network trained with --hold-out-validation
    autogrow compare policy.yaml --dataset digits
    autogrow generate model/ --prompt "def "   of a network that was trained on text
    autogrow predict model/ other.txt          its loss per token and bits per byte there
    """
    help_alone(ctx)


for _command in (
    search,
    status,
    report,
    confirm,
    export,
    train,
    shrink,
    evaluate,
    generate,
    predict,
    compare,
    reproduce,
    inspect,
    data,
    list_names,
    doctor,
):
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(run(arguments))


def run(arguments: list[str]) -> int:
    """Run a command; errors that a user can mend are printed as one line on stderr."""
    with printable_output():
        return _run(arguments)


def _run(arguments: list[str]) -> int:
    try:
        code = cli.main(arguments, prog_name="autogrow", standalone_mode=False)
        sys.stdout.flush()  # here, where what goes wrong is told
        return code if isinstance(code, int) else 0
    except (AutogrowError, click.ClickException) as error:
        if "--debug" in arguments:
            raise
        if isinstance(error, OutputError):
            _give_up_output()
        if isinstance(error, ReaderGoneError):
            return error.exit_code
        message = usage_line(error) if isinstance(error, click.ClickException) else one_line(error)
        print(f"autogrow: error: {as_line(without_secrets(message, keeps_user=True))}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        # What nobody turned into an error of ours: a file that may not be read, a disk that fails.
        if "--debug" in arguments or error.filename is None:
            raise
        print(f"autogrow: error: {error.strerror}: {error.filename}", file=sys.stderr)
        return AutogrowError.exit_code
    except SystemExit as error:
        # Of a user's own model, or a library: it would end the command with a code of its own, without a word.
        if "--debug" in arguments:
            raise
        print(f"autogrow: error: {one_line(error)}, raised by a model or a library; see --debug", file=sys.stderr)
        return AutogrowError.exit_code
    except (KeyboardInterrupt, click.Abort):
        print("autogrow: interrupted", file=sys.stderr)
        return INTERRUPTED


def _give_up_output() -> None:
    """Send standard output nowhere: Python would complain again of what it holds when it flushes it at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
