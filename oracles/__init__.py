"""Oracles and proxies: models as functions of Arrow batches.

This package knows nothing of SQL or statistics. An oracle maps a batch of model inputs to answers;
a proxy maps a batch to scores; a trainable proxy is first fitted on a few labelled rows.
Providers are imported on first use, so that nothing heavy is loaded before it is needed.
"""

from thresher.oracles.protocols import (
    Answers,
    Argument,
    FittedProxy,
    Meter,
    Oracle,
    Proxy,
    Signature,
    TrainableProxy,
    Usage,
)

__all__ = [
    "Answers",
    "Argument",
    "FittedProxy",
    "Meter",
    "Oracle",
    "Proxy",
    "Signature",
    "TrainableProxy",
    "Usage",
]
