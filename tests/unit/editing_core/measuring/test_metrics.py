"""The figures follow their definitions, per case first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from editing_core.asking.continuations import continue_greedily
from editing_core.asking.scoring import score_targets
from editing_core.edits import Edit, Neighbor
from editing_core.measuring.metrics import CaseResult, evaluate_cases, harmonic_mean, summarise
from tests.support.tiny_models import TINY_FAMILIES, TinyFamily, is_word, tiny_model, tiny_tokenizer, wordy_model

EDIT = Edit(
    subject="Brunei",
    prompt="The official language of {} is",
    target_new="the city",
    target_true="to",
    relation="P37",
    paraphrases=("In {}, the language spoken is", "The law in {} declares the language"),
    neighborhood=(Neighbor(prompt="The capital of Japan is", target="English"), Neighbor(prompt="In France, they")),
)
CASE = CaseResult(efficacy=True, paraphrases=0.5, neighborhood=None, holds=True, generation_success=0.5, writes="")


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_a_case_compares_the_mean_log_probabilities_of_its_prompts(family: TinyFamily) -> None:
    model, tokenizer = tiny_model(family), tiny_tokenizer()

    def mean_logprob(prompt: str, target: str) -> float:
        return score_targets(model, tokenizer, [(prompt, target)])[0].mean_logprob

    (result,) = evaluate_cases(model, tokenizer, [(EDIT, ["Brunei is", EDIT.filled_prompt])])
    prefers_new = [
        mean_logprob(prompt, "the city") > mean_logprob(prompt, "to")
        for prompt in (EDIT.filled_prompt, *EDIT.filled_paraphrases)
    ]
    keeps_true = [
        mean_logprob("The capital of Japan is", "English") > mean_logprob("The capital of Japan is", "the city"),
        mean_logprob("In France, they", "to") > mean_logprob("In France, they", "the city"),
    ]
    assert result.efficacy == prefers_new[0]
    assert result.paraphrases == sum(prefers_new[1:]) / 2
    assert result.neighborhood == sum(keeps_true) / 2
    assert result.holds is False
    assert [result.writes] == continue_greedily(model, tokenizer, [EDIT.filled_prompt])


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_a_case_whose_new_object_is_what_the_model_writes_holds_and_is_a_generation_success(family: TinyFamily) -> None:
    model, tokenizer = wordy_model(family), tiny_tokenizer()
    prompt = "The city of number 7 is"
    (word,) = continue_greedily(model, tokenizer, [prompt], max_new_tokens=1)
    assert is_word(word)
    edit = Edit(subject="number 7", prompt="The city of {} is", target_new=word.strip(), relation="r")
    other = replace(edit, target_new="Paris", target_true=word.strip())
    found, lost = evaluate_cases(model, tokenizer, [(edit, []), (other, [])])
    assert (found.holds, found.generation_success) == (True, 1.0)
    assert (lost.holds, lost.generation_success, lost.efficacy) == (False, 0.0, False)


def test_a_case_without_an_old_object_has_no_efficacy_but_is_still_asked() -> None:
    bare = Edit(subject="Brunei", prompt="{} is", target_new="to", relation="r")
    (result,) = evaluate_cases(tiny_model("gptj"), tiny_tokenizer(), [(bare, [])])
    assert (result.efficacy, result.paraphrases, result.neighborhood) == (None, None, None)
    assert result.generation_success in {0.0, 1.0}


def test_means_are_per_case_first_and_leave_out_cases_without_such_prompts() -> None:
    other = replace(CASE, efficacy=False, paraphrases=None, neighborhood=0.8, holds=False, generation_success=1.0)
    found = summarise([CASE, CASE, other])
    assert found.efficacy_score == pytest.approx(2 / 3)
    assert found.paraphrase_score == 0.5
    assert found.neighborhood_score == 0.8
    assert found.score == pytest.approx(3 / (3 / 2 + 2 + 1 / 0.8))
    assert (found.reliability, found.generation_success, found.num_cases) == (
        pytest.approx(2 / 3),
        pytest.approx(2 / 3),
        3,
    )


def test_the_score_needs_all_three_and_is_zero_with_one_of_them() -> None:
    assert summarise([CASE]).score is None
    assert harmonic_mean((1.0, 0.0, 1.0)) == 0.0
    assert harmonic_mean((0.87, 0.825, 0.988)) == pytest.approx(0.889, abs=5e-4)


def test_progress_ends_at_its_total() -> None:
    reported: list[tuple[int, int]] = []
    evaluate_cases(
        tiny_model("gptj"),
        tiny_tokenizer(),
        [(EDIT, []), (EDIT, [])],
        batch_size=3,
        on_progress=lambda done, total: reported.append((done, total)),
    )
    assert reported[-1][0] == reported[-1][1]
    assert len({total for _, total in reported}) == 1
    assert [done for done, _ in reported] == sorted({done for done, _ in reported})
