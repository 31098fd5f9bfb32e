"""Kinds of local models, each to be asked by an oracle, by a loop in torch, and by a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROWS = {
    "causal-lm": 24,
    "text-generation": 8,
    "text-generation-schema": 16,
    "text-classification": 48,
    "zero-shot": 16,
    "embedding": 96,
    "image-classification": 32,
    "image-text": 32,
    "audio-classification": 32,
}
PROMPT = "Review: {text}\nSentiment:"
LABELS = ("good", "bad", "neither")
BUDGET = 512  # tokens of a pass of the loop: the best of 256, 512, 1024 and 2048 on two cores
LEAST_ROWS = 8


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of model: what is asked, and three ways to have it answered."""

    name: str
    weights: str
    n_rows: int
    ours: Callable[[], Any]
    loop: Callable[[], Any]
    pipeline: Callable[[], Any]


def texts(n: int) -> list[str]:
    """Film reviews of many lengths, from what the demo fetches."""
    from thresher.assets import VADER, fetch, movie_snippets

    rows = movie_snippets(fetch(VADER))["text"].to_pylist()
    return [str(rows[i]) for i in np.random.default_rng(7).permutation(len(rows))[:n]]


def oracle(model: Path, returns: str, blob: bool = False, **options: object) -> Any:
    """An oracle of `USING huggingface` in float32, as the loop and the pipeline compute."""
    from thresher.oracles import Argument, Signature
    from thresher.oracles.context import Context
    from thresher.oracles.registry import create_oracle

    signature = Signature((Argument("text", "BLOB" if blob else "VARCHAR"),), returns)
    given: dict[str, Any] = {"model": str(model), "dtype": "float32", **options}
    return create_oracle("huggingface", "o", signature, given, Context())


def answering(made: Any, rows: Sequence[object]) -> Callable[[], Any]:
    """All rows in batches of the size that the oracle asks for, as the engine passes them."""
    import pyarrow as pa

    table = pa.table({"text": rows})

    def run() -> list[Any]:
        size = made.batch_size
        return [made.answer(table.slice(i, size)) for i in range(0, len(rows), size)]

    return run


def in_threads(work: Callable[[Any], Any], batches: Sequence[Any]) -> list[Any]:
    """What the loops share: a thread for each core, one core for each batch."""
    import torch

    from thresher.oracles.batching import n_threads

    def one(batch: Any) -> Any:
        with torch.inference_mode():
            return work(batch)

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(n_threads()) as pool:
            return list(pool.map(one, batches))
    finally:
        torch.set_num_threads(before)


def by_length(ids: Sequence[Sequence[int]], budget: int = BUDGET) -> list[list[int]]:
    """Rows in batches of like length, the longest first."""
    batches: list[list[int]] = []
    for i in sorted(range(len(ids)), key=lambda i: -len(ids[i])):
        if not batches or (len(batches[-1]) + 1) * len(ids[batches[-1][0]]) > budget:
            batches.append([])
        batches[-1].append(i)
    return batches


def causal(folder: Path, n_rows: int) -> Kind:
    """Two answers after a prompt: the logits of two tokens."""
    import torch
    import transformers

    rows = texts(n_rows)
    made = oracle(folder, "BOOLEAN", prompt=PROMPT, yes=" positive", no=" negative")
    tokenizer, model = loaded(made, "causal-lm")
    wanted = [tokenizer.encode(word)[0] for word in (" positive", " negative")]

    def loop() -> list[Any]:
        ids = tokenizer([PROMPT.format(text=row) for row in rows])["input_ids"]

        def work(batch: list[int]) -> Any:
            longest = len(ids[batch[0]])
            tokens = torch.tensor([ids[i] + [0] * (longest - len(ids[i])) for i in batch])
            last = torch.tensor([len(ids[i]) - 1 for i in batch])
            states = model.model(input_ids=tokens, use_cache=False).last_hidden_state
            chosen = states[torch.arange(len(batch)), last]
            return (chosen @ model.lm_head.weight[wanted].T).numpy()

        return in_threads(work, by_length(ids))

    pipe = transformers.pipeline("text-generation", model=model, tokenizer=tokenizer)
    prompts = [PROMPT.format(text=row) for row in rows]
    plain = {"max_new_tokens": 1, "do_sample": False, "return_full_text": False}
    return Kind(
        "causal-lm",
        "SmolLM2-135M-Instruct",
        n_rows,
        answering(made, rows),
        loop,
        lambda: pipe(prompts, **plain),
    )


