"""Tiny random models that the tests make themselves, and real ones where they lie on the disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from thresher.oracles import Argument, Signature
from thresher.oracles.cache import cache_folder

CORPUS = [
    "a fine film with a good heart and a clever end",
    "a dull and empty film that goes nowhere at all",
    "Review: the music is good\nSentiment: positive",
    "Review: the plot is bad\nSentiment: negative very good very bad yes no",
]


@pytest.fixture
def text_signature() -> Signature:
    return Signature((Argument("text", "VARCHAR"),), "BOOLEAN")


@pytest.fixture(autouse=True)
def own_cache(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing lands in the user's cache, except what real models leave there on purpose."""
    if request.node.get_closest_marker("models") is None:
        folder = request.getfixturevalue("tmp_path")
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        monkeypatch.delenv("THRESHER_ENCODER", raising=False)


def _tokenizer() -> object:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=360, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(CORPUS * 20, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def _save(folder: Path, kind: str, config: object) -> Path:
    import torch
    import transformers

    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = getattr(transformers, kind)(config)
    model.save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two layers: 96 positions, tied to no task."""
    from transformers import LlamaConfig

    config = LlamaConfig(
        vocab_size=360,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=96,
        initializer_range=0.4,
        bos_token_id=0,
        eos_token_id=1,
    )
    return _save(tmp_path_factory.mktemp("llama"), "LlamaForCausalLM", config)


@pytest.fixture(scope="session")
def tiny_gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Gemma 2, whose logits pass through a soft cap after the output embedding."""
    from transformers import Gemma2Config

    config = Gemma2Config(
        vocab_size=360,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=96,
        initializer_range=0.4,
        final_logit_softcapping=2.0,
        bos_token_id=0,
        eos_token_id=1,
    )
    return _save(tmp_path_factory.mktemp("gemma"), "Gemma2ForCausalLM", config)


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of three layers."""
    from transformers import BertConfig

    config = BertConfig(
        vocab_size=360,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.4,
    )
    return _save(tmp_path_factory.mktemp("bert"), "BertModel", config)


def _encoder_tokenizer() -> object:
    """With a token in front and one behind each text, as encoders have them."""
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    inner = _tokenizer().backend_tokenizer
    inner.post_processor = TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B:1 </s>:1",
        special_tokens=[("<s>", 0), ("</s>", 1)],
    )
    names = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>"}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="</s>", model_input_names=inputs, **names
    )


def _tiny_bert_config(labels: tuple[str, ...], **more: object) -> object:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=360,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.6,
        pad_token_id=1,
        id2label=dict(enumerate(labels)),
        label2id={name: i for i, name in enumerate(labels)},
        **more,
    )


def _save_with(folder: Path, model: object, *others: object) -> Path:
    for one in (model, *others):
        one.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a random BERT with the labels given; the same folder for the same labels."""
    import torch
    from transformers import BertForSequenceClassification

    made: dict[str, Path] = {}

    def make(*labels: str, **more: object) -> Path:
        key = repr((labels, more))
        if key not in made:
            with torch.random.fork_rng():
                torch.manual_seed(11)
                model = BertForSequenceClassification(_tiny_bert_config(labels, **more))
                torch.nn.init.normal_(model.classifier.weight, std=2.0)
            folder = tmp_path_factory.mktemp("classifier")
            made[key] = _save_with(folder, model, _encoder_tokenizer())
        return made[key]

    return make


@pytest.fixture(scope="session")
def tiny_vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random vision transformer for images of 32 x 32 with three labels."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    config = ViTConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        initializer_range=0.5,
        id2label={0: "cat", 1: "dog", 2: "Shirt"},
        label2id={"cat": 0, "dog": 1, "Shirt": 2},
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = ViTForImageClassification(config)
        torch.nn.init.normal_(model.classifier.weight, std=2.0)
    size = {"height": 32, "width": 32}
    return _save_with(tmp_path_factory.mktemp("vit"), model, ViTImageProcessor(size=size))


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIP for images of 32 x 32."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 2, "initializer_range": 0.5}
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = CLIPConfig(
        text_config={**shape, **ends, "vocab_size": 360, "max_position_embeddings": 32},
        vision_config={**shape, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = CLIPModel(config)
    size = {"height": 32, "width": 32}
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size)
    tokenizer = _encoder_tokenizer()
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.model_max_length = 32
    processor = CLIPProcessor(image_processor=images, tokenizer=tokenizer)
    return _save_with(tmp_path_factory.mktemp("clip"), model, processor)


@pytest.fixture(scope="session")
def tiny_llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random LLaVA for images of 32 x 32, with a chat template."""
    import torch
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer = _tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"], "pad_token": "</s>"})
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 2, "initializer_range": 0.5}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**shape, image_size=32, patch_size=8),
        text_config=LlamaConfig(**shape, vocab_size=len(tokenizer), max_position_embeddings=256),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    with torch.random.fork_rng():
        torch.manual_seed(6)
        model = LlavaForConditionalGeneration(config)
    size = {"height": 32, "width": 32}
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=(
            "{% for m in messages %}<s>{{ m['role'] }}: {% for c in m['content'] %}"
            "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}"
            "{% endfor %}</s>{% endfor %}{% if add_generation_prompt %}<s>model:{% endif %}"
        ),
    )
    return _save_with(tmp_path_factory.mktemp("llava"), model, processor)


@pytest.fixture(scope="session")
def tiny_audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Wav2Vec2 with two labels, which hears 16,000 samples a second."""
    import torch
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForSequenceClassification,
    )

    config = Wav2Vec2Config(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        conv_dim=(16, 16),
        conv_kernel=(10, 3),
        conv_stride=(5, 2),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        classifier_proj_size=16,
        id2label={0: "speech", 1: "music"},
        label2id={"speech": 0, "music": 1},
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = Wav2Vec2ForSequenceClassification(config)
        torch.nn.init.normal_(model.classifier.weight, std=4.0)
    return _save_with(tmp_path_factory.mktemp("audio"), model, Wav2Vec2FeatureExtractor())


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one GGUF file: a random Llama of one layer with its tokenizer."""
    import gguf

    hidden, heads, inner = 32, 4, 64
    vocabulary = _tokenizer().get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    rng = np.random.default_rng(5)
    folder = tmp_path_factory.mktemp("gguf")
    writer = gguf.GGUFWriter(folder / "tiny.gguf", "llama")
    writer.add_name("tiny")
    writer.add_context_length(96)
    writer.add_embedding_length(hidden)
    writer.add_block_count(1)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(hidden // heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * len(tokens))
    writer.add_token_merges(["f i", "g o"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    block = {
        "attn_q": (hidden, hidden),
        "attn_k": (hidden, hidden),
        "attn_v": (hidden, hidden),
        "attn_output": (hidden, hidden),
        "ffn_gate": (inner, hidden),
        "ffn_up": (inner, hidden),
        "ffn_down": (hidden, inner),
    }
    shapes = {f"blk.0.{name}.weight": shape for name, shape in block.items()}
    shapes |= {f"{name}.weight": (len(tokens), hidden) for name in ("token_embd", "output")}
    for name, shape in shapes.items():
        writer.add_tensor(name, rng.normal(0, 0.4, shape).astype(np.float32))
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(hidden, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder


def _real(pattern: str) -> Path:
    roots = [Path(p) for p in os.environ.get("THRESHER_MODELS", "").split(os.pathsep) if p]
    for root in [*roots, cache_folder()]:
        found = sorted(root.glob(pattern)) if root.is_dir() else []
        if found:
            return found[0]
    pytest.skip(
        f"no {pattern} below $THRESHER_MODELS or {cache_folder()}; `make demo` fetches the models"
    )


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct, as a package carries it."""
    return _real("**/SmolLM2-135M-Instruct*.gguf")


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2, as a package carries it."""
    return _real("**/*minilm*/**/model.safetensors").parent
