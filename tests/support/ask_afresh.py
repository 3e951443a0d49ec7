"""A process without Errata that loads exports with the public libraries and writes their answers to files.

``python -m tests.support.ask_afresh JOBS.json``: a list of ``{"base", "adapter", "out", "ids", "prompts"}``. An adapter
may be null. ``out`` gets the logits of ``ids``; a JSON file in the same folder gets the greedy
continuations of the prompts.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

NUM_TOKENS = 8


def ask(*jobs: dict[str, Any], folder: Path) -> list[tuple[Tensor, list[str]]]:
    """Logits and texts of each job, from one fresh process."""
    reported = [
        {"ids": [], "prompts": [], "adapter": None, **job, "out": str(folder / f"{i}")} for i, job in enumerate(jobs)
    ]
    file = folder / "jobs.json"
    file.write_text(json.dumps(reported))
    command = [sys.executable, "-m", "tests.support.ask_afresh", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [
        (load_file(f"{job['out']}.safetensors")["logits"], json.loads(Path(f"{job['out']}.json").read_text()))
        for job in reported
    ]


def _answer(job: dict[str, Any]) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(job["base"], **({"dtype": job["dtype"]} if "dtype" in job else {}))
    if job["adapter"] is not None:
        model = PeftModel.from_pretrained(model, job["adapter"])
    logits = torch.empty(0)
    if job["ids"]:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor(job["ids"])).logits
    save_file({"logits": logits.contiguous()}, f"{job['out']}.safetensors")
    texts = []
    if job["prompts"]:
        tokenizer = AutoTokenizer.from_pretrained(job["base"])
        for prompt in job["prompts"]:
            given = tokenizer(prompt, return_tensors="pt")
            written = model.generate(**given, max_new_tokens=NUM_TOKENS, do_sample=False)
            new = written[0, given["input_ids"].shape[1] :]
            texts.append(tokenizer.decode(new, skip_special_tokens=True))
    Path(f"{job['out']}.json").write_text(json.dumps(texts))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for wanted in json.loads(Path(sys.argv[1]).read_text()):
        _answer(wanted)