def generation(folder: Path, n_rows: int) -> Kind:
    """Eight tokens written greedily."""
    options = {"task": "text-generation", "chat": False, "max_new_tokens": 8, "stop": "\n"}
    made = oracle(folder, "VARCHAR", prompt=PROMPT, **options)
    return _writing("text-generation", "SmolLM2-135M-Instruct", made, n_rows, 8, "\n", "nothing")


def objects(words: Path, n_rows: int, work: Path) -> Kind:
    """Twenty tokens written greedily, then read as JSON that has to fit a schema."""
    import torch
    import transformers

    folder = work / "llama"
    tokenizer = transformers.AutoTokenizer.from_pretrained(words)
    torch.manual_seed(5)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=3,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    schema = '{"type": "object", "properties": {"tone": {"enum": ["good", "bad"]}}}'
    options = {"task": "text-generation", "chat": False, "max_new_tokens": 20, "schema": schema}
    made = oracle(folder, "VARCHAR", prompt=PROMPT, **options)
    name, said = "text-generation-schema", '{"tone": "good"}'
    return _writing(name, "Llama of 6 layers, random", made, n_rows, 20, None, said)


def _writing(
    name: str, weights: str, made: Any, n_rows: int, n_new: int, stop: str | None, said: str
) -> Kind:
    """What is written after a prompt, by a model whose answers are taken to be `said`.

    What an untuned prompt brings forth is of many lengths; it is written, and not judged, here.
    """
    import torch
    import transformers

    rows = texts(n_rows)
    tokenizer, model = loaded(made, "causal-lm")
    writing = made._task.load(made._source, made._weights_version(), made._resolved())
    made._loaded = writing
    writing._ended = lambda ids: ((stop and tokenizer.decode(ids)) or said, True)
    pad = tokenizer.pad_token_id or 0
    plain: dict[str, Any] = {"max_new_tokens": n_new, "do_sample": False}
    if stop is not None:
        plain |= {"stop_strings": [stop], "tokenizer": tokenizer}

    def loop() -> list[Any]:
        ids = tokenizer([PROMPT.format(text=row) for row in rows])["input_ids"]

        def work(batch: list[int]) -> Any:
            longest = len(ids[batch[0]])
            gaps = [longest - len(ids[i]) for i in batch]
            tokens = torch.tensor([[pad] * g + ids[i] for g, i in zip(gaps, batch, strict=True)])
            mask = torch.tensor([[0] * g + [1] * (longest - g) for g in gaps])
            written = model.generate(tokens, attention_mask=mask, **plain)
            return tokenizer.batch_decode(written[:, longest:])

        return in_threads(work, by_length(ids))

    pipe = transformers.pipeline("text-generation", model=model, tokenizer=tokenizer)
    prompts = [PROMPT.format(text=row) for row in rows]
    return Kind(name, weights, n_rows, answering(made, rows), loop, lambda: pipe(prompts, **plain))


def embedding(folder: Path, n_rows: int) -> Kind:
    """Vectors of texts, as the proxy `embedding` has them: means of three layers."""
    import torch
    import transformers

    from thresher.oracles.embedding import embed
    from thresher.oracles.options import Options
    from thresher.oracles.runtime import resolve_runtime
    from thresher.oracles.weights import Source, load_model

    rows, source = texts(n_rows), Source(str(folder), True)
    version = source.version()
    runtime = resolve_runtime(Options("embedding", {"dtype": "float32"}))
    tokenizer, replicas = load_model("encoder", source, version, runtime)
    model = replicas.model

    def loop() -> list[Any]:
        ids = tokenizer(rows, truncation=True, max_length=256)["input_ids"]

        def work(batch: list[int]) -> Any:
            longest = len(ids[batch[0]])
            gaps = [longest - len(ids[i]) for i in batch]
            tokens = torch.tensor([ids[i] + [0] * g for g, i in zip(gaps, batch, strict=True)])
            mask = torch.tensor([[1] * (longest - g) + [0] * g for g in gaps])
            states = model(tokens, attention_mask=mask, output_hidden_states=True).hidden_states
            kept = torch.cat([states[layer] for layer in (2, 4, 6)], dim=2) * mask[..., None]
            return (kept.sum(1) / mask.sum(1, keepdim=True)).numpy()

        return in_threads(work, by_length(ids))

    pipe = transformers.pipeline("feature-extraction", model=model, tokenizer=tokenizer)
    return Kind(
        "embedding",
        "all-MiniLM-L6-v2",
        n_rows,
        lambda: embed(source, version, runtime, 256, rows),
        loop,
        lambda: pipe(rows, return_tensors=True),
    )


