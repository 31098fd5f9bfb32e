"""From what a model gives each label to an answer: a label, whether it is one, or how probable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import special

from thresher.errors import DataError, NotSupportedError, OperationalError, nearest
from thresher.oracles.answers import arrow_type, describe_row
from thresher.oracles.options import Options
from thresher.oracles.protocols import Answers, Signature

__all__ = ["LabelChoice", "answer_by_odds", "check_finite", "label_choice", "returned_type"]

Scores = npt.NDArray[np.float64]


def check_finite(scores: Scores, batch: pa.Table, who: str) -> None:
    """Raise a DataError that names the first row whose scores, shape (n, k), are not finite."""
    finite = np.asarray(np.isfinite(scores).all(axis=1))
    if not finite.all():
        raise DataError(
            f"{who}: the model gave no finite score for"
            f" {int((~finite).sum()):,} of {len(finite):,} rows; the first is"
            f" {describe_row(batch, int(np.argmin(finite)))}. Write dtype = 'float32'."
        )


def answer_by_odds(
    scores: Scores, returns: pa.DataType, names: Sequence[str], threshold: float
) -> Answers:
    """Return the answers that log-probabilities lead to.

    Parameters
    ----------
    scores : ndarray of float64, shape (n, n_answers)
        Up to a constant for each row; yes and no, in this order, unless strings are returned.
    returns : pyarrow.DataType
        Boolean, floating or string.
    names : sequence of str
        What a string answer is, shape (n_answers,).
    threshold : float
        Log-odds that a yes must exceed.

    Examples
    --------
    >>> answer_by_odds(np.array([[1.0, 0.0], [0.0, 2.0]]), pa.bool_(), (), 0.0).values.to_pylist()
    [True, False]
    """
    if pa.types.is_string(returns):
        best = np.argmax(scores, axis=1)
        confidence = special.softmax(scores, axis=1)[np.arange(len(best)), best]
        return Answers(pa.array([names[i] for i in best], returns), confidence)
    difference = scores[:, 0] - scores[:, 1]
    if pa.types.is_boolean(returns):
        confidence = special.expit(np.abs(difference - threshold))
        return Answers(pa.array(difference > threshold), confidence)
    return Answers(pa.array(special.expit(difference)).cast(returns))


@dataclass(frozen=True, slots=True)
class LabelChoice:
    """What is wanted of the probabilities of labels.

    Parameters
    ----------
    who : str
        Name for messages.
    returns : pyarrow.DataType
        String: the likeliest label. Boolean: whether it is `label`. Floating: its probability.
    label : str or None
        The label asked for; None for strings, and for models with one output.
    threshold : float or None
        Probability that a yes must exceed. None: the label must be the likeliest one, or more
        probable than not where labels do not exclude one another.
    """

    who: str
    returns: pa.DataType
    label: str | None
    threshold: float | None

    def column(self, labels: Sequence[str]) -> int:
        """Return the position of the label asked for; case matters only between labels alike.

        Raises
        ------
        OperationalError
            If no label is of that name, or none was named and there are several.
        """
        if self.label is None:
            if len(labels) == 1 or pa.types.is_string(self.returns):
                return 0
            raise OperationalError(
                f"{self.who}: the model has {len(labels)} labels. Write label = one of"
                f" {', '.join(map(repr, labels[:10]))}."
            )
        if self.label in labels:
            return labels.index(self.label)
        same = [i for i, name in enumerate(labels) if name.casefold() == self.label.casefold()]
        if len(same) == 1:
            return same[0]
        listed = ", ".join(map(repr, labels[:10])) + (", ..." if len(labels) > 10 else "")
        raise OperationalError(
            f"{self.who}: the model has no label {self.label!r}.{nearest(self.label, labels)}"
            f" Its labels: {listed}."
        )

    def answer(self, probabilities: Scores, labels: Sequence[str], exclusive: bool) -> Answers:
        """Return the answers.

        Parameters
        ----------
        probabilities : ndarray of float64, shape (n, n_labels)
            In [0, 1].
        labels : sequence of str
            Their names.
        exclusive : bool
            Whether exactly one label is right for each row, so that they sum to 1.
        """
        best = np.argmax(probabilities, axis=1)
        if pa.types.is_string(self.returns):
            sure = probabilities[np.arange(len(best)), best]
            return Answers(pa.array([labels[i] for i in best], self.returns), sure)
        column = self.column(labels)
        wanted = probabilities[:, column]
        if pa.types.is_floating(self.returns):
            return Answers(pa.array(wanted).cast(self.returns))
        if self.threshold is None and exclusive:
            yes = best == column
        else:
            yes = wanted > (0.5 if self.threshold is None else self.threshold)
        return Answers(pa.array(yes), np.where(yes, wanted, 1.0 - wanted))


def returned_type(signature: Signature, options: Options, task: str) -> pa.DataType:
    """Return the Arrow type of the answers of a task that chooses between labels.

    Raises
    ------
    NotSupportedError
        If it is neither boolean, floating nor string.
    """
    returns = arrow_type(signature.returns)
    known = (pa.types.is_boolean, pa.types.is_floating, pa.types.is_string)
    if not any(fits(returns) for fits in known):
        raise NotSupportedError(
            f"{options.who}: {task} returns BOOLEAN, DOUBLE (a probability) or VARCHAR (the best"
            f" answer), not {signature.returns}."
        )
    return returns


def label_choice(signature: Signature, options: Options, task: str) -> LabelChoice:
    """Return what ``RETURNS``, ``label`` and ``threshold`` ask for together.

    Raises
    ------
    OptionError
        If they do not go together, or the threshold is no probability.
    NotSupportedError
        As for `returned_type`.
    """
    returns = returned_type(signature, options, task)
    label, threshold = options.text("label"), options.number("threshold", -1.0)
    if label is not None and pa.types.is_string(returns):
        raise options.error(
            "option 'label' goes with RETURNS BOOLEAN or DOUBLE; RETURNS VARCHAR gives the"
            " likeliest label.",
            "label",
        )
    if "threshold" not in options.values:
        return LabelChoice(options.who, returns, label, None)
    if not pa.types.is_boolean(returns):
        raise options.error("option 'threshold' goes with RETURNS BOOLEAN.", "threshold")
    if not 0.0 < threshold < 1.0:
        raise options.error(
            f"threshold is a probability here: it must be in (0, 1), got {threshold:g}.",
            "threshold",
        )
    return LabelChoice(options.who, returns, label, threshold)
