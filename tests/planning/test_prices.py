"""What machines cost: as somebody sells them, as the user says, or not known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from wizard.hardware.catalogue import get_gpu_by_name
from wizard.planning.prices import cheapness, hourly_usd, price_words


def test_a_count_that_nobody_sells_costs_the_next_larger_instance() -> None:
    a100 = get_gpu_by_name("A100 SXM4 80GB")
    assert hourly_usd(a100, 1) == hourly_usd(a100, 8) == pytest.approx(8 * 3.431)
    assert hourly_usd(a100, 8, 2) == pytest.approx(16 * 3.431)
    l4 = get_gpu_by_name("L4")
    assert hourly_usd(l4, 1) == pytest.approx(0.805)
    assert hourly_usd(l4, 2) == hourly_usd(l4, 4) == pytest.approx(4 * 1.15)


def test_more_than_anybody_sells_has_no_price() -> None:
    card = get_gpu_by_name("RTX PRO 6000 Blackwell Server")
    assert hourly_usd(card, 2) is not None
    assert hourly_usd(card, 8) is None
    assert price_words(card, 8) == "price not known"


def test_a_price_of_ones_own_is_for_each_gpu_and_has_no_day() -> None:
    mine = replace(get_gpu_by_name("H100 SXM5 80GB"), usd_per_hour=2.0, offers=(), priced_on=None)
    assert hourly_usd(mine, 4) == 8.0
    assert price_words(mine, 4) == "$8.00 an hour"


def test_known_prices_come_before_unknown_ones() -> None:
    dear, unknown = get_gpu_by_name("B200 SXM 180GB"), get_gpu_by_name("H200 SXM 141GB")
    assert cheapness(dear, 8) < cheapness(unknown, 1)


def test_the_day_of_the_list_is_told() -> None:
    words = price_words(get_gpu_by_name("H100 SXM5 80GB"), 1)
    assert words.startswith("$6.88 an hour (list price of 20")
