"""Writes gguf/tiny.gguf: a Llama of one layer with random weights. Needs gguf 0.19."""

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize

WIDTH, INNER, TOKENS = 32, 64, 12
draw = np.random.default_rng(1)
out = GGUFWriter(str(Path(__file__).parent / "gguf" / "tiny.gguf"), "llama")
out.add_block_count(1)
out.add_context_length(64)
out.add_embedding_length(WIDTH)
out.add_feed_forward_length(INNER)
out.add_head_count(2)
out.add_head_count_kv(1)
out.add_layer_norm_rms_eps(1e-5)
out.add_rope_freq_base(10000.0)
out.add_tokenizer_model("gpt2")
out.add_tokenizer_pre("smollm")
out.add_token_list(["<|im_start|>", "<|im_end|>", "a", "b", "c", "ab", "abc", "Ġ", "Ġa", "1", "2", "Ċ"])
out.add_token_types([3, 3] + [1] * 10)
out.add_token_merges(["a b", "ab c", "Ġ a"])
out.add_bos_token_id(0)
out.add_eos_token_id(1)
out.add_chat_template("{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}")
shapes = {
    "token_embd.weight": (TOKENS, WIDTH),
    "output_norm.weight": (WIDTH,),
    "blk.0.attn_norm.weight": (WIDTH,),
    "blk.0.attn_q.weight": (WIDTH, WIDTH),
    "blk.0.attn_k.weight": (WIDTH // 2, WIDTH),
    "blk.0.attn_v.weight": (WIDTH // 2, WIDTH),
    "blk.0.attn_output.weight": (WIDTH, WIDTH),
    "blk.0.ffn_norm.weight": (WIDTH,),
    "blk.0.ffn_gate.weight": (INNER, WIDTH),
    "blk.0.ffn_up.weight": (INNER, WIDTH),
    "blk.0.ffn_down.weight": (WIDTH, INNER),
}
kinds = ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]
for at, (name, shape) in enumerate(shapes.items()):
    values = draw.standard_normal(shape).astype(np.float32)
    if len(shape) == 1:
        out.add_tensor(name, values)
    else:
        kind = GGMLQuantizationType[kinds[at % len(kinds)]]
        out.add_tensor(name, quantize(values, kind), raw_dtype=kind)
out.write_header_to_file()
out.write_kv_data_to_file()
out.write_tensors_to_file()
out.close()
