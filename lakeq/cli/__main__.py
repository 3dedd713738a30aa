"""`python -m lakeq.cli`: the command without an installed script."""

from __future__ import annotations

from lakeq.cli import main

main()
