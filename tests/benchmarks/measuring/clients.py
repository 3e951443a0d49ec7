"""Clients of a service that cost little themselves: raw HTTP/1.1 over asyncio, each piece of a stream with its time."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Answered:
    """One streamed answer, or a whole one as a single piece."""

    prompt: str
    text: str
    version: str
    num_tokens: int
    started: float
    times: tuple[float, ...] = field(repr=False)
    """When each piece arrived, on the clock of ``time.perf_counter``."""

    @property
    def first_seconds(self) -> float:
        """From asking to the first piece."""
        return self.times[0] - self.started

    @property
    def gaps_seconds(self) -> list[float]:
        """Between neighbouring pieces."""
        return [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]

    @property
    def seconds(self) -> float:
        """From asking to the end."""
        return self.times[-1] - self.started


class Refused(Exception):
    """An answer that is none."""


async def ask(url: str, *, stream: bool, **asked: Any) -> Answered:
    """POST /generate and read the answer. Raises Refused."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        body = json.dumps({**asked, "stream": stream}).encode()
        head = f"POST /generate HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Type: application/json\r\n"
        started = time.perf_counter()
        writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        headers = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in headers.split(b"\r\n", 1)[0]:
            raise Refused((await reader.read()).decode())
        if not stream:
            content = json.loads(await reader.read())
            times = (time.perf_counter(),)
            num_tokens = content["usage"]["completion_tokens"]
            return Answered(asked["prompt"], content["text"], content["version"], num_tokens, started, times)
        return await _streamed(reader, asked["prompt"], started)
    finally:
        writer.close()


async def _streamed(reader: asyncio.StreamReader, prompt: str, started: float) -> Answered:
    text, times = "", []
    while True:
        size = int(await reader.readline(), 16)
        event = (await reader.readexactly(size + 2)).decode()
        said: Mapping[str, Any] = json.loads(event[event.index("data: ") + len("data: ") :])
        if "usage" in said:
            return Answered(prompt, text, said["version"], said["usage"]["completion_tokens"], started, tuple(times))
        if "text" not in said:
            raise Refused(event)
        text += said["text"]
        times.append(time.perf_counter())


async def ask_together(url: str, prompts: list[str], *, stream: bool, **asked: Any) -> tuple[float, list[Answered]]:
    """All prompts at once; the seconds until the last answer, and the answers."""
    started = time.perf_counter()
    answers = await asyncio.gather(*(ask(url, stream=stream, prompt=prompt, **asked) for prompt in prompts))
    return time.perf_counter() - started, answers
