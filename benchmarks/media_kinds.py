"""Kinds of local models that take images or sounds, each to be asked in the same three ways."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.oracle_kinds import LABELS, Kind, answering, in_threads, loaded, oracle

PASS = 8  # rows of a pass of the loop
SHAPE = {"hidden_size": 192, "intermediate_size": 768, "num_attention_heads": 3}


def pictures(n_rows: int) -> list[bytes]:
    """Images of 320 x 240, as PNG files in memory."""
    from PIL import Image

    rng, rows = np.random.default_rng(3), []
    for _ in range(n_rows):
        file = io.BytesIO()
        smooth = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(smooth).resize((320, 240)).save(file, "PNG")
        rows.append(file.getvalue())
    return rows


def opened(rows: list[bytes]) -> list[Any]:
    """Images of files."""
    from PIL import Image

    return [Image.open(io.BytesIO(row)).convert("RGB") for row in rows]


def passes(n_rows: int) -> list[Any]:
    """Rows of each pass of a loop."""
    return np.array_split(range(n_rows), max(1, n_rows // PASS))


def images(n_rows: int, work: Path) -> Kind:
    """Labels of images."""
    import torch
    import transformers

    names = dict(enumerate(LABELS))
    torch.manual_seed(2)
    config = transformers.ViTConfig(
        **SHAPE, id2label=names, label2id={v: k for k, v in names.items()}
    )
    transformers.ViTForImageClassification(config).save_pretrained(work / "vit")
    transformers.ViTImageProcessor().save_pretrained(work / "vit")
    rows = pictures(n_rows)
    made = oracle(work / "vit", "VARCHAR", blob=True, task="image-classification")
    processor, model = loaded(made, "image-classification")

    def loop() -> list[Any]:
        def work(batch: list[int]) -> Any:
            images = opened([rows[i] for i in batch])
            return model(**processor(images=images, return_tensors="pt")).logits.numpy()

        return in_threads(work, passes(n_rows))

    pipe = transformers.pipeline("image-classification", model=model, image_processor=processor)
    return Kind(
        "image-classification",
        "ViT-tiny, random",
        n_rows,
        answering(made, rows),
        loop,
        lambda: pipe(opened(rows)),
    )


def matching(n_rows: int, work: Path, words: Path) -> Kind:
    """Labels of images by sentences: what a loop makes of the sentences it makes once."""
    import torch
    import transformers

    folder, size = work / "clip", {"height": 224, "width": 224}
    tokenizer = transformers.AutoTokenizer.from_pretrained(words)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.model_max_length = 77
    ends = {"bos_token_id": 101, "eos_token_id": 102, "pad_token_id": 0}
    text = {**SHAPE, **ends, "vocab_size": len(tokenizer), "max_position_embeddings": 77}
    torch.manual_seed(4)
    config = transformers.CLIPConfig(
        text_config=text,
        vision_config={**SHAPE, "image_size": 224, "patch_size": 16},
        projection_dim=128,
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    sight = transformers.CLIPImageProcessor(size={"shortest_edge": 224}, crop_size=size)
    transformers.CLIPProcessor(image_processor=sight, tokenizer=tokenizer).save_pretrained(folder)
    rows = pictures(n_rows)
    made = oracle(folder, "VARCHAR", blob=True, task="image-text", labels=list(LABELS))
    processor, model = loaded(made, "image-text")
    sentences = [f"This is a photo of {label}." for label in LABELS]

    def loop() -> list[Any]:
        with torch.inference_mode():
            given = processor.tokenizer(sentences, padding=True, return_tensors="pt")
            wanted = model.text_projection(model.text_model(**given).pooler_output)
            wanted = wanted / wanted.norm(dim=1, keepdim=True) * model.logit_scale.exp()

        def look(batch: list[int]) -> Any:
            images = opened([rows[i] for i in batch])
            pixels = processor.image_processor(images=images, return_tensors="pt")
            seen = model.visual_projection(model.vision_model(**pixels).pooler_output)
            return (seen / seen.norm(dim=1, keepdim=True) @ wanted.T).numpy()

        return in_threads(look, passes(n_rows))

    pipe = transformers.pipeline(
        "zero-shot-image-classification",
        model=model,
        tokenizer=processor.tokenizer,
        image_processor=processor.image_processor,
    )
    plain = {"candidate_labels": list(LABELS)}
    return Kind(
        "image-text",
        "CLIP of 12 layers, random",
        n_rows,
        answering(made, rows),
        loop,
        lambda: pipe(opened(rows), **plain),
    )


def sounds(n_rows: int, work: Path) -> Kind:
    """Labels of one second of sound each, as WAV files in memory."""
    import torch
    import transformers
    from scipy.io import wavfile

    names = dict(enumerate(LABELS))
    torch.manual_seed(3)
    config = transformers.Wav2Vec2Config(
        **SHAPE,
        num_hidden_layers=6,
        conv_dim=(128,) * 7,
        id2label=names,
        label2id={v: k for k, v in names.items()},
    )
    transformers.Wav2Vec2ForSequenceClassification(config).save_pretrained(work / "audio")
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(work / "audio")
    rng, rows = np.random.default_rng(4), []
    for _ in range(n_rows):
        file = io.BytesIO()
        wavfile.write(file, 16_000, rng.integers(-9000, 9000, 16_000, dtype=np.int16))
        rows.append(file.getvalue())
    made = oracle(work / "audio", "VARCHAR", blob=True, task="audio-classification")
    extractor, model = loaded(made, "audio-classification")

    def heard() -> list[Any]:
        read = [wavfile.read(io.BytesIO(row))[1] for row in rows]
        return [samples.astype(np.float32) / 32768 for samples in read]

    def loop() -> list[Any]:
        samples = heard()

        def work(batch: list[int]) -> Any:
            chosen = [samples[i] for i in batch]
            inputs = extractor(chosen, sampling_rate=16_000, return_tensors="pt")
            return model(inputs["input_values"]).logits.numpy()

        return in_threads(work, passes(n_rows))

    pipe = transformers.pipeline("audio-classification", model=model, feature_extractor=extractor)
    return Kind(
        "audio-classification",
        "Wav2Vec2 of 6 layers, random",
        n_rows,
        answering(made, rows),
        loop,
        lambda: pipe(heard()),
    )
