"""Groups of commands, and what is said of a command line that cannot be read: one line, with the nearest name."""

from typing import Any

import click

from autogrow.errors import nearest


class Commands(click.Group):
    """A group whose commands stand in the order of the work."""

    def __init__(self, *values: Any, **options: Any) -> None:
        super().__init__(*values, **{**options, "invoke_without_command": True})

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            known = ", ".join(self.commands)
            raise click.UsageError(f"unknown command {args[0]!r}: known are {known}{nearest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


def help_alone(ctx: click.Context) -> None:
    """Show a group's help where none of its commands is named; called by the group's function."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _nearest_option(given: str, known: list[str]) -> str:
    """As `nearest`, by the names alone: dashes that all options share make none of them alike."""
    by_name = {option.lstrip("-"): option for option in known if option.startswith("--")}
    hint = nearest(given.lstrip("-"), by_name)
    return next((hint.replace(repr(name), repr(by_name[name])) for name in by_name if repr(name) in hint), "")


def usage_line(error: click.ClickException) -> str:
    """What is wrong with a command line, in one line, with the nearest option or where to read on."""
    message = " ".join(error.format_message().split())
    ctx = getattr(error, "ctx", None)
    if isinstance(error, click.NoSuchOption):
        known = [] if ctx is None else [name for parameter in ctx.command.params for name in parameter.opts]
        message = f"unknown option {error.option_name!r}{_nearest_option(error.option_name, known)}"
    if ctx is None or "did you mean" in message:
        return message
    return f"{message.rstrip('.')}; see {ctx.command_path} --help"
