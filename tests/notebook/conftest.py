"""A shell of IPython for each test file; each test loads the extension anew."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Iterator

import pytest
from tests_support_notebook import Kernel, Shell

from thresher.opening import default_connection


@pytest.fixture(scope="module")
def one_shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    main = sys.modules["__main__"]  # which a shell takes the place of
    shell = Shell(str(tmp_path_factory.mktemp("ipython")))
    yield shell
    sys.modules["__main__"] = main
    shell.ip.atexit_operations()
    atexit.unregister(shell.ip.atexit_operations)


@pytest.fixture
def shell(one_shell: Shell) -> Iterator[Shell]:
    one_shell.ran("%load_ext thresher")
    yield one_shell
    one_shell.ran("%unload_ext thresher")
    default_connection().close()
    one_shell.ip.reset()


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    kernel = Kernel(tmp_path_factory.mktemp("k"))
    yield kernel
    kernel.close()
