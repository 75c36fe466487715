"""Which ways to spread a model are worth a look."""

from __future__ import annotations

import pytest

from tests.planning.asking import DEEPSEEK, LLAMA_8B, LLAMA_70B, facts
from tests.planning.launching import model
from wizard.planning.layouts import Layout, divides_heads, layouts, tensor_parallel_sizes
from wizard.schemas.inputs import HardwareInput


def shapes(name: str, gpus: int, **hardware: int) -> set[tuple[int, int, int, bool, int]]:
    return {
        (
            each.tensor_parallel_size,
            each.pipeline_parallel_size,
            each.data_parallel_size,
            each.expert_parallel,
            each.replicas,
        )
        for each in layouts(facts(name), gpus, HardwareInput(**hardware))
    }


@pytest.mark.parametrize(
    ("tp", "allowed"), [(1, True), (3, False), (4, True), (8, True), (16, True), (64, True)]
)
def test_kv_heads_divide_or_are_repeated(tp: int, allowed: bool) -> None:
    """64 query and 8 KV heads."""
    assert divides_heads(facts(LLAMA_70B), tp) is allowed


def test_seven_of_28_heads_would_tear_four_kv_heads() -> None:
    metadata = model(num_attention_heads=28, num_key_value_heads=4, hidden_size=3584)
    assert not divides_heads(metadata, 7)
    assert tensor_parallel_sizes(metadata, 8) == [1, 2, 4]


def test_a_vocabulary_that_does_not_divide() -> None:
    """Padded to 64 rows, then divided: 49,155 becomes 49,216, which 8 divides and 3 doesn't."""
    metadata = model(vocab_size=49155, num_attention_heads=24, num_key_value_heads=24)
    assert tensor_parallel_sizes(metadata, 8) == [1, 2, 4, 8]


def test_dense_copies_are_engines_behind_one_address() -> None:
    assert shapes(LLAMA_8B, 4) >= {(1, 1, 4, False, 1), (2, 1, 2, False, 1), (4, 1, 1, False, 1)}
    assert all(replicas == 1 and not experts for *_, experts, replicas in shapes(LLAMA_8B, 4))


def test_copies_of_a_mixture_share_experts_or_are_servers() -> None:
    found = shapes(DEEPSEEK, 8)
    assert {(8, 1, 1, False, 1), (8, 1, 1, True, 1), (1, 1, 8, True, 1), (1, 1, 1, False, 8)} <= found
    assert not any(dp > 1 and not experts for _, _, dp, experts, _ in found)


def test_uneven_counts_get_stages() -> None:
    """Three cards and 64 heads: two share layers, or three hold a third each."""
    assert {(2, 1, 1, False, 1), (1, 3, 1, False, 1)} <= shapes(LLAMA_70B, 3)


def test_nodes_are_joined_by_stages_or_engines_never_by_tensors() -> None:
    found = shapes(LLAMA_70B, 8, nodes=2)
    assert {(8, 2, 1, False, 1), (8, 1, 2, False, 1)} <= found
    assert all(tp <= 8 for tp, *_ in found)
    for tp, pp, dp, _, _ in found:
        world = tp * pp * dp
        assert world <= 8 or (world % 2 == 0 and world // 2 <= 8 and world // 2 % tp == 0)


def test_no_more_engines_than_requests() -> None:
    found = layouts(facts(LLAMA_8B), 8, HardwareInput(), engines=3)
    assert max(each.data_parallel_size for each in found) == 3


def test_the_users_sizes_stand() -> None:
    hardware = {"tensor_parallel_size": 2, "pipeline_parallel_size": 2, "data_parallel_size": 2}
    assert shapes(LLAMA_8B, 8, **hardware) == {(2, 2, 2, False, 1)}


def test_expert_parallelism_alone_where_it_is_asked_for() -> None:
    found = layouts(facts(DEEPSEEK), 8, HardwareInput(), expert_parallel=True)
    assert found
    assert all(each.expert_parallel for each in found)


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        (Layout(1), "one GPU"),
        (Layout(8), "8 GPUs"),
        (Layout(8, 2), "2 stages of 8 GPUs"),
        (Layout(4, 1, 2), "2 engines of 4 GPUs"),
        (Layout(4, 1, 2, expert_parallel=True), "2 engines of 4 GPUs that share the experts"),
        (Layout(8, expert_parallel=True), "8 GPUs with whole experts"),
        (Layout(2, replicas=4), "4 servers of 2 GPUs"),
    ],
)
def test_a_layout_in_words(layout: Layout, words: str) -> None:
    assert layout.words == words


def test_the_plainest_comes_first() -> None:
    assert layouts(facts(LLAMA_70B), 4, HardwareInput())[0] == Layout(4)


def test_sizes_that_were_chosen_get_no_more_gpus_than_there_are() -> None:
    """Two machines of one card: two engines are all they hold, without stages on top."""
    assert shapes(LLAMA_8B, 1, nodes=2, data_parallel_size=2) == {(1, 1, 2, False, 1)}
    assert not shapes(LLAMA_8B, 1, nodes=2, tensor_parallel_size=16)
    assert (16, 1, 1, False, 1) in shapes(LLAMA_70B, 8, nodes=2, tensor_parallel_size=16)
