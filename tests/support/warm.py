"""Stages in processes that have their imports behind them: a test waits for the training alone.

A server is a Python that was started under a recipe's pinned variables and has imported the
libraries, nothing else. For each job it forks; the child runs the stage as `python -m
recipec_runtime` does, checks and pins included. If the job's variables are not the pinned ones, the
runtime replaces the child by a Python of its own, as it does everywhere.

Servers end with the process that started them: their standard input closes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

_servers: dict[tuple[tuple[str, str], ...], subprocess.Popen[str]] = {}
KEPT = 2
"""Servers of one test process; each holds about 300 MB."""
GRACE = 5.0
"""Seconds that processes which train together have after one of them has failed."""


def run_warm(
    stage: str, environment: Mapping[str, str], pinned: Mapping[str, str], *, cwd: Path, umask: int
) -> subprocess.CompletedProcess[str]:
    """One stage in a child of the server for the `pinned` variables."""
    (done,) = run_warm_together(stage, [environment], pinned, cwd=cwd, umask=umask)
    return done


def run_warm_together(
    stage: str,
    environments: Sequence[Mapping[str, str]],
    pinned: Mapping[str, str],
    *,
    cwd: Path,
    umask: int = -1,
) -> list[subprocess.CompletedProcess[str]]:
    """One stage in as many children as there are environments; what came of each."""
    told = [dict(environment) for environment in environments]
    job = {"stage": stage, "environments": told, "cwd": str(cwd), "umask": umask}
    server = _server(pinned)
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(job) + "\n")
    server.stdin.flush()
    answers = json.loads(server.stdout.readline() or "null")
    assert answers is not None, "the server died; run the stage by itself to see why"
    return [
        subprocess.CompletedProcess(
            [stage], answer["code"], stdout=answer["stdout"], stderr=answer["stderr"]
        )
        for answer in answers
    ]


def _server(pinned: Mapping[str, str]) -> subprocess.Popen[str]:
    key = tuple(sorted(pinned.items()))
    if key in _servers and _servers[key].poll() is None:
        _servers[key] = _servers.pop(key)
        return _servers[key]
    while len(_servers) >= KEPT:
        oldest = _servers.pop(next(iter(_servers)))
        oldest.communicate()
    runtime = Path(__file__).parents[2] / "runtime"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(runtime), **pinned}
    _servers[key] = subprocess.Popen(
        [sys.executable, __file__],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return _servers[key]


def _serve() -> None:
    """Answer jobs, one a line, until there are no more."""
    import logging

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    import peft  # noqa: F401
    import safetensors.torch  # noqa: F401
    import torch.distributed.fsdp  # noqa: F401
    import torchmetrics  # noqa: F401
    import transformers.modeling_utils  # noqa: F401
    from transformers import AutoModel, AutoTokenizer  # noqa: F401

    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)


def _answer(job: dict[str, Any]) -> list[dict[str, Any]]:
    children: dict[int, tuple[int, int]] = {}
    for environment in job["environments"]:
        out, out_end = os.pipe()
        error, error_end = os.pipe()
        child = os.fork()
        if child == 0:
            for stream in (out, error, *(end for ends in children.values() for end in ends)):
                os.close(stream)
            _stage(job, environment, out_end, error_end)
        os.close(out_end)
        os.close(error_end)
        children[child] = (out, error)
    codes: dict[int, int] = {}
    waiter = threading.Thread(target=_wait, args=(list(children), codes))
    waiter.start()
    texts = _texts([stream for streams in children.values() for stream in streams])
    waiter.join()
    return [
        {"code": codes[child], "stdout": texts[out], "stderr": texts[error]}
        for child, (out, error) in children.items()
    ]


def _wait(children: list[int], codes: dict[int, int]) -> None:
    """Wait for all. After the first that fails the others have a while to end by themselves."""
    left, timer = set(children), None
    while left:
        child, status = os.wait()
        codes[child] = os.waitstatus_to_exitcode(status)
        left.discard(child)
        if codes[child] and timer is None:
            timer = threading.Timer(GRACE, _kill, [children, codes])
            timer.start()
    if timer is not None:
        timer.cancel()
        timer.join()


def _kill(children: list[int], codes: dict[int, int]) -> None:
    for child in children:
        if child not in codes:
            os.kill(child, signal.SIGKILL)


def _texts(streams: list[int]) -> dict[int, str]:
    """What comes out of each stream until all are closed."""
    import selectors

    found = dict.fromkeys(streams, b"")
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                data = os.read(key.fd, 1 << 16)
                found[key.fd] += data
                if not data:
                    selector.unregister(key.fd)
                    os.close(key.fd)
    return {stream: text.decode(errors="replace") for stream, text in found.items()}


def _stage(job: dict[str, Any], environment: dict[str, str], out: int, error: int) -> NoReturn:
    code = 70
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (out, 1), (error, 2)):
            os.dup2(source, target)
        for fd in (nothing, out, error):
            os.close(fd)
        if job["umask"] >= 0:
            os.umask(job["umask"])
        os.chdir(job["cwd"])
        os.environ.clear()
        os.environ.update(environment)
        from recipec_runtime.launch import main

        code = main([job["stage"]])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
