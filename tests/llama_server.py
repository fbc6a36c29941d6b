"""A real local server for tests: llama.cpp's own HTTP server, in a process of its own, on a tiny model.

    with LlamaServer() as server:
        ...  # server.url; server.signal(signal.SIGSTOP)

Run as a program it is that process: `python llama_server.py MODEL CONTEXT` prints its address and serves until its input ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tiny_model import write_model

CONTEXT = 16_384


class LlamaServer:
    """See the module. It reads `context` tokens, and serves two requests at once."""

    def __init__(self, context: int = CONTEXT) -> None:
        self.context, self.url = context, ""

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="fleetgate-llama-")
        model = Path(self._folder.name, "tiny.gguf")
        write_model(model, self.context)
        command = [sys.executable, __file__, str(model), str(self.context)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url.startswith("http://"), f"the server ended with {self._process.poll()} at start"
        return self

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()
        self._folder.cleanup()


def _serve(model: str, context: int) -> None:
    import xllamacpp  # type: ignore[import-untyped]  # in the process of the server alone

    params: Any = xllamacpp.CommonParams()
    params.model.path, params.model_alias = model, {"tiny"}
    params.n_ctx, params.n_parallel, params.kv_unified = context, 2, True
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.n_threads_http, params.cpuparams.n_threads = 6, 1
    params.warmup, params.fit_params, params.use_jinja = False, False, True
    server: Any = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
