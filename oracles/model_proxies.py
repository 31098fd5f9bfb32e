"""Proxy ``huggingface``: any local model that gives a probability or a number."""

from __future__ import annotations

from thresher.oracles import huggingface
from thresher.oracles.context import Context
from thresher.oracles.options import Option, Options
from thresher.oracles.protocols import Signature
from thresher.oracles.remembered_scores import AnswerProxy, RememberedScores

__all__ = ["OPTIONS", "create_proxy"]

OPTIONS = {**huggingface.OPTIONS, "cache": Option("boolean")}


def create_proxy(
    name: str, signature: Signature, options: Options, context: Context
) -> RememberedScores:
    """Make the proxy of ``USING huggingface``: the oracle of the same options, returning DOUBLE."""
    for_numbers = Signature(signature.arguments, "DOUBLE")
    oracle = huggingface.create_oracle(name, for_numbers, options, context)
    return RememberedScores(AnswerProxy(oracle), options.boolean("cache", True))
