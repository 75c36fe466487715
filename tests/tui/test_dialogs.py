"""Dialogs: what a closed one leaves behind."""

from __future__ import annotations

import gc
from weakref import ref

import pytest
from textual.widget import Widget

from tests.tui.screen import opened, text


@pytest.mark.parametrize(
    ("key", "words"),
    [("question_mark", "Workload: help"), ("w", "Why this plan"), ("ctrl+p", "type a command")],
)
async def test_a_closed_dialog_and_what_it_drew_are_forgotten(key: str, words: str) -> None:
    async with opened() as (app, pilot):
        await pilot.press("3", key)
        assert words in text(app)
        widgets = [app.screen, *app.screen.query(Widget)]
        assert any(widget._styles_cache._cache for widget in widgets), "nothing drawn is kept: a vacuous test"
        kept = [ref(each) for widget in widgets for each in (widget, widget._styles_cache)]
        del widgets

        await pilot.press("escape")
        assert app.screen is app.frame
        gc.collect()
        assert [each() for each in kept if each() is not None] == []
