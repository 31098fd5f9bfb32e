"""Checks of local models: the device, and a tiny model with random weights that answers a query."""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from thresher.diagnosis import Diagnosis, output_of, python_command, reason

__all__ = ["check_gpu", "check_model"]

_TIMEOUT_S = 180.0
_WORDS = ["a fine film with a good heart", "a dull and empty film that goes nowhere", "yes no"]
_PIP = f"{sys.executable} -m pip install"


def check_gpu() -> Diagnosis:
    """Say which GPU there is, by its driver; whether PyTorch uses it, the model's check tells."""
    found = _gpus()
    if not found:
        return Diagnosis("gpu", "ok", "none of NVIDIA's: local models run on the processor")
    return Diagnosis("gpu", "ok", "; ".join(found))


def _gpus() -> list[str]:
    """Return name and memory of each GPU of NVIDIA's."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    well, told = output_of(query, timeout_s=10)
    return told.splitlines() if well else []


def check_model() -> Diagnosis:
    """Make a tiny model in a process of its own, and have it answer as an oracle."""
    code = "from thresher.doctor_models import answer; answer()"
    well, told = output_of(
        python_command(code),
        timeout_s=_TIMEOUT_S,
        TRANSFORMERS_VERBOSITY="error",
        HF_HUB_OFFLINE="1",
        TOKENIZERS_PARALLELISM="false",
    )
    if not well:
        text = f"a tiny model does not answer: {reason(told)}"
        return Diagnosis("model", "error", text, f"{_PIP} --force-reinstall 'thresher[models]'")
    found = json.loads(told.splitlines()[-1])
    text = "a tiny model answered {n_labels} rows on {device}, PyTorch {torch}".format(**found)
    if found["device"] == "cpu" and _gpus():
        text += "; there is a GPU, and this PyTorch does not use it"
        return Diagnosis("model", "warning", text, f"{_PIP} --force-reinstall torch")
    return Diagnosis("model", "ok", text)


def answer() -> None:
    """Make the model, ask it, and print what came of it as JSON."""
    import torch

    import thresher

    with tempfile.TemporaryDirectory() as folder:
        _make(Path(folder))
        with closing(thresher.connect()) as con:
            con.execute(
                "CREATE TEMP ORACLE is_fine(text VARCHAR) RETURNS BOOLEAN USING huggingface WITH "
                f"(model = '{folder}', prompt = '{{text}}', yes = ' yes', no = ' no')"
            )
            cursor = con.execute(
                "SELECT t FROM (VALUES ('good'), ('bad'), ('fine')) v(t) WHERE is_fine(t)"
            )
            certificate = cursor.certificate
    device = "cuda" if torch.cuda.is_available() else "cpu"
    n_labels = 0 if certificate is None else certificate.n_labels
    facts = {"n_labels": n_labels, "device": device, "torch": torch.__version__}
    sys.stdout.write(json.dumps(facts) + "\n")


def _make(folder: Path) -> None:
    """Write a random language model of two layers, with its tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    inner.train_from_iterator(_WORDS, trainer)
    made: Any = PreTrainedTokenizerFast
    tokenizer = made(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")  # noqa: S106
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
