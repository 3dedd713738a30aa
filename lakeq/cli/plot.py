"""`lakeq plot`: pictures of what the lake holds; one module per kind of data."""

from __future__ import annotations

import click

KINDS = {
    "landsat": "plot_landsat",
    "ndvi": "plot_landsat",
    "nexrad": "plot_nexrad",
}  # the module of each


class _Lazy(click.Group):
    """A group that imports a picture's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(KINDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in KINDS:
            return None
        from importlib import import_module

        command = getattr(import_module(f"lakeq.cli.{KINDS[cmd_name]}"), cmd_name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Lazy)
def plot() -> None:
    """Draw pictures of what the lake holds.

    \b
    lakeq plot nexrad --site KTLX --time 2019-05-20T20:00:04 --moment DBZH -o ppi.png
    lakeq plot landsat --scene LC08_L2SP_028030_20200114_20200824_02_T1 -o quicklook.png
    lakeq plot ndvi --path-row 28/30 --box -96,43,-95.9,43.1 --from 2020-01-01 -o ndvi.png
    """
