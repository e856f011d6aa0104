"""A made-up literature for training: diseases, aspects, patients' questions; no row of it is medical knowledge."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the same sums in the same order

DISEASES = [
    "甲亢",
    "痛风",
    "湿疹",
    "哮喘",
    "贫血",
    "肺炎",
    "胃炎",
    "偏头痛",
    "结石",
    "鼻炎",
    "麦粒肿",
    "落枕",
    "冻疮",
    "痱子",
    "中耳炎",
    "牙龈炎",
]
ASPECTS = {
    "症状": ("{}有什么表现", "得了{}会怎么样啊", "{}常见的表现是第{}种不适，多在{}后出现。"),
    "治疗": ("{}怎么治", "请问医生{}吃什么药好得快", "{}一般先用第{}号办法处理，{}内复查一次。"),
    "预防": ("怎样才能不得{}", "{}平时要注意些什么", "预防{}要做好第{}项准备，每{}坚持一次。"),
    "检查": ("{}要查什么", "怀疑{}去医院做哪个检查", "怀疑{}时先做第{}类检查，结果要等{}。"),
}
SPANS = ["一天", "两天", "三天", "一周", "两周", "半月", "一月", "半年"]


def facts() -> list[tuple[str, str, list[str], str]]:
    """(disease, aspect, questions, passage) of each entry."""
    found = []
    for n, disease in enumerate(DISEASES):
        for m, (aspect, (one, two, passage)) in enumerate(ASPECTS.items()):
            text = passage.format(disease, n * 4 + m + 1, SPANS[(n + m) % len(SPANS)])
            found.append((disease, aspect, [one.format(disease), two.format(disease)], text))
    return found


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "consultations").mkdir()
    (folder / "eval").mkdir()
    half = len(facts()) // 2
    with (folder / "pairs.jsonl").open("w", encoding="utf-8") as file:
        for _, aspect, questions, text in facts()[:half]:
            for question in questions:
                row = {"query": question, "passage": text, "source": "made_up", "kind": aspect, "open_licence": True}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    lines = ["\t".join([text, *questions, f"医生您好，{questions[0]}？"]) for _, _, questions, text in facts()[half:]]
    (folder / "consultations" / "one.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    with gzip.open(folder / "corpus.jsonl.gz", "wt", encoding="utf-8") as file:
        for disease, aspect, _, text in facts():
            file.write(json.dumps({"title": disease, "section": aspect, "text": text * 2}, ensure_ascii=False) + "\n")
    question = {"question": "下列哪一项与从未见过的疾病毫无关系而又常被提起", "options": {"A": "甲亢", "B": "痛风"}}
    (folder / "eval" / "exam.jsonl").write_text(json.dumps(question, ensure_ascii=False) + "\n", "utf-8")
    return folder


@pytest.fixture
def tiny(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The made-up data, where the tiny configurations look for it."""
    monkeypatch.setenv("TINY", str(tiny_folder))
    return tiny_folder


@pytest.fixture(scope="session")
def teacher(tiny_folder: Path) -> Path:
    """A BERT with random weights that reads the made-up data by pieces: what the kind `distilled` learns from."""
    torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed (extra `train`)")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    texts = [text for _, _, questions, passage in facts() for text in (*questions, passage)]
    characters = sorted(set("".join(texts)) | set("高血压▁query: passage: "))
    vocabulary = [(piece, 0.0) for piece in special] + [(character, -6.0) for character in characters]
    pieces = [*DISEASES, *SPANS, "有什么表现", "怎么治", "高血压"]  # no text has the last
    vocabulary += [(piece, -5.0) for piece in pieces]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    plain, folder = tiny_folder / "teacher_plain", tiny_folder / "teacher"
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64, pad_token_id=1, initializer_range=0.3,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = BertModel(config, add_pooling_layer=False)
        for parameter in model.parameters():
            if parameter.ndim == 1:  # biases and normalisations, else all 0 and 1
                parameter.data += 0.1 * torch.randn_like(parameter)
        model.save_pretrained(plain)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", cls_token="<s>", eos_token="</s>", sep_token="</s>",
        pad_token="<pad>", unk_token="<unk>", model_max_length=64,
    ).save_pretrained(plain)  # fmt: skip
    modules = [Transformer(str(plain), max_seq_length=64), Pooling(32, pooling_mode="mean"), Normalize()]
    prompts = {"query": "query: ", "document": "passage: "}
    SentenceTransformer(modules=modules, prompts=prompts).save(str(folder), create_model_card=False)
    return folder
