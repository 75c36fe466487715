"""Which routers a fused kernel for 16-bit experts knows, and therefore pads the experts for.

Sources: vLLM 0.33 `fused_moe/experts/trtllm_bf16_moe.py` (`_supports_routing_method`, `_supports_activation`),
`fused_moe/config.py` (`get_routing_method_type`), the classes' own `scoring_func` and `renormalize`.
"""

from __future__ import annotations

from wizard.models.architectures import Traits
from wizard.models.attention import switched
from wizard.models.facts import Facts

SCORING_KEYS = (
    "scoring_func",
    "score_function",
    "score_func",
    "moe_router_activation_func",
    "moe_router_activation",
)
"""Config keys of the function that scores experts."""

ACTIVATION_KEYS = ("hidden_act", "mlp_hidden_act", "hidden_activation", "activation")
KNOWN_ACTIVATIONS = frozenset({"", "silu", "relu2"})
"""An activation that no key names is SiLU."""


def kernel_routes(facts: Facts, traits: Traits) -> bool:
    """Whether TRT-LLM's kernel can choose this block's experts by itself."""
    activation = next((facts.text(key) for key in ACTIVATION_KEYS if facts.has(key)), "")
    if activation not in KNOWN_ACTIVATIONS:
        return False
    scoring = traits.scoring or next((facts.text(key) for key in SCORING_KEYS if facts.has(key)), "softmax")
    renormalised = switched(facts, traits.renormalised)
    biased = bool(traits.correction) and switched(facts, traits.correction_if)
    if scoring == "sigmoid":
        return renormalised or not biased
    return scoring == "softmax" and renormalised and not biased
