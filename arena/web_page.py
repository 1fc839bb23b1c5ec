"""A page of one file that needs no network: what the replay page and the report begin with, and how their templates are filled."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

HEAD = Path(__file__).with_name("page_head.html")


def fill_page(template: Path, parts: Mapping[str, str]) -> str:
    """The text of a template with each `{{NAME}}` replaced by the part of this name; `{{HEAD}}` is `page_head.html`."""
    return _fill(template, {**parts, "HEAD": _fill(HEAD, parts).rstrip()})


def _fill(template: Path, parts: Mapping[str, str]) -> str:
    text = template.read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], text)  # in one pass, since a part may hold anything
