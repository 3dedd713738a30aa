"""The xarray engine `lakeq`: radar volumes of a lake through `xarray.open_datatree`.

    xarray.open_datatree("lakeq:nexrad/KTLX/2019-07-15T12:00:37", engine="lakeq")

The address is lakeq:DATASET/SITE/TIME, the time the volume's start in UTC. Which lake is asked
is told by `lake`, or by lakeq's settings.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import xarray as xr  # the engine is imported by xarray itself
from xarray.backends import BackendEntrypoint

from lakeq.errors import NotFound, UsageError

_ADDRESS = re.compile(r"lakeq:(?://)?(?P<dataset>\w+)/(?P<site>\w+)/(?P<time>[^/]+)")


@dataclass(frozen=True, slots=True)
class Address:
    """Which volume of which dataset."""

    dataset: str
    site: str
    time: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """The parts of lakeq:DATASET/SITE/TIME; `UsageError` for anything else."""
        match = _ADDRESS.fullmatch(text)
        if match is None:
            hint = "write it so: lakeq:nexrad/KTLX/2019-07-15T12:00:37"
            raise UsageError(
                f"not the address of a volume: {text!r}", "xarray's engine lakeq", hint
            )
        return cls(**match.groupdict())


class LakeqBackend(BackendEntrypoint):
    """Opens lakeq:DATASET/SITE/TIME; the options are those of `lakeq.Lake.open_radar`."""

    description = "Radar volumes of a lakeq lake: lakeq:nexrad/KTLX/2019-07-15T12:00:37"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "mask_and_scale")
    supports_groups: ClassVar[bool] = True

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether it is an address of lakeq."""
        return isinstance(filename_or_obj, str) and filename_or_obj.startswith("lakeq:")

    def open_datatree(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        mask_and_scale: bool = True,
        lake: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> xr.DataTree:
        """The volume as a tree; mask_and_scale=False gives codes unless `values` says otherwise."""
        import lakeq

        address = Address.parse(str(filename_or_obj))
        handle = lakeq.connect(None if lake is None else os.fspath(lake))
        options.setdefault("values", "scaled" if mask_and_scale else "codes")
        tree = handle.open_radar(address.site, address.time, dataset=address.dataset, **options)
        dropped = (
            [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
        )
        nodes = {node.path: node.to_dataset(inherit=False) for node in tree.subtree}
        return xr.DataTree.from_dict(
            {path: node.drop_vars(dropped, errors="ignore") for path, node in nodes.items()}
        )

    def open_groups_as_dict(self, filename_or_obj: Any, **options: Any) -> dict[str, xr.Dataset]:
        """The nodes of the tree by their paths."""
        tree = self.open_datatree(filename_or_obj, **options)
        return {node.path: node.to_dataset(inherit=False) for node in tree.subtree}

    def open_dataset(
        self, filename_or_obj: Any, *, group: str | None = None, **options: Any
    ) -> xr.Dataset:
        """One sweep, the first by default; `group` is the node's name, such as sweep_3."""
        number = re.fullmatch(r"/?sweep_(\d+)", group or "sweep_0")
        if number is None:
            raise NotFound(f"no group {group!r}", str(filename_or_obj), "groups are sweep_0, …")
        sweep = int(number[1])
        tree = self.open_datatree(filename_or_obj, **{**options, "sweeps": [sweep]})
        dataset = tree.children[f"sweep_{sweep}"].to_dataset(inherit=False)
        return dataset.assign_coords(tree.coords).assign_attrs(tree.attrs | dataset.attrs)
