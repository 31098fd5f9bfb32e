"""Provider ``pytorch``: a ``torch.nn.Module`` of the user's and what makes its inputs."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import special

from thresher.errors import DataError, Error, OperationalError, OracleError
from thresher.oracles.answers import describe_row
from thresher.oracles.batching import Replicas, ahead, n_threads
from thresher.oracles.context import Context
from thresher.oracles.decisions import LabelChoice, check_finite, label_choice
from thresher.oracles.imports import imported
from thresher.oracles.module_source import ModuleSource
from thresher.oracles.options import Option, Options
from thresher.oracles.protocols import Answers, Signature
from thresher.oracles.remembered_scores import AnswerProxy
from thresher.oracles.runtime import require_models, resolve_runtime
from thresher.oracles.versions import digest

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["OPTIONS", "ModuleOracle", "create_oracle", "create_proxy"]

OPTIONS = {
    "module": Option("text", required=True),
    "preprocess": Option("text", required=True),
    "weights": Option("text"),
    "output": Option("text", choices=("logits", "probabilities", "value")),
    "labels": Option("texts"),
    "label": Option("text"),
    "threshold": Option("number"),
    "device": Option("text"),
    "dtype": Option("text", choices=("float32", "bfloat16", "float16")),
    "batch_rows": Option("count"),
}
_CPU_ROWS, _GPU_ROWS = 64, 1024
_PASSES_OF_CPU = 4

Positions = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Placed:
    """A copy of the module, and where it computes."""

    module: torch.nn.Module
    device: torch.device


class _Loaded:
    """The module on its devices."""

    def __init__(self, module: torch.nn.Module, devices: tuple[str, ...]) -> None:
        import torch

        copies = [module, *(copy.deepcopy(module) for _ in devices[1:])]
        self.n_copies = len(copies)
        placed = [_Placed(m.to(d), torch.device(d)) for m, d in zip(copies, devices, strict=True)]
        self.replicas = Replicas(cast("list[PreTrainedModel]", placed))


class ModuleOracle:
    """A PyTorch module that gives one answer per row.

    Parameters
    ----------
    source : ModuleSource
        Module and preprocess.
    choice : LabelChoice
        What is wanted of its output.
    labels : tuple of str
        Names of the output's columns; empty for one column.
    output : str
        ``logits``, ``probabilities`` or ``value``.
    options : Options
        For ``device`` and ``batch_rows``.

    Notes
    -----
    `preprocess` gets one list per declared argument, a pass long, and returns a tensor, a tuple of
    tensors or a mapping of them, whose first axis is the rows; the module is called with the
    tensor, the tuple as positional and the mapping as named arguments. It returns a tensor, or an
    object with such an attribute ``logits``, of shape (n,), (n, 1) or (n, number of labels).

    One column of logits goes through the logistic function, several through the softmax.
    `preprocess` runs in one thread, while the module computes the rows before; each device has a
    copy of the module in one thread.
    """

    def __init__(
        self,
        source: ModuleSource,
        choice: LabelChoice,
        labels: tuple[str, ...],
        output: str,
        options: Options,
    ) -> None:
        self._source, self._choice, self._labels = source, choice, labels
        self._output, self._options, self._who = output, options, options.who
        self._module: torch.nn.Module | None = None
        self._loaded: _Loaded | None = None
        self._version: str | None = None

    @property
    def version(self) -> str:
        """Hash (hex) of code, weights and all that makes an answer of the output.

        It makes the module, with its weights, once.
        """
        if self._version is None:
            self._module = self._source.build(self._who)
            choice = self._choice
            self._version = digest(
                ("pytorch", self._source.version(self._module), self._output, self._labels),
                (str(choice.returns), choice.label, choice.threshold),
            )
        return self._version

    def _devices(self) -> tuple[str, ...]:
        return resolve_runtime(self._options).devices

    @property
    def _pass_rows(self) -> int:
        on_cpu = self._devices()[0].startswith("cpu")
        return self._options.count("batch_rows", _CPU_ROWS if on_cpu else _GPU_ROWS)

    @property
    def batch_size(self) -> int:
        """Rows passed at once: a few passes of every device."""
        devices = self._devices()
        on_cpu = devices[0].startswith("cpu")
        return self._pass_rows * (_PASSES_OF_CPU * n_threads() if on_cpu else 2 * len(devices))

    def answer(self, batch: pa.Table) -> Answers:
        """Label a batch; the module is made on the first call.

        Raises
        ------
        OperationalError
            If the module cannot be made; as `OracleError` if it or preprocess fails on the batch.
        DataError
            If there is not one output a row, or one is not finite; the message names the row.
        """
        if not batch.num_rows:
            return Answers(pa.array([], self._choice.returns))
        if self._loaded is None:
            module = self._module or self._source.build(self._who)
            self._loaded, self._module = _Loaded(module, self._devices()), None
        try:
            output = self._outputs(self._loaded, batch)
        except Error:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:300] or "no message"
            raise OracleError(
                f"{self._who} raised {type(error).__name__}: {reason} (in a batch of"
                f" {batch.num_rows:,} rows whose first is {describe_row(batch, 0)})."
            ) from error
        check_finite(output, batch, self._who)
        return self._answers(output, batch)

    def _outputs(self, loaded: _Loaded, batch: pa.Table) -> Scores:
        """What the module says of each row, shape (n, number of columns)."""
        columns = [column.to_pylist() for column in batch.columns]
        width = max(len(self._labels), 1)
        found = np.full((batch.num_rows, width), np.nan)
        rows = self._pass_rows

        def prepare(chunk: Positions) -> object:
            first, last = int(chunk[0]), int(chunk[-1]) + 1
            made = self._source.preprocess(*(column[first:last] for column in columns))
            return self._checked(made, len(chunk))

        def use(chunk: Positions, inputs: object) -> None:
            def work(model: PreTrainedModel, at: Positions) -> None:
                placed = cast("_Placed", model)
                found[chunk[at]] = self._matrix(_call(placed, inputs, at), len(at), width)

            own = np.arange(len(chunk))
            passes = [own[i : i + rows] for i in range(0, len(own), rows)]
            loaded.replicas.run(work, passes, parallel=False)

        every, step = np.arange(batch.num_rows), rows * loaded.n_copies
        ahead(prepare, [every[i : i + step] for i in range(0, len(every), step)], use)
        return found

    def _checked(self, made: object, n_rows: int) -> object:
        """Inputs as they came, if all are tensors with a row each."""
        import torch

        found: list[object] = []
        if isinstance(made, Mapping):
            found = list(made.values()) if all(isinstance(name, str) for name in made) else []
        elif isinstance(made, (tuple, list)):
            found = list(made)
        elif isinstance(made, torch.Tensor):
            found = [made]
        tensors = [one for one in found if isinstance(one, torch.Tensor)]
        if not tensors or len(tensors) < len(found):
            raise DataError(
                f"{self._who}: preprocess returned {type(made).__name__}; it must return a tensor,"
                " a tuple of tensors, or a mapping of names to tensors."
            )
        for one in tensors:
            if one.ndim == 0 or one.shape[0] != n_rows:
                raise DataError(
                    f"{self._who}: preprocess returned a tensor of shape {tuple(one.shape)} for"
                    f" {n_rows:,} rows; its first axis must be the rows."
                )
        if self._source.dtype is not None:
            kind = getattr(torch, self._source.dtype)
            tensors = [one.to(kind) if one.is_floating_point() else one for one in tensors]
        return dict(zip(made, tensors, strict=True)) if isinstance(made, Mapping) else tensors

    def _matrix(self, output: object, n_rows: int, width: int) -> Scores:
        import torch

        found = output if isinstance(output, torch.Tensor) else getattr(output, "logits", None)
        if not isinstance(found, torch.Tensor):
            raise DataError(
                f"{self._who}: the module returned {type(output).__name__}; it must return a"
                " tensor, or an object whose attribute logits is one."
            )
        shape = tuple(found.shape)
        if shape == (n_rows,) and width == 1:
            shape = (n_rows, 1)
        if shape != (n_rows, width):
            wanted = (
                f"(rows, {width}), with a column for each of labels" if width > 1 else "(rows,)"
            )
            more = len(shape) == 2 and shape[0] == n_rows and width == 1
            hint = " Write labels = [...], one for each column, and label = one." if more else ""
            raise DataError(
                f"{self._who}: the module returned a tensor of shape {shape} for {n_rows:,} rows;"
                f" it must be {wanted}.{hint}"
            )
        numbers: Scores = found.detach().double().cpu().numpy().reshape(shape)
        return numbers

    def _answers(self, output: Scores, batch: pa.Table) -> Answers:
        if self._output == "value":
            return Answers(pa.array(output[:, 0]).cast(self._choice.returns))
        exclusive = output.shape[1] > 1
        if self._output == "logits":
            output = special.softmax(output, axis=1) if exclusive else special.expit(output)
        outside = (output < 0.0) | (output > 1.0)
        if outside.any():
            row = int(np.argmax(outside.any(axis=1)))
            raise DataError(
                f"{self._who}: output = 'probabilities', but the module gave"
                f" {output[row][outside[row]][0]:g} for {describe_row(batch, row)}. Write output ="
                " 'logits' for numbers before the softmax or logistic function."
            )
        return self._choice.answer(output, self._labels or ("yes",), exclusive)


def _call(placed: _Placed, inputs: object, at: Positions) -> object:
    """Call a copy of the module with some rows of the inputs."""
    rows = slice(int(at[0]), int(at[-1]) + 1)  # passes are runs of rows, and so are their halves
    if isinstance(inputs, Mapping):
        return placed.module(**{n: one[rows].to(placed.device) for n, one in inputs.items()})
    tensors = cast("list[torch.Tensor]", inputs)
    return placed.module(*(one[rows].to(placed.device) for one in tensors))


def _weights(options: Options, context: Context) -> Path | None:
    written = options.text("weights")
    if written is None:
        return None
    path = context.resolve(written)
    if path.suffix != ".safetensors":
        raise options.error(
            f"weights = {written!r} is no safetensors file; a pickle (.pt, .pth, .bin) can run any"
            " code when it is loaded. Save with safetensors.torch.save_file(module.state_dict(),"
            " 'file.safetensors').",
            "weights",
        )
    if not path.is_file():
        raise OperationalError(f"{options.who}: there is no file {str(path)!r} for weights.")
    return path


def _check(choice: LabelChoice, labels: tuple[str, ...], output: str, options: Options) -> None:
    """See that labels, label and output go with the declared type."""
    text, number = pa.types.is_string(choice.returns), pa.types.is_floating(choice.returns)
    if len(labels) == 1 or len(set(labels)) < len(labels):
        raise options.error("labels must be two different names or more.", "labels")
    if text and not labels:
        raise options.error(
            "RETURNS VARCHAR needs the names of the output's columns. Write labels = ['cat',"
            " 'dog'].",
            "labels",
        )
    if output == "value" and (labels or not number):
        raise options.error(
            "output = 'value' is the number itself: it goes with RETURNS DOUBLE, without labels.",
            "output",
        )
    if not text and bool(labels) != (choice.label is not None):
        raise options.error(
            "RETURNS BOOLEAN and DOUBLE take labels and label together: labels names the output's"
            " columns, label the one that is asked for. Leave both out for one column.",
            "labels" if labels else "label",
        )
    if labels and not text:
        choice.column(labels)


def create_oracle(
    _name: str, signature: Signature, options: Options, context: Context
) -> ModuleOracle:
    """Make the oracle of ``USING pytorch``; the module is built when its version is asked for."""
    require_models()
    choice = label_choice(signature, options, "pytorch")
    labels = tuple(options.texts("labels"))
    output = (options.text("output") or "logits").lower()
    _check(choice, labels, output, options)
    weights = _weights(options, context)
    place = options.text("module") or ""
    made = imported(place, "module", options, context)
    file = getattr(sys.modules.get(place.partition(":")[0]), "__file__", None)
    preprocess = imported(options.text("preprocess") or "", "preprocess", options, context)
    if not callable(preprocess):
        raise options.error(f"preprocess is not a function: {preprocess!r}.", "preprocess")
    dtype = options.text("dtype")
    dtype = dtype.lower() if dtype else None
    source = ModuleSource(made, preprocess, weights, dtype, Path(file) if file else None)
    return ModuleOracle(source, choice, labels, output, options)


def create_proxy(
    name: str, signature: Signature, options: Options, context: Context
) -> AnswerProxy:
    """Make the proxy of ``USING pytorch``: the oracle of the same options, returning DOUBLE."""
    for_numbers = Signature(signature.arguments, "DOUBLE")
    return AnswerProxy(create_oracle(name, for_numbers, options, context))
