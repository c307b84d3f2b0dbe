#!/usr/bin/env bash
# transformers 5.24.0 with PyTorch 2.13.0: a layer that is appended to a model's `layers` is left out, or reads another
# layer's keys and values, without a word.
#
# A good guess: `model.layers` is an ordinary ModuleList, so a model runs the layers that lie in it.
# Seen: Llama runs the first `config.num_hidden_layers` of them: with a third layer the outputs are those of two, to the
# last bit. GPT-2 runs all, but a copied block says by `layer_idx` whose part of the cache it uses: with a cache (the
# default when generating) outputs are others than without. Both are right once the number in the configuration and, for
# GPT-2, `layer_idx` follow; the index alone is an error that names neither.
#
# What follows: whoever adds layers changes `config.num_hidden_layers` (`n_layer`) and every `layer_idx`, too, and
# compares outputs with and without a cache.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check transformers==5.24.0 numpy==2.4.6 torch==2.13.0
"$folder/env/bin/python" - <<'PYTHON'
import copy
import logging

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

logging.disable(logging.WARNING)
torch.manual_seed(0)
tokens = torch.randint(3, 90, (2, 12))


@torch.no_grad()
def logits(model, **options):
    return model(tokens, **options).logits


sizes = {"vocab_size": 99, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
llama = LlamaForCausalLM(LlamaConfig(num_hidden_layers=2, **sizes)).eval()
of_two = logits(llama)
llama.model.layers.append(copy.deepcopy(llama.model.layers[-1]))
left_out = torch.equal(logits(llama), of_two)
llama.config.num_hidden_layers = 3
print(f"Llama with a third layer gives the outputs of two: {left_out}; once the configuration says three:", end=" ")
print(torch.equal(logits(llama), of_two))
assert left_out and not torch.equal(logits(llama), of_two), "this has changed"

gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=99, n_embd=32, n_layer=2, n_head=4, n_positions=32)).eval()
for parameter in gpt2.parameters():
    torch.nn.init.normal_(parameter, std=0.2)


def cache_gap():
    """How far outputs with a cache are from those without one."""
    return float((logits(gpt2, use_cache=True) - logits(gpt2, use_cache=False)).abs().max())


gaps = {"two layers": cache_gap()}
gpt2.transformer.h.append(copy.deepcopy(gpt2.transformer.h[-1]))
gaps["a third, copied"] = cache_gap()
gpt2.transformer.h[-1].attn.layer_idx, gpt2.config.n_layer = 2, 3
gaps["both numbers follow"] = cache_gap()
print("GPT-2, outputs with a cache against those without:", {name: f"{gap:.2g}" for name, gap in gaps.items()})
assert max(gaps["two layers"], gaps["both numbers follow"]) < 1e-4 < 1e-2 < gaps["a third, copied"], "this has changed"
PYTHON
