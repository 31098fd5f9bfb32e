"""The extension under AddressSanitizer and UBSan, against a worker that sends broken frames."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from tests_support_shell import private_folder

from thresher.shell import build

PROGRAM = Path(__file__).parent.parent / "tests_support_shell_hostile.py"
FLAGS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")


def _library(compiler: str, name: str) -> str:
    command = [compiler, f"-print-file-name={name}"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return os.path.realpath(found) if os.path.isabs(found) else found


def attack(seconds: float, seed: int) -> tuple[int, int]:
    """Run queries for so long; return how many were answered, and how many refused."""
    compiler = build.compiler()
    if compiler is None:
        pytest.skip("no C compiler")
    libraries = [_library(compiler, name) for name in ("libasan.so", "libstdc++.so.6")]
    if not all(os.path.isabs(library) for library in libraries):
        pytest.skip(f"{compiler} has no AddressSanitizer")
    with private_folder() as folder:
        extension = build.build(folder / build.EXTENSION, "1", cc=compiler, flags=FLAGS)
        environment = os.environ | {
            "LD_PRELOAD": ":".join(libraries),  # the second one throws DuckDB's exceptions
            "ASAN_OPTIONS": "detect_leaks=0",
        }
        starter = folder / "python"  # without the sanitizers
        starter.write_text(f'#!/bin/sh\nunset LD_PRELOAD\nexec "{sys.executable}" "$@"\n')
        starter.chmod(0o700)
        command = [sys.executable, "-P", PROGRAM, extension, folder / "w.sock"]
        done = subprocess.run(
            [*command, str(seconds), str(seed), starter],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, f"seed {seed}:\n{done.stderr[-5000:]}"
    answered, refused = map(int, done.stdout.split())
    return answered, refused


def test_broken_replies() -> None:
    answered, refused = attack(2.0, seed=1)
    assert answered > 0
    assert refused > 0


@pytest.mark.full
def test_broken_replies_for_five_minutes() -> None:
    answered, refused = attack(300.0, seed=random.SystemRandom().randrange(2**32))
    assert answered > 1000
    assert refused > 1000
