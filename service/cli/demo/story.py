"""The steps of the demo: ask, correct, ask again, roll back, ask once more. Each step checks its result."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from service.cli.demo.corrections import Correction, corrections
from service.cli.output import CommandFailed, table
from service.cli.waiting import wait_visibly
from service.client.client import Client

_NUM_CORRECTIONS = 6
_MIN_CORRECTIONS = 5
_MAX_NEW_TOKENS = 10
_SERVED_WITHIN_SECONDS = 30.0
_MIN_SHARE_FOLLOWED = 0.5
"""Smallest share of corrections that must hold in another wording. The benchmark measures the exact share."""


@dataclass(frozen=True, slots=True)
class Answers:
    """The model's answers to one correction's prompt, its paraphrase and its neighbour."""

    prompt: str
    paraphrase: str
    neighbor: str


def tell(client: Client, console: Console) -> None:
    """Run the steps and show them on ``console``. Raises CommandFailed at the first result that is not as expected."""
    earlier = _live_version(client)
    known = [(item, answers) for item in corrections() if _knows(item, answers := _ask(client, item, earlier))]
    chosen = [item for item, _ in known[:_NUM_CORRECTIONS]]
    before = [answers for _, answers in known[:_NUM_CORRECTIONS]]
    _require(len(chosen) >= _MIN_CORRECTIONS, f"the model knows only {len(chosen)} of the facts beforehand")
    _show_before(console, chosen, before)

    version = _correct(client, console, chosen)
    await_served(client, version)
    after = [_ask(client, item, version) for item in chosen]
    _show_after(console, chosen, before, after)
    _check_after(console, chosen, after)

    done = client.promote(earlier)
    await_served(client, earlier)
    _require(len(done.rolled_back) == len(chosen), f"{len(done.rolled_back)} edits rolled back, not {len(chosen)}")
    again = [_ask(client, item, earlier) for item in chosen]
    _show_again(console, chosen, again, earlier)
    for item, old, new in zip(chosen, before, again, strict=True):
        _require(
            old == new, f"after the rollback {item.prompt!r} is answered {new.prompt!r}, before it was {old.prompt!r}"
        )


def _live_version(client: Client) -> str:
    version = client.generate("The", max_new_tokens=1).version
    _require(version is not None, "the answer does not say which version made it")
    assert version is not None
    return version


def await_served(client: Client, version: str) -> None:
    """Wait until this version answers. The service checks for a new live version many times a second.

    Raises CommandFailed if the version does not answer in time.
    """
    deadline = time.monotonic() + _SERVED_WITHIN_SECONDS
    while _live_version(client) != version:
        _require(time.monotonic() < deadline, f"{version} is live, and {_live_version(client)} still answers")
        time.sleep(0.05)


def _ask(client: Client, item: Correction, version: str) -> Answers:
    """Ask the live version. Raises CommandFailed if another version than ``version`` answers."""
    texts = []
    for prompt in (item.prompt, item.paraphrase, item.neighbor_prompt):
        answer = client.generate(prompt, max_new_tokens=_MAX_NEW_TOKENS)
        _require(answer.version == version, f"{prompt!r} was answered by {answer.version}, not by {version}")
        texts.append(_first_sentence(answer.text))
    return Answers(*texts)


def _knows(item: Correction, answers: Answers) -> bool:
    neighbor_true = answers.neighbor.startswith(item.neighbors[0].object)
    return neighbor_true and all(text.startswith(item.fact.object) for text in (answers.prompt, answers.paraphrase))


def _correct(client: Client, console: Console, chosen: Sequence[Correction]) -> str:
    console.print(f"\nSending {len(chosen)} corrections as one batch …")
    started = time.monotonic()
    batch = client.submit_edits([item.as_edit() for item in chosen])
    batch = wait_visibly(client, batch.id, console)
    _require(batch.status == "applied", f"the batch is {batch.status}: {batch.error}")
    assert batch.version is not None
    console.print(f"Applied as version {batch.version}, {time.monotonic() - started:.0f} s after it was sent.")
    return batch.version


def _check_after(console: Console, chosen: Sequence[Correction], after: Sequence[Answers]) -> None:
    taken = [new.prompt.startswith(item.new_object) for item, new in zip(chosen, after, strict=True)]
    followed = [new.paraphrase.startswith(item.new_object) for item, new in zip(chosen, after, strict=True)]
    kept = [new.neighbor.startswith(item.neighbors[0].object) for item, new in zip(chosen, after, strict=True)]
    console.print(
        f"Of {len(chosen)} corrections {sum(taken)} took; {sum(followed)} hold in the other wording too; "
        f"{sum(kept)} neighbours are as they were."
    )
    whole = sum(map(min, taken, kept))
    _require(whole >= _MIN_CORRECTIONS, f"only {whole} corrections took and left their neighbour alone")
    _require(sum(followed) >= _MIN_SHARE_FOLLOWED * len(chosen), f"only {sum(followed)} other wordings follow")


def _show_before(console: Console, chosen: Sequence[Correction], before: Sequence[Answers]) -> None:
    rows = [(item.prompt, old.prompt, item.new_object) for item, old in zip(chosen, before, strict=True)]
    console.print(table(("prompt", "the model writes", "it shall say"), rows, title="What the model believes"))


def _show_after(
    console: Console, chosen: Sequence[Correction], before: Sequence[Answers], after: Sequence[Answers]
) -> None:
    rows: list[tuple[str, str, str, str]] = []
    for item, old, new in zip(chosen, before, after, strict=True):
        rows += [
            ("corrected", item.prompt, old.prompt, new.prompt),
            ("other wording", item.paraphrase, old.paraphrase, new.paraphrase),
            ("neighbour", item.neighbor_prompt, old.neighbor, new.neighbor),
        ]
    made = table(("", "prompt", "before", "after"), rows, title="What it writes now")
    for row in made.rows[2::3]:
        row.end_section = True
    console.print(made)


def _show_again(console: Console, chosen: Sequence[Correction], again: Sequence[Answers], version: str) -> None:
    rows = [(item.prompt, answers.prompt) for item, answers in zip(chosen, again, strict=True)]
    console.print(
        table(("prompt", "the model writes"), rows, title=f"\nRolled back to {version}: the old answers again")
    )


def _first_sentence(text: str) -> str:
    """Return the first sentence of the answer, because the demo model continues with unrelated text."""
    return text.strip().split(".")[0].split("\n")[0].strip()


def _require(held: bool, otherwise: str) -> None:
    if not held:
        raise CommandFailed(otherwise)
