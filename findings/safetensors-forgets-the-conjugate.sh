#!/usr/bin/env bash
# safetensors 0.8.0 with PyTorch 2.13.0: a complex tensor that is conjugated lazily is saved without its conjugation.
#
# A good guess: what is written are the values that the tensor has, or it is refused, as other tensors that are views are.
# Seen: `Tensor.conj()` sets a mark on a view of the same memory, and the memory is what is written: 1-2j comes back as
# 1+2j, without a warning. The same tensor comes back right once `resolve_conj()` has written the values out.
#
# What follows: resolve conjugation (and negation) before saving.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6 torch==2.13.0
"$folder/env/bin/python" - <<'PYTHON'
import torch
from safetensors.torch import load, save

conjugated = torch.tensor([1 + 2j]).conj()
seen = {
    "as it is": load(save({"weight": conjugated}))["weight"].item(),
    "resolved": load(save({"weight": conjugated.resolve_conj()}))["weight"].item(),
}
print(f"the tensor has {conjugated.item()}; read back: {seen}")
assert conjugated.item() == 1 - 2j
assert seen == {"as it is": 1 + 2j, "resolved": 1 - 2j}, "this has changed"
PYTHON
