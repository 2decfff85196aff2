"""A worker for the tests, as a process of its own: `python tests/e2e/job_worker.py FILE FOLDER`.

What a prompt says is done: `die`, `fail`, `break`, `wait` (until FOLDER has a file `go`), or
anything else, which is the result. Each job that is begun leaves a line in FOLDER/begun.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from gateway.jobs.worker import Failed, Task
from gateway.worker import run


async def generate(task: Task) -> dict[str, Any]:
    folder, prompt = Path(sys.argv[2]), task.input["prompt"]
    with (folder / "begun").open("a") as told:
        told.write(f"{task.id} {task.attempt} {os.getpid()}\n")
    if prompt == "die":
        os._exit(1)
    if prompt == "fail":
        raise Failed("there is no such thing")
    if prompt == "break":
        raise RuntimeError("a secret of the worker")
    await task.progress(50, "halfway")
    while prompt == "wait" and not (folder / "go").exists():  # noqa: ASYNC110 - another process's state
        await asyncio.sleep(0.02)
    names = {"correlation_id": task.correlation_id, "traceparent": task.traceparent}
    return {"text": prompt, "attempt": task.attempt, **names}


async def explain(task: Task) -> dict[str, Any]:
    return {"explanation": task.input["symbol"], "sources": ["a test"], **task.input}


if __name__ == "__main__":
    run({"generate": generate, "explanation": explain}, config=Path(sys.argv[1]), grace=0.5)
