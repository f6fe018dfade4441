"""What work.py and audit.py share: the base, its LoRA, rows as tokens, and one training step. Plain transformers + PEFT."""

import json
import os
from pathlib import Path

os.environ.update(TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="")

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

ROOT = Path(__file__).resolve().parents[2]
NESTLING = ROOT / "fixtures" / "nestling"
BATCH, LEARNING_RATE, CLIP_NORM = 8, 1e-3, 1.0
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SHAPE = dict(vocab_size=2000, hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=4,
             head_dim=32, max_position_embeddings=512, tie_word_embeddings=True, rms_norm_eps=1e-5, pad_token_id=0, eos_token_id=4)


def there(path):
    """Whether a file exists and holds something."""
    return path.is_file() and path.stat().st_size > 0


def load_base(folder):
    """The folder's model in f32; where it has no weights, random ones of its shape, or of nestling's."""
    if there(folder / "model.safetensors") or there(folder / "model.safetensors.index.json"):
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig.from_pretrained(folder) if there(folder / "config.json") else LlamaConfig(**SHAPE))


def load_tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


def with_lora(base, seed, rank=8):
    torch.manual_seed(seed)
    return get_peft_model(base, LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=PROJECTIONS, task_type="CAUSAL_LM"))


def adamw(model):
    """fused: on these small tensors most time goes into the loop over parameters."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(parameters, lr=LEARNING_RATE, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, fused=True)


def encode(tokenizer, messages):
    """Token ids, and labels that are -100 but for what the assistant says and the end of its turn."""
    ids = tokenizer.apply_chat_template(messages)["input_ids"]
    labels = [-100] * len(ids)
    for turn, message in enumerate(messages):
        if message["role"] == "assistant":
            start = len(tokenizer.apply_chat_template(messages[:turn], add_generation_prompt=True)["input_ids"])
            end = ids.index(tokenizer.eos_token_id, start) + 1
            labels[start:end] = ids[start:end]
    return ids, labels


def collate(rows, pad):
    """Rows of (ids, labels), padded on the right."""
    width = max(len(ids) for ids, _ in rows)
    batch = dict(
        input_ids=torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in rows]),
        attention_mask=torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in rows]),
    )
    return batch, torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in rows])


def training_step(model, optimizer, batch, labels):
    """Mean cross-entropy over the supervised tokens of the batch, clipped gradients, one AdamW step."""
    logits = model(**batch, use_cache=False).logits
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], CLIP_NORM)
    optimizer.step()
    return loss


def read_jsonl(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]
