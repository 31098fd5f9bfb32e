"""A shell of IPython without a kernel, and a real kernel, for tests of the notebook."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from IPython.core.interactiveshell import ExecutionResult, InteractiveShell
from jupyter_client.manager import KernelManager
from traitlets.config import Config


class Shell:
    """A shell that has loaded the extension."""

    def __init__(self, folder: str) -> None:
        config = Config()
        config.HistoryManager.enabled = False
        config.InteractiveShell.colors = "nocolor"
        self.ip = InteractiveShell(config=config, ipython_dir=folder)
        self.names = self.ip.user_ns

    def ran(self, cell: str) -> ExecutionResult:
        """Run a cell that must not fail."""
        result = self.ip.run_cell(cell)
        result.raise_error()
        return result


@dataclass
class Reply:
    """What running a cell gave: its status, and every message of its outputs in order."""

    status: str = ""
    error: dict[str, Any] = field(default_factory=dict)
    outputs: list[dict[str, Any]] = field(default_factory=list)

    def texts(self, *kinds: str) -> list[str]:
        """Return the plain texts of displays and results, or of some kinds of messages."""
        return [
            one["content"]["data"]["text/plain"]
            for one in self.outputs
            if one["msg_type"]
            in (kinds or ("display_data", "update_display_data", "execute_result"))
        ]

    @property
    def printed(self) -> str:
        """What was written to standard output."""
        return "".join(
            one["content"]["text"] for one in self.outputs if one["msg_type"] == "stream"
        )


class Kernel:
    """A real kernel in a process of its own, without a port."""

    def __init__(self, folder: Path) -> None:
        self.manager = KernelManager(transport="ipc", ip=str(folder / "k"))
        environment = {**os.environ, "IPYTHONDIR": str(folder)}
        self.manager.start_kernel(cwd=str(folder), env=environment)
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=120)

    def close(self) -> None:
        """End the process."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.context.term()

    def run(self, code: str, on_output: Callable[[dict[str, Any]], object] | None = None) -> Reply:
        """Run a cell, whatever comes of it."""
        reply = Reply()

        def take(message: dict[str, Any]) -> None:
            if message["msg_type"] in ("status", "execute_input"):
                return
            reply.outputs.append(message)
            if on_output is not None:
                on_output(message)

        answer = self.client.execute_interactive(
            code, timeout=120, output_hook=take, allow_stdin=False
        )
        reply.status, reply.error = answer["content"]["status"], answer["content"]
        return reply

    def ran(self, code: str) -> Reply:
        """Run a cell that must not fail."""
        reply = self.run(code)
        assert reply.status == "ok", "\n".join(reply.error["traceback"])
        return reply

    def value(self, expression: str) -> Any:
        """Return the value of an expression of plain Python values."""
        return ast.literal_eval(self.ran(expression).texts("execute_result")[-1])
