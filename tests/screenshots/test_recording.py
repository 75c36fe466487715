"""The recording draws what the screen showed, whatever the bytes were that drew it first."""

from __future__ import annotations

import pyte

from tests.screenshots.recording import BEGIN, cells, difference

SIZE = (20, 3)


def screen(*written: str) -> pyte.Screen:
    """A terminal that was sent this."""
    shown = pyte.Screen(*SIZE)
    stream = pyte.Stream(shown)
    for each in written:
        stream.feed(each)
    return shown


def test_what_it_writes_draws_the_same_screen() -> None:
    first = screen("\x1b[2;3H\x1b[1;38;5;75;48;5;234mhello\x1b[0m \x1b[7mthere")
    second = screen("\x1b[1;1H\x1b[31mred\x1b[2;3H\x1b[4mhelp \x1b[0m")
    empty = cells(pyte.Screen(*SIZE))
    begun = difference(empty, cells(first))
    went_on = difference(cells(first), cells(second))
    assert cells(screen(BEGIN, begun)) == cells(first)
    assert cells(screen(BEGIN, begun, went_on)) == cells(second)


def test_the_way_that_a_screen_was_painted_leaves_no_trace() -> None:
    whole = screen("\x1b[38;5;75mone two\x1b[0m")
    pieces = screen("\x1b[1;5H\x1b[38;5;75mtwo", "\x1b[1;1H\x1b[38;5;75mone\x1b[38;5;9m ")
    empty = cells(pyte.Screen(*SIZE))
    assert difference(empty, cells(whole)) == difference(empty, cells(pieces))
    assert difference(cells(whole), cells(pieces)) == ""
