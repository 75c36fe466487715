"""Groups, the verdict on the interconnect, and the smallest of mixed GPUs."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from wizard.hardware.topology import linked, read, smallest, subset
from wizard.schemas.inputs import Interconnect
from wizard.schemas.outputs import GIB, GPUInfo

CARD = GPUInfo(name="NVIDIA L4", memory_total_bytes=22 * GIB)


def matrix(count: int, links: frozenset[tuple[int, int]]) -> tuple[tuple[str, ...], ...]:
    def cell(one: int, two: int) -> str:
        if one == two:
            return "X"
        return "NV4" if (min(one, two), max(one, two)) in links else "SYS"

    return tuple(tuple(cell(one, two) for two in range(count)) for one in range(count))


@given(
    st.integers(1, 8).flatmap(
        lambda count: st.tuples(
            st.just(count),
            st.frozensets(
                st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(
                    lambda pair: pair[0] < pair[1]
                )
            ),
        )
    )
)
def test_groups_are_cliques_that_hold_every_gpu_once(drawn: tuple[int, frozenset[tuple[int, int]]]) -> None:
    count, links = drawn
    topology = read(matrix(count, links))
    assert sorted(member for group in topology.groups for member in group) == list(range(count))
    for group in topology.groups:
        assert all(linked(topology.links[one][two]) for one in group for two in group if one != two)
    assert (topology.interconnect is Interconnect.NVLINK) == (count > 1 and len(topology.groups) == 1)


def test_a_chain_of_bridges_is_no_group() -> None:
    topology = read(matrix(3, frozenset({(0, 1), (1, 2)})))
    assert topology.groups == ((0, 1), (2,))
    assert topology.interconnect is Interconnect.PCIE


def test_links_that_no_one_tells_leave_the_verdict_open() -> None:
    assert read((("X", "?"), ("?", "X"))).interconnect is Interconnect.UNKNOWN


def test_a_selection_has_its_own_verdict() -> None:
    pairs = read(matrix(4, frozenset({(0, 1), (2, 3)})))
    assert subset(pairs, (0, 1)).interconnect is Interconnect.NVLINK
    assert subset(pairs, (1, 2)).interconnect is Interconnect.PCIE


def test_the_smallest_of_mixed_gpus_decides_and_says_so() -> None:
    big = replace(CARD, name="NVIDIA A40", memory_total_bytes=44 * GIB)
    least, warning = smallest([big, CARD])
    assert least is CARD
    assert warning is not None
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in warning


def test_alike_gpus_need_no_warning_and_the_fullest_decides() -> None:
    busy = replace(CARD, memory_used_bytes=6 * GIB)
    assert smallest([CARD, busy]) == (busy, None)
