"""A command that has commands below it as well: `lakeq ingest DATASET` and `lakeq ingest watch`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import ClassVar

import click


class CommandWithMore(click.Group):
    """Runs as a command unless its first word is one of `BELOW`: name -> module of `lakeq.cli`.

    A module is imported when its command is asked for, and has it under its name.
    """

    BELOW: ClassVar[Mapping[str, str]] = {}
    allow_interspersed_args = True  # as a command has them, and a group has not

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **{**kwargs, "invoke_without_command": True})  # type: ignore[arg-type]  # click's own

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names below."""
        return list(self.BELOW)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command below of this name."""
        if cmd_name not in self.BELOW:
            return None
        module = import_module(f"lakeq.cli.{self.BELOW[cmd_name]}")
        command = getattr(module, cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Those of the command; those of one below are left for it."""
        if args and args[0] in self.BELOW:
            ctx.meta[__name__] = list(args)
            ctx.args = []
            return []
        return click.Command.parse_args(self, ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command, or the one below that was named."""
        args = ctx.meta.pop(__name__, None)
        if args is None:
            return click.Command.invoke(self, ctx)
        command = self.get_command(ctx, args[0])
        assert command is not None
        name = f"{ctx.info_name} {args[0]}"  # a parent with arguments would show them
        with command.make_context(name, args[1:], parent=ctx.parent) as below:
            return command.invoke(below)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Those of the command."""
        return click.Command.collect_usage_pieces(self, ctx)
