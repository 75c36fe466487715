"""The cheap `dataclass` behaves as the standard one does, wherever this program relies on it."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import weakref
from typing import Any

import pytest

from wizard.dataclass import asdict, dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int = 2
    tags: dict[str, int] = field(default_factory=dict, compare=False)
    secret: str = field(default="s", repr=False)


@dataclass(frozen=True, slots=True)
class Named(Point):
    name: str = "n"

    @property
    def label(self) -> str:
        return f"{self.name} {self.x}"


@dataclass
class Tally:
    count: int = 0
    seen: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Doubled:
    once: int
    twice: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "twice", 2 * self.once)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spelled:
    first: int = 1
    second: int


def test_values_by_place_and_name_with_defaults() -> None:
    assert (Point(1).x, Point(1).y, Point(1, 3).y, Point(x=1, y=4).y) == (1, 2, 3, 4)
    assert Point(1).tags == {} and Point(1).tags is not Point(1).tags
    assert (Named(1, name="m").label, Named(1).y) == ("m 1", 2)
    assert (Spelled(second=2).first, Doubled(3).twice) == (1, 6)


@pytest.mark.parametrize("call", [lambda: Point(), lambda: Point(1, z=2), lambda: Spelled(1, 2)])
def test_wrong_arguments_are_refused_the_first_time_and_the_second(call: Any) -> None:
    for _ in range(2):
        with pytest.raises(TypeError):
            call()


def test_frozen_and_slotted() -> None:
    point: Any = Point(1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        point.x = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        del point.x
    assert not hasattr(point, "__dict__")
    tally = Tally()
    tally.count = 2
    assert vars(tally) == {"count": 2, "seen": []}


def test_equality_hash_and_repr() -> None:
    assert Point(1, tags={"a": 1}) == Point(1) != Point(2)
    assert Point(1) != Named(1)
    assert len({Point(1), Point(1), Point(2)}) == 2
    assert Doubled(1) != Doubled(1)
    assert repr(Point(1)) == "Point(x=1, y=2, tags={})"
    with pytest.raises(TypeError):
        hash(Tally())
    match Point(1, 5):
        case Point(x, y):
            assert (x, y) == (1, 5)


def test_methods_of_the_class_itself_win() -> None:
    @dataclass(frozen=True, slots=True)
    class Own:
        x: int

        def __repr__(self) -> str:
            return "mine"

    assert repr(Own(1)) == "mine" and Own(1) == Own(1)


def test_many_objects_are_made_as_the_first_ones_were() -> None:
    made = [Named(number, tags={"a": number}, name="n") for number in range(40)]
    assert [each.x for each in made] == list(range(40))
    assert all(each.y == 2 and each.tags == {"a": each.x} for each in made)
    for _ in range(2):
        with pytest.raises(TypeError):
            Named(1, x=2)  # type: ignore[misc]


def test_replace_and_asdict_are_those_of_the_standard_library() -> None:
    point = Named(1, tags={"a": 1})
    assert replace(point, y=9) == dataclasses.replace(point, y=9) == Named(1, 9)
    assert asdict(point) == dataclasses.asdict(point)
    assert replace(Doubled(1), once=4).twice == 8
    nested = Tally(seen=[1])
    assert asdict(nested)["seen"] is not nested.seen
    with pytest.raises(TypeError):
        replace(point, unknown=1)


def test_the_standard_library_takes_them() -> None:
    assert dataclasses.is_dataclass(Point)
    assert [each.name for each in dataclasses.fields(Named)] == ["x", "y", "tags", "secret", "name"]
    assert dataclasses.fields(Point)[1].default == 2


def test_copies_and_pickles() -> None:
    point = Point(1, tags={"a": 1})
    for again in (copy.copy(point), copy.deepcopy(point), pickle.loads(pickle.dumps(point))):
        assert again == point and again.tags == {"a": 1}


def test_a_shared_default_is_refused() -> None:
    with pytest.raises(ValueError, match="default_factory"):

        @dataclass
        class Wrong:
            items: list[int] = []  # noqa: RUF012 - the mistake under test


def test_an_object_with_a_slot_for_it_can_be_referred_to_weakly() -> None:
    @dataclass(frozen=True, slots=True, weakref_slot=True)
    class Held:
        name: str

    held = Held("one")
    assert weakref.ref(held)() is held
