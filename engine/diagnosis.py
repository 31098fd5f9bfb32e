"""What a check of the installation found: whether it is well, what it means, how to mend it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

__all__ = ["Diagnosis", "Level", "diagnosed", "output_of", "python_command", "reason"]

Level = Literal["ok", "warning", "error"]
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What one check found.

    Parameters
    ----------
    name : str
        What was checked, in a word or two.
    level : {"ok", "warning", "error"}
        A warning: something that can be used in part, or slowly. An error: it cannot be used.
    text : str
        What was found, and what that means.
    mend : str
        A command or a sentence; empty where there is nothing to do.
    seconds : float
        What the check took.
    """

    name: str
    level: Level
    text: str
    mend: str = ""
    seconds: float = 0.0


def diagnosed(checks: Mapping[str, Callable[[], Diagnosis]]) -> Iterator[Diagnosis]:
    """Run checks one after the other and yield what each finds, with its time.

    A check that fails in a way that nobody foresaw is an error that it found.
    """
    for name, check in checks.items():
        began = time.perf_counter()
        try:
            found = check()
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            found = Diagnosis(name, "error", text, "what it says is all that is known of it")
        yield replace(found, seconds=time.perf_counter() - began)


def output_of(
    command: Sequence[str], *, timeout_s: float = _TIMEOUT_S, **environment: str
) -> tuple[bool, str]:
    """Run a program and return whether it succeeded, and what it wrote.

    What could end the process that runs it, as a library of another machine does, ends only that
    program.

    Parameters
    ----------
    command : sequence of str
        The program and its arguments.
    timeout_s : float
        Seconds to wait.
    **environment : str
        Variables besides those of this process.
    """
    try:
        done = subprocess.run(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout_s,
            env={**os.environ, **environment},
        )
    except subprocess.TimeoutExpired:
        return False, f"no answer in {timeout_s:g} s"
    except OSError as error:
        return False, f"{command[0]}: {error.strerror or error}"
    told = done.stdout if done.returncode == 0 else done.stderr or done.stdout
    if done.returncode < 0:
        told = f"it was ended by signal {-done.returncode}. {told}"
    return done.returncode == 0, told.strip()


def reason(text: str) -> str:
    r"""Return the line of what a program wrote that names an error, the last one otherwise.

    Examples
    --------
    >>> reason("Binder Error: no such function\n\nLINE 1: f()\n        ^")
    'Binder Error: no such function'
    """
    lines = [line.strip() for line in text.splitlines() if line.strip(" ^")]
    named = [line for line in lines if "error" in line.lower()]
    return (named or lines or ["it says nothing"])[-1]


def python_command(code: str) -> list[str]:
    """Return the command that runs code in a Python of its own, as this one is."""
    return [sys.executable, "-P", "-W", "ignore", "-c", code]
