"""``errata generate`` and ``errata score``: query the model."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from service.cli.options import JsonOption, KeyOption, UrlOption, open_client
from service.cli.output import print_json, printable, stdout, table

PromptArgument = Annotated[str, typer.Argument(help="Text to continue.")]
VersionOption = Annotated[str | None, typer.Option(help="Version to query instead of the live one, as v12.")]


def generate(
    prompt: PromptArgument,
    *,
    max_new_tokens: Annotated[int | None, typer.Option(help="Largest number of tokens. Default: 32.")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="0 decodes greedily and is reproducible. Default: 0.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Sample from the most likely tokens with this total probability. Default: 1.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed that makes sampling reproducible.")] = None,
    version: VersionOption = None,
    min_version: Annotated[
        str | None,
        typer.Option(help="Wait until this version or one derived from it is live, so that you read your own edits."),
    ] = None,
    stop: Annotated[list[str] | None, typer.Option(help="Stop before this text; repeatable.")] = None,
    logprobs: Annotated[
        int | None, typer.Option(help="With --json: number of most likely tokens to list per position.")
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print each piece as soon as it is generated.")] = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the model's continuation of PROMPT and nothing else."""
    options = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "seed": seed,
        "version": version,
        "min_version": min_version,
        "stop": stop or None,
        "logprobs": logprobs,
    }
    with open_client(url, api_key) as client:
        if stream:
            for piece in client.stream(prompt, **options):
                print(json.dumps(piece.model_dump(exclude_unset=True)) if as_json else printable(piece.text), end="")
                print(end="\n" if as_json or piece.finish_reason else "", flush=True)
            return
        answer = client.generate(prompt, **options)
    if as_json:
        print_json(answer)
    else:
        print(printable(answer.text.strip(" ")))


def score(
    prompt: PromptArgument,
    target: Annotated[str, typer.Argument(help="Text to compute the probability of.")],
    *,
    version: VersionOption = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the probability of TARGET after PROMPT."""
    with open_client(url, api_key) as client:
        result = client.score(prompt, target, version=version)
    if as_json:
        print_json(result)
        return
    columns = ("probability", "log probability", "rank of first token", "first choice throughout", "version")
    taken = "yes" if result.greedy_match else "no"
    stdout().print(table(columns, [(result.probability, result.logprob, result.rank, taken, result.version)]))
