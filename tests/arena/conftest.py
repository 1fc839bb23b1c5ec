"""What the tests of the replay page share: a browser, a match, its page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from arena.replay_page import write_page
from tests.arena.test_replay_page import play_here
from tests.browser import CHROMIUM, Page, browser
from tests.shown_replay import show


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One tab of a headless Chromium."""
    assert CHROMIUM is not None
    with browser(CHROMIUM, tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture(scope="session")
def fought(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The replay of a match of the official engine with lichen, farmers against raiders."""
    return play_here(tmp_path_factory.mktemp("replay"), ("farmer", "raider"), 70)


@pytest.fixture()
def shown(tab: Page, fought: Path, tmp_path: Path) -> Iterator[Page]:
    """The page of that match, just opened on a desktop in light; nothing may have gone wrong in it when the test is over."""
    write_page(fought, tmp_path / "page.html")
    tab.size(1280, 860)
    tab.theme("light")
    show(tab, tmp_path / "page.html")
    yield tab
    assert tab.messages == []
    assert all(url.startswith(("file://", "blob:")) for url in tab.requests)
