"""Memory of LoRA slots: two small matrices per wrapped matrix and adapter, allocated with the model.

Source: vLLM 0.33 `lora/layers/{column_parallel_linear,row_parallel_linear,replicated_linear,fused_moe,
logits_processor}.py` (`create_lora_weights`), `lora/model_manager.py` (which modules are wrapped).
"""

from __future__ import annotations

from wizard.models.modules import Experts, Linear, Module, Vocabulary
from wizard.planning.sharding import Sizer


def lora_elements(module: Module, sizer: Sizer, rank: int, *, fully_sharded: bool) -> int:
    """Elements of one adapter of `rank` on one module of a rank; 0 for what vLLM doesn't wrap."""
    tp = sizer.layout.tp if fully_sharded else 1
    match module:
        case Linear():
            shard = sizer.shard(module)
            narrow = -(-rank // tp) if module.split != "row" else rank
            rows = sum(shard.outputs)
            down = len(shard.outputs) * narrow * shard.inputs
            return down + rank * (-(-rows // tp) if module.split == "row" else rows)
        case Experts():
            experts = sizer.expert_shard(module)
            up = experts.shards * (-(-rank // tp) * experts.hidden + rank * experts.intermediate)
            down = rank * experts.intermediate + rank * -(-experts.hidden // tp)
            return experts.count * (up + down)
        case Vocabulary(head=True):
            return rank * (module.width + module.rows)  # the logits are gathered first: never cut
        case _:
            return 0
