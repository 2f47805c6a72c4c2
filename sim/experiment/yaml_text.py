"""Plain values as YAML text that the strict reader reads back unchanged."""

from __future__ import annotations

from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Indents lists below their key, never uses aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write equal parts out each time."""
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indent the items of a list."""
        super().increase_indent(flow, False)


def yaml_text(value: Any) -> str:
    """Return block-style YAML in the order given, with a line end."""
    return yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100,
        default_flow_style=False,
    )  # fmt: skip
