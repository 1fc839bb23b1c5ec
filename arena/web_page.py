"""A page of one file that needs no network: what the replay page and the report begin with, and how their templates are filled."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>{{TITLE}}</title>
<script>document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";</script>
<style>
{{STYLE}}
</style>
</head>"""


def fill_page(template: Path, parts: Mapping[str, str]) -> str:
    """The text of a template with each `{{NAME}}` replaced by the part of this name, `{{HEAD}}` by `HEAD` with the parts TITLE and STYLE."""
    return _fill(template.read_text(encoding="utf-8"), {**parts, "HEAD": _fill(HEAD, parts)})


def _fill(text: str, parts: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], text)  # in one pass, since a part may hold anything
