"""Which kind each decoder layer is: the config's own list, or the rule its config class builds one by.

Sources: `data/layer_kinds.json` (transformers' `layer_types`), vLLM 0.33 `model_executor/models/*.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from wizard.data import read_text
from wizard.errors import ConfigError
from wizard.models.facts import LARGEST_LAYER_COUNT, Facts
from wizard.models.metadata import short

SLIDING = "sliding_attention"
FULL = "full_attention"
LINEAR = "linear_attention"

Rule: TypeAlias = Callable[[Facts, Mapping[str, Any], int], list[str]]

LETTERS: Mapping[str, str] = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe", "L": SLIDING, "G": FULL}
"""One letter per layer: Nemotron-H's `hybrid_override_pattern`, EXAONE's `sliding_window_pattern`."""


@lru_cache(maxsize=1)
def _rules() -> Mapping[str, Mapping[str, Any]]:
    text = read_text("layer_kinds.json")
    table: Mapping[str, Mapping[str, Any]] = json.loads(text)["types"]
    return table


def layer_kinds(facts: Facts, model_type: str) -> Sequence[str] | None:
    """A word per decoder layer, or `None` where all are alike and the class keeps no list.

    Raises ConfigError for a list that is too short, or not of words.
    """
    rule = _rules().get(model_type)
    listed = facts.list("layer_types") or facts.list("layers_block_type")
    if listed is None and facts.has("attn_type_list"):
        listed = [FULL if item == 1 else LINEAR for item in facts.list("attn_type_list") or ()]
    if listed is None and facts.has("hybrid_layer_pattern"):
        listed = [SLIDING if item == 1 else FULL for item in facts.list("hybrid_layer_pattern") or ()]
    if listed is not None:
        return _checked(listed, facts)
    if facts.has("hybrid_override_pattern"):
        return _letters(facts, {}, 0)
    if rule is None or rule["rule"] == "no_list":
        return None
    return RULES[str(rule["rule"])](facts, rule, facts.layers)


def _checked(listed: Sequence[Any], facts: Facts) -> Sequence[str]:
    if not all(isinstance(item, str) for item in listed):
        raise ConfigError(f"config.json: layer_types must hold words, not {short(list(listed))}.")
    layers = facts.layers if facts.has("num_hidden_layers") else len(listed)
    if len(listed) < layers:
        raise ConfigError(
            f"config.json: layer_types has {len(listed)} entries, fewer than the {layers} layers."
        )
    return [str(item) for item in listed[:layers]]


def _last_of(facts: Facts, rule: Mapping[str, Any], layers: int) -> list[str]:
    """The last of every N layers attends fully."""
    pattern = facts.get(str(rule.get("key", "")))
    if isinstance(pattern, str):
        return _spelled(pattern, layers)
    every = _every(facts, rule)
    other = str(rule.get("other", SLIDING))
    if other == SLIDING and "sliding_window" in facts.values and facts.get("sliding_window") is None:
        return [FULL] * layers
    kinds = [other if (index + 1) % every else FULL for index in range(layers)]
    if rule.get("last_full"):
        kinds[-1] = FULL
    if rule.get("first_full"):
        kinds[0] = FULL
    return kinds


def _first_of(facts: Facts, rule: Mapping[str, Any], layers: int) -> list[str]:
    every = _every(facts, rule)
    other = str(rule.get("other", SLIDING))
    return [other if index % every else FULL for index in range(layers)]


def _from_end(facts: Facts, rule: Mapping[str, Any], layers: int) -> list[str]:
    every = _every(facts, rule)
    return [SLIDING if (layers - 1 - index) % every else FULL for index in range(layers)]


def _from_layer(facts: Facts, rule: Mapping[str, Any], layers: int) -> list[str]:
    """Qwen: the layers from `max_window_layers` on have a window, if it is switched on."""
    first = facts.int("max_window_layers", default=layers)
    windowed = facts.has("sliding_window") and _switched_on(facts, rule)
    return [SLIDING if windowed and index >= first else FULL for index in range(layers)]


def _odd_below(facts: Facts, rule: Mapping[str, Any], layers: int) -> list[str]:
    """Qwen2-MoE: every other layer below `max_window_layers`, if switched on."""
    first = facts.int("max_window_layers", default=layers)
    windowed = _switched_on(facts, rule)
    return [SLIDING if windowed and (index + 1) % 2 and index < first else FULL for index in range(layers)]


def _all_sliding(facts: Facts, rule: Mapping[str, Any], layers: int) -> list[str]:
    return [SLIDING if facts.has("sliding_window") else FULL] * layers


def _all(facts: Facts, rule: Mapping[str, Any], layers: int) -> list[str]:
    return [str(rule["word"])] * layers


def _period(facts: Facts, rule: Mapping[str, Any], layers: int) -> list[str]:
    """Jamba: one attention layer per period, at an offset."""
    period = facts.int("attn_layer_period", default=8, low=1)
    offset = facts.int("attn_layer_offset", default=4)
    return ["attention" if index % period == offset else "mamba" for index in range(layers)]


def _counted_from_one(facts: Facts, rule: Mapping[str, Any], layers: int) -> list[str]:
    """Kimi Linear: its lists count layers from 1."""
    part = facts.part("linear_attn_config")
    full = (part.list("full_attn_layers") if part else None) or ()
    linear = (part.list("kda_layers") if part else None) or ()
    if not linear:
        return [FULL] * layers if not full else [FULL if i + 1 in full else LINEAR for i in range(layers)]
    return [LINEAR if index + 1 in linear else FULL for index in range(layers)]


def _indices(facts: Facts, rule: Mapping[str, Any], layers: int) -> list[str]:
    """LFM2 and Bamba: the layers that attend are listed by index; the others convolve, or keep a state."""
    full = facts.list(str(rule.get("key", "full_attn_idxs")))
    other = str(rule.get("other", "conv"))
    return [FULL if full is None or index in full else other for index in range(layers)]


def _letters(facts: Facts, rule: Mapping[str, Any], layers: int) -> list[str]:
    pattern = facts.text("hybrid_override_pattern")
    if not pattern:
        return ["mamba", "moe", "attention", "mlp"]
    if len(pattern) > LARGEST_LAYER_COUNT:
        raise ConfigError(
            f"config.json: hybrid_override_pattern has {len(pattern)} letters, out of any range."
        )
    return _spelled(pattern, len(pattern))


def _spelled(pattern: str, layers: int) -> list[str]:
    unknown = next((letter for letter in pattern if letter not in LETTERS), None)
    if unknown is not None or not pattern:
        raise ConfigError(
            f"config.json: {short(pattern)} is no layer pattern; it may hold {', '.join(LETTERS)}."
        )
    return [LETTERS[pattern[index % len(pattern)]] for index in range(layers)]


def _every(facts: Facts, rule: Mapping[str, Any]) -> int:
    key = str(rule.get("key", ""))
    return facts.int(key, default=int(rule["every"]), low=1) if key else int(rule["every"])


def _switched_on(facts: Facts, rule: Mapping[str, Any]) -> bool:
    switch = rule.get("switch")
    return switch is None or facts.flag(str(switch))


def window_switched_off(facts: Facts, model_type: str) -> bool:
    """True where the class drops `sliding_window` because its switch is off (Qwen)."""
    rule = _rules().get(model_type)
    return rule is not None and "switch" in rule and not facts.flag(str(rule["switch"]))


RULES: Mapping[str, Rule] = {
    "last_of": _last_of,
    "first_of": _first_of,
    "from_end": _from_end,
    "from_layer": _from_layer,
    "odd_below": _odd_below,
    "all_sliding": _all_sliding,
    "all": _all,
    "period": _period,
    "counted_from_one": _counted_from_one,
    "indices": _indices,
    "letters": _letters,
}
