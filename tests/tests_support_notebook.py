"""A shell of IPython without a kernel, for tests of the notebook."""

from __future__ import annotations

from IPython.core.interactiveshell import ExecutionResult, InteractiveShell
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
