"""Gateways of others, run beside ours where they are installed: nothing here is a dependency of Fleetgate.

LiteLLM: `pip install "litellm[proxy]"` in a venv of its own, its command on PATH or named by `$LITELLM_BIN`. Portkey: Node, and the
gateway's package installed by `npm install @portkey-ai/gateway`, its folder named by `$PORTKEY_DIR`. Each is set up in the simplest way
that forwards to the stub: one worker, no database, no logging.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from benchmarks.bodies import KEY
from benchmarks.process import NotReady, free_port, start
from benchmarks.targets import Start, Target, started

LITELLM = """
model_list:
  - model_name: "*"
    litellm_params: {{model: "openai/*", api_base: "http://127.0.0.1:{upstream}/v1", api_key: stub}}
litellm_settings: {{telemetry: false, num_retries: 0}}
general_settings: {{master_key: {key}}}
"""


def litellm(upstream: int, core: int, folder: Path) -> Target:
    """LiteLLM's proxy."""
    binary = os.environ.get("LITELLM_BIN") or shutil.which("litellm")
    if binary is None:
        raise NotReady("no litellm on PATH, and no $LITELLM_BIN")
    folder.mkdir(parents=True)
    config, port = folder / "litellm.yaml", free_port()
    config.write_text(LITELLM.format(upstream=upstream, key=KEY))
    command = [binary, "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    return started("litellm", port, start(command, core, folder / "litellm.log", quiet))


def portkey(upstream: int, core: int, folder: Path) -> Target:
    """Portkey's gateway: where it forwards to stands in headers of each request."""
    home = os.environ.get("PORTKEY_DIR")
    script = Path(home or "") / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    if home is None or not script.is_file() or shutil.which("node") is None:
        raise NotReady("no $PORTKEY_DIR with @portkey-ai/gateway in it, or no node")
    port = free_port()
    command = ["node", str(script), f"--port={port}", "--headless"]
    target = started("portkey", port, start(command, core, folder / "portkey.log", {"NODE_ENV": "production"}))
    target.headers = f"x-portkey-provider: openai\r\nx-portkey-custom-host: http://127.0.0.1:{upstream}/v1\r\n".encode()
    return target


PEERS: Mapping[str, Start] = {"litellm": litellm, "portkey": portkey}
