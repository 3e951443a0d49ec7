"""Writes the description of an export: ``errata.json`` for programs and ``README.md``, a model card, for people.

The authors of edits are left out, because an export may leave the organisation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from editing_core.edits import AcceptedEdit
from editing_core.errors import StoreDamaged
from editing_core.versions.measures import recorded

FORMAT = 1
RECORD = "errata.json"
CARD = "README.md"
NUM_LISTED = 200
"""Largest number of edits in the card. The record contains all edits."""
_MARKS = frozenset("\\`*_[]|<>#")

_USE = {
    "hf": (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'model = AutoModelForCausalLM.from_pretrained("{folder}")\n'
        'tokenizer = AutoTokenizer.from_pretrained("{folder}")'
    ),
    "peft": (
        "from peft import PeftModel\n"
        "from transformers import AutoModelForCausalLM\n\n"
        'base = AutoModelForCausalLM.from_pretrained("{base}", dtype="{served_dtype}")\n'
        'model = PeftModel.from_pretrained(base, "{folder}")'
    ),
}
Record = dict[str, Any]


def exported_edit(accepted: AcceptedEdit) -> Record:
    """Return the exported fields of an edit."""
    edit = accepted.edit
    return {
        "id": accepted.id,
        "subject": edit.subject,
        "prompt": edit.prompt,
        "target_new": edit.target_new,
        "target_true": edit.target_true,
        "relation": edit.relation,
        "source": edit.source,
        "created": accepted.created,
    }


def exported_checks(checks: Mapping[str, Any]) -> Record:
    """Return the exported part of the checks: everything except the texts of dropped edits."""
    shown = dict(checks)
    if "culprits" in shown:
        shown["culprits"] = [{name: row[name] for name in ("id", "limits")} for row in shown["culprits"]]
    return shown


def write_card(folder: Path, record: Record) -> None:
    """Write the record and the card into the folder of the weights."""
    text = json.dumps({"format": FORMAT, **record}, ensure_ascii=False, indent=1, allow_nan=False)
    (folder / RECORD).write_text(text + "\n", encoding="utf-8")
    (folder / CARD).write_text(card_text(record), encoding="utf-8")


def read_record(folder: Path) -> Record:
    """Read the record of a finished export. Raises StoreDamaged if the folder has none."""
    try:
        record = json.loads((folder / RECORD).read_bytes())
    except (OSError, ValueError):
        record = None
    if not isinstance(record, dict) or record.pop("format", None) != FORMAT:
        raise StoreDamaged(f"{folder} is not a complete export: remove it and export again")
    return record


def card_text(record: Record) -> str:
    """Return the text of the model card."""
    sections = (_head(record), _body(record), _edits(record), _checks(record))
    return "\n".join(line for section in sections for line in (*section, "")).rstrip() + "\n"


def _head(record: Record) -> Iterator[str]:
    is_adapter = record["kind"] == "peft"
    yield "---"
    if record["base"]["revision"] is not None:
        yield f"base_model: {record['base']['source']}"
    yield f"library_name: {'peft' if is_adapter else 'transformers'}"
    yield "tags: [errata, memit, knowledge-editing]"
    yield "---"
    yield ""
    what = "a LoRA adapter" if is_adapter else "a full checkpoint"
    yield f"# {plain(record['base']['source'])} with {_count(record['num_edits'], 'edit')}"
    yield ""
    yield (
        f"Version {record['version']} of an Errata store as {what}: the base model with facts exchanged by MEMIT (Meng "
        "et al., 2023). The base model's licence holds."
    )


def _body(record: Record) -> Iterator[str]:
    base = record["base"]
    yield "## Base"
    yield ""
    yield f"- model: {plain(base['source'])}" + (f", commit {base['revision']}" if base["revision"] else "")
    yield f"- fingerprint: {base['fingerprint']}"
    yield f"- digest of the edited matrices as served: {record['digest']}; served in {record['served_dtype']}"
    yield ""
    yield "## Use"
    yield ""
    yield "```python"
    yield _USE[record["kind"]].format(
        folder="FOLDER", base=base["source"] if base["revision"] else "BASE", served_dtype=record["served_dtype"]
    )
    yield "```"
    yield ""
    yield from _precision(record)


def _precision(record: Record) -> Iterator[str]:
    yield "## Precision"
    yield ""
    yield _precision_words(record)
    if not record["matrices"]:
        return
    yield ""
    yield "| matrix | change ‖Δ‖/‖W‖ | lost of ‖Δ‖ |" + (" rank needed |" if record["kind"] == "peft" else "")
    yield "|---|---:|---:|" + ("---:|" if record["kind"] == "peft" else "")
    for name, found in record["matrices"].items():
        rank = f" {found['needed_rank']} |" if "needed_rank" in found else ""
        yield f"| {plain(name)} | {found['change']:.3g} | {found['lost']:.2g} |{rank}"


def _precision_words(record: Record) -> str:
    loses = record["dtype"] != "float32" or any(found["lost"] for found in record["matrices"].values())
    if record["kind"] == "peft":
        loses = any(found["needed_rank"] > record["rank"] for found in record["matrices"].values())
    words = _PRECISION[record["kind"], not loses]
    if not record["is_exact"] and record["served_dtype"] != "float32":
        words += _OTHERWISE_SERVED[record["kind"]]
    elif record["kind"] == "peft" and not loses:
        words += _LAST_BITS
    return words.format(dtype=record["dtype"], rank=record.get("rank"), served_dtype=record["served_dtype"])


_PRECISION = {
    ("hf", True): (
        "All in {dtype}. The edited matrices are the served ones bit for bit, the others are the base's: where the "
        "version is served in {dtype} too, this checkpoint computes its logits exactly."
    ),
    ("hf", False): (
        "All in {dtype}, rounded where the base or the edited matrices were wider. That costs the edits a part of "
        "their change, given below as ‖rounded − served‖/‖Δ‖."
    ),
    ("peft", True): (
        "Rank {rank}, which is all that the change needs: what is lost is no more than float32 rounds anyway."
    ),
    ("peft", False): (
        "Rank {rank}, less than the change needs: the part given below as ‖B A − Δ‖/‖Δ‖ is lost, and with it perhaps "
        "some of the edits."
    ),
}
_LAST_BITS = (
    " Logits differ from the version's in their last bits, since W x + B (A x) is not added up as (W + B A) x is."
)
_OTHERWISE_SERVED = {
    "hf": (
        " The version is served in {served_dtype} with its edited matrices in float32: its logits differ from this "
        "checkpoint's by what one of them rounds and the other does not."
    ),
    "peft": (
        " The version is served in {served_dtype} with whole edited matrices, and the base with this adapter rounds "
        "W x to {served_dtype} before it adds B (A x): their logits differ by more than their last bits."
    ),
}


def _edits(record: Record) -> Iterator[str]:
    edits: Sequence[Mapping[str, Any]] = record["edits"]
    if not edits:
        return
    lost = set((record["recheck"] or {}).get("lost", ()))
    yield "## Edits"
    yield ""
    yield "| prompt | new object | instead of |" + (" no longer holds |" if record["recheck"] else "")
    yield "|---|---|---|" + ("---|" if record["recheck"] else "")
    for edit in edits[:NUM_LISTED]:
        prompt = edit["prompt"].replace("{}", edit["subject"], 1)
        mark = f" {'×' if edit['id'] in lost else ''} |" if record["recheck"] else ""
        yield f"| {plain(prompt)} | {plain(edit['target_new'])} | {plain(edit['target_true'] or '')} |{mark}"
    if len(edits) > NUM_LISTED:
        yield ""
        yield f"and {len(edits) - NUM_LISTED} more, all of them in `{RECORD}`."


def _checks(record: Record) -> Iterator[str]:
    yield "## Checks"
    yield ""
    if recheck := record["recheck"]:
        yield (
            f"- asked again as exported: {recheck['exported']} of {_count(recheck['total'], 'edit')} take, "
            f"{recheck['served']} as served"
            + (f"; no longer: {', '.join(recheck['lost'][:NUM_LISTED])}" if recheck["lost"] else "")
        )
    elif record["edits"]:
        yield "- not asked again: nothing was rounded away"
    yield from _checks_of_version(record["checks"])


def _checks_of_version(checks: Mapping[str, Any]) -> Iterator[str]:
    """Yield the results of the checks before the version went live. Older versions may have fewer results."""
    for name, words in (
        ("reliability", "new edits that hold"),
        ("specificity", "neighbours that kept their answer"),
        ("earlier", "earlier edits that still held"),
    ):
        found = recorded(checks, name)
        if isinstance(found, Mapping) and found.get("total"):
            yield f"- before it went live, {words}: {found['count']} of {found['total']}"
    perplexity = checks.get("perplexity")
    if isinstance(perplexity, Mapping) and perplexity.get("candidate") and perplexity.get("original"):
        yield f"- perplexity on held-out text: {perplexity['original']:.3f} → {perplexity['candidate']:.3f}"
    if isinstance(drift := checks.get("drift"), int | float):
        yield f"- drift from the original on ordinary prompts: {drift:.4f} nats"


def plain(text: str) -> str:
    """Escape users' text for Markdown and put it on one line."""
    return "".join(f"\\{char}" if char in _MARKS else char for char in " ".join(text.split()))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
