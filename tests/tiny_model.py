"""A model of half a megabyte with random weights, as a GGUF file: real tokens, real attention, nonsense words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

DIM, WIDE, LAYERS, HEADS = 64, 128, 2, 4
SYLLABLES = ("ba", "co", "di", "fu", "ge", "ha", "jo", "ki", "lu", "mo")
ENDS = ("ra", "ne", "ti", "so", "lu", "ma", "po", "ke")
TEMPLATE = (
    "{% for tool in tools or [] %}{{ tool | tojson }}\n{% endfor %}"
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)


def write_model(path: Path, context: int) -> None:
    """Write the model, which reads `context` tokens. The same bytes each time."""
    pieces = ["▁"] + [chr(c) for c in range(33, 127)] + [f"▁{a}{b}" for a in SYLLABLES for b in ENDS]
    special = ["<unk>", "<s>", "</s>", *[f"<0x{i:02X}>" for i in range(256)]]
    writer: Any = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("tiny")
    writer.add_context_length(context)
    writer.add_embedding_length(DIM)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(WIDE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(DIM // HEADS)
    writer.add_vocab_size(len(special) + len(pieces))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(special + pieces)
    writer.add_token_scores([0.0] * len(special) + [-float(10 - len(piece)) for piece in pieces])
    writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * len(pieces))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)
    _weights(writer, len(special), len(special) + len(pieces))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _weights(writer: Any, special: int, vocabulary: int) -> None:
    luck = np.random.default_rng(7)

    def matrix(name: str, rows: int, columns: int, scale: float) -> None:
        writer.add_tensor(name, (luck.standard_normal((rows, columns)) * scale).astype(np.float32))

    matrix("token_embd.weight", vocabulary, DIM, 1.0)
    words = (luck.standard_normal((vocabulary, DIM)) * 0.6).astype(np.float32)
    words[: special + 1] = 0  # single bytes, endings and a blank alone are hardly ever said
    writer.add_tensor("output.weight", words)
    writer.add_tensor("output_norm.weight", np.ones(DIM, np.float32))
    for layer in range(LAYERS):
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{norm}.weight", np.ones(DIM, np.float32))
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(f"blk.{layer}.{part}.weight", DIM, DIM, DIM**-0.5)
        matrix(f"blk.{layer}.ffn_gate.weight", WIDE, DIM, DIM**-0.5)
        matrix(f"blk.{layer}.ffn_up.weight", WIDE, DIM, DIM**-0.5)
        matrix(f"blk.{layer}.ffn_down.weight", DIM, WIDE, WIDE**-0.5)