def classifier(folder: Path, n_rows: int, task: str, work: Path) -> Kind:
    """Labels of texts, or of texts against the sentences of labels."""
    import torch
    import transformers

    nli = ("contradiction", "neutral", "entailment")
    names = nli if task == "zero-shot" else LABELS
    made_at = work / task
    labels = dict(enumerate(names))
    torch.manual_seed(1)
    head = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, id2label=labels, label2id={name: i for i, name in labels.items()}
    )
    head.save_pretrained(made_at)
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(made_at)
    rows = texts(n_rows)
    more = {"labels": list(LABELS)} if task == "zero-shot" else {}
    made = oracle(made_at, "VARCHAR", task=task, **more)
    tokenizer, model = loaded(made, "text-classification")
    pairs = None
    if task == "zero-shot":
        pairs = [f"This example is {label}." for _ in rows for label in LABELS]
    firsts = [row for row in rows for _ in LABELS] if pairs else rows

    def loop() -> list[Any]:
        encoded = tokenizer(firsts, pairs, truncation=True)
        ids, kinds = encoded["input_ids"], encoded["token_type_ids"]

        def work(batch: list[int]) -> Any:
            longest = len(ids[batch[0]])
            gaps = [longest - len(ids[i]) for i in batch]
            both = [
                torch.tensor([x[i] + [0] * g for g, i in zip(gaps, batch, strict=True)])
                for x in (ids, kinds)
            ]
            mask = torch.tensor([[1] * (longest - g) + [0] * g for g in gaps])
            given = {"input_ids": both[0], "token_type_ids": both[1], "attention_mask": mask}
            return model(**given).logits.numpy()

        return in_threads(work, by_length(ids))

    name = "zero-shot-classification" if task == "zero-shot" else task
    pipe = transformers.pipeline(name, model=model, tokenizer=tokenizer)
    plain = {"candidate_labels": list(LABELS)} if task == "zero-shot" else {}
    return Kind(
        task,
        "all-MiniLM-L6-v2 with a random head",
        n_rows,
        answering(made, rows),
        loop,
        lambda: pipe(rows, **plain),
    )


def loaded(made: Any, kind: str) -> tuple[Any, Any]:
    """Tokenizer or processor, and model, of an oracle: the very objects that it uses."""
    from thresher.oracles.weights import load_model

    processor, replicas = load_model(kind, made._source, made._weights_version(), made._resolved())
    return processor, replicas.model


def kinds(work: Path, share: float) -> Mapping[str, Callable[[], Kind]]:
    """All kinds, made when their turn comes."""
    from benchmarks.media_kinds import images, matching, sounds
    from thresher.assets import MINILM, SMOLLM2, fetch

    small, large = fetch(MINILM), fetch(SMOLLM2)
    n = {key: max(LEAST_ROWS, int(share * rows)) for key, rows in ROWS.items()}
    return {
        "causal-lm": lambda: causal(large, n["causal-lm"]),
        "text-generation": lambda: generation(large, n["text-generation"]),
        "text-generation-schema": lambda: objects(small, n["text-generation-schema"], work),
        "text-classification": lambda: classifier(
            small, n["text-classification"], "text-classification", work
        ),
        "zero-shot": lambda: classifier(small, n["zero-shot"], "zero-shot", work),
        "embedding": lambda: embedding(small, n["embedding"]),
        "image-classification": lambda: images(n["image-classification"], work),
        "image-text": lambda: matching(n["image-text"], work, small),
        "audio-classification": lambda: sounds(n["audio-classification"], work),
    }
