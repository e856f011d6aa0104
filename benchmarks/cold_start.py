"""From starting a process to a printed answer: `chimed ask` beside LangChain + FAISS + sentence-transformers.

Both answer one question from 24 short passages written for this script, indexed beforehand; ours also from the starter
literature. The peer loads a tiny BERT (two layers of 32, random weights, made here) and a saved FAISS index, and
prints the four nearest passages: its imports are what costs, so a real model would only add to it. Runs take turns;
nothing is downloaded. Time ends with the last byte of standard output, and, apart, with the end of the process.
Not measured: the quality of either answer (the peer's model knows nothing).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from time import perf_counter
from typing import Any

from _common import ROOT, Row, parser, report

QUESTION = "布洛芬一天最多吃几次？"
COLUMNS = ["what starts", "runs", "answered s", "min s", "ended s", "÷ ours", "peak RSS MB"]
PASSAGES = [
    "布洛芬用于退热和缓解轻至中度疼痛。成人一次0.2～0.4g，间隔4～6小时可重复，24小时内不超过4次。",
    "对乙酰氨基酚用于发热和头痛。成人一次0.5g，间隔4～6小时，24小时内不超过4次，不要与其他含同一成分的药同服。",
    "阿莫西林属于青霉素类抗生素，用药前须询问青霉素过敏史，过敏者禁用。",
    "二甲双胍是2型糖尿病的常用药物，常见不良反应为恶心、腹泻，随餐服用可以减轻。",
    "华法林需要定期监测国际标准化比值，目标范围多为2.0～3.0，饮食中维生素K的摄入应保持稳定。",
    "高血压的诊断标准为诊室血压不低于140/90mmHg，应在不同日测量三次确认。",
    "支气管哮喘急性发作时首选吸入短效β2受体激动剂，如沙丁胺醇。",
    "社区获得性肺炎常见症状有发热、咳嗽、咳痰和胸痛，胸部影像可见新出现的浸润影。",
    "消化性溃疡与幽门螺杆菌感染和非甾体抗炎药有关，典型表现为周期性上腹痛。",
    "急性胃肠炎的治疗重点是补液，口服补液盐应少量多次服用。",
    "糖化血红蛋白反映近两到三个月的平均血糖水平，6.5%及以上提示糖尿病。",
    "血清钾的参考范围约为3.5～5.5mmol/L，过高或过低都可能引起心律失常。",
    "突发一侧肢体无力、口角歪斜或言语不清，应考虑脑卒中，立即拨打120。",
    "持续胸痛超过20分钟并伴大汗时，应警惕急性心肌梗死，立即就医。",
    "严重过敏反应表现为皮疹、呼吸困难和血压下降，应立即肌内注射肾上腺素。",
    "儿童热性惊厥多见于6个月至5岁，发作时应让患儿侧卧，不要往嘴里塞东西。",
    "一氧化碳中毒时先开窗通风，将病人移到空气新鲜处，并尽快送医。",
    "流感疫苗建议每年接种一次，接种后约两周产生保护。",
    "孕妇发热应先查明原因，妊娠晚期不宜使用布洛芬。",
    "缺铁性贫血应查找失血原因，口服铁剂宜在两餐之间服用，避免与茶同服。",
    "痛风急性期应休息，避免饮酒和高嘌呤饮食，及早使用抗炎止痛药物。",
    "甲状腺功能亢进可有心悸、多汗、体重下降和手抖。",
    "过敏性鼻炎表现为阵发性喷嚏、清水样鼻涕、鼻痒和鼻塞。",
    "腰椎间盘突出可引起腰痛并向下肢放射，多数病人经保守治疗可以缓解。",
]


# --- the peer ------------------------------------------------------------------------------------------------------


def prepare(work: Path) -> None:
    """Makes our index of the passages, the tiny model, and the peer's FAISS index."""
    from chimed_rag.medqa import MedQA

    MedQA.build([{"id": f"p{i:02d}", "text": text} for i, text in enumerate(PASSAGES)], work / "index").close()
    folder = work / "peer"
    from langchain_community.vectorstores import FAISS
    from sentence_transformers import SentenceTransformer
    from transformers import BertConfig, BertModel, BertTokenizer

    bert = folder / "bert"
    bert.mkdir(parents=True)
    letters = sorted(set("".join(PASSAGES) + QUESTION))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
    (bert / "vocab.txt").write_text("\n".join(words) + "\n", "utf-8")
    BertTokenizer(str(bert / "vocab.txt")).save_pretrained(bert)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(words), **shape)).save_pretrained(bert)
    SentenceTransformer(str(bert), device="cpu").save(str(folder / "model"))
    FAISS.from_texts(PASSAGES, _embeddings(folder / "model")).save_local(str(folder / "faiss"))


def _embeddings(model: Path) -> Any:
    from langchain_core.embeddings import Embeddings
    from sentence_transformers import SentenceTransformer

    class Local(Embeddings):
        def __init__(self) -> None:
            self.model = SentenceTransformer(str(model), device="cpu")

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            found: list[list[float]] = self.model.encode(texts, show_progress_bar=False).tolist()
            return found

        def embed_query(self, text: str) -> list[float]:
            return self.embed_documents([text])[0]

    return Local()


def ask_peer(folder: Path, question: str) -> None:
    """What a user's script does: load the model and the index, retrieve, print."""
    from langchain_community.vectorstores import FAISS
    from langchain_core.runnables import RunnableLambda

    store = FAISS.load_local(str(folder / "faiss"), _embeddings(folder / "model"), allow_dangerous_deserialization=True)
    show = RunnableLambda(lambda found: "\n".join(document.page_content for document in found))
    print((store.as_retriever(search_kwargs={"k": 4}) | show).invoke(question), flush=True)


# --- the clock -----------------------------------------------------------------------------------------------------


def clock(command: list[str]) -> Row:
    """Runs a command; when its last output came, when it ended, and the most memory it held."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    began = perf_counter()
    answered, output = began, b""
    with (
        TemporaryFile() as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment) as process,
    ):
        assert process.stdout is not None
        while block := os.read(process.stdout.fileno(), 1 << 16):
            answered, output = perf_counter(), output + block
        _, _, usage = os.wait4(process.pid, 0)
        ended = perf_counter()
        process.returncode = 0  # it is reaped already
        if not output.strip():
            errors.seek(0)
            sys.exit(f"{' '.join(command)} printed nothing:\n{errors.read().decode(errors='replace')}")
    # What the parent holds when it starts a child counts for the child: this script imports nothing large before.
    scale = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return {"answered s": answered - began, "ended s": ended - began, "peak RSS MB": usage.ru_maxrss / scale}


def commands(work: Path, options: argparse.Namespace) -> dict[str, list[str]]:
    """What is timed; ours from the starter literature only if this installation has it."""
    python = str(options.ours_python or sys.executable)
    chimed = Path(python).with_name("chimed")
    ask = [str(chimed)] if chimed.exists() else [python, "-m", "chimed_rag.cli"]
    found = {"chimed ask (the same 24 passages)": [*ask, "ask", QUESTION, "--index", str(work / "index")]}
    if (ROOT / "chimed_rag" / "corpus" / "starter" / "index" / "manifest.json").exists():
        found["chimed ask (starter literature)"] = [*ask, "ask", QUESTION]
    peer = [sys.executable, __file__, "--worker", "peer", "--task", json.dumps(str(work / "peer"))]
    found["LangChain + FAISS + sentence-transformers"] = peer
    found["python -c 'import chimed_rag'"] = [python, "-c", "import chimed_rag; print(1)"]
    found["python -c 'print(1)'"] = [python, "-c", "print(1)"]
    return found


def imports(command: list[str], most: int = 25) -> None:
    """Prints which packages the time of a start goes to, by `-X importtime`, each without what it imports."""
    python, *rest = command if command[1:2] == ["-m"] else [str(Path(command[0]).with_name("python")), *command]
    done = subprocess.run([python, "-X", "importtime", *rest], capture_output=True, text=True)
    spent: dict[str, int] = {}
    for line in done.stderr.splitlines():
        parts = line.removeprefix("import time:").split("|")
        if len(parts) == 3 and parts[0].strip().isdigit():
            package = parts[2].strip().split(".")[0]
            spent[package] = spent.get(package, 0) + int(parts[0])
    print(f"imports: {sum(spent.values()) / 1000:.0f} ms in {len(spent)} packages")
    for package, microseconds in sorted(spent.items(), key=lambda item: -item[1])[:most]:
        print(f"{microseconds / 1000:8.1f} ms  {package}")


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--index", type=Path, help="time ours with this index too")
    arguments.add_argument("--ours-python", type=Path, help="interpreter of another environment for ours (a light one)")
    arguments.add_argument("--profile", action="store_true", help="only show where the start of ours goes")
    arguments.set_defaults(repeat=7)
    options = arguments.parse_args()
    if options.worker:
        {"peer": lambda: ask_peer(Path(options.task), QUESTION), "prepare": lambda: prepare(Path(options.task))}[
            options.worker
        ]()
        return
    with TemporaryDirectory(prefix="chimed-bench-") as temporary:
        work = Path(temporary)
        made = [sys.executable, __file__, "--worker", "prepare", "--task", json.dumps(str(work))]
        subprocess.run(made, check=True, capture_output=True)
        timed = commands(work, options)
        if options.index is not None:
            first = next(iter(timed.values()))
            timed["chimed ask (--index)"] = [*first[:-1], str(options.index)]
        if options.profile:
            imports(next(iter(timed.values())))
            return
        runs: dict[str, list[Row]] = {name: [] for name in timed}
        for number in range(-1, options.repeat):  # the first round warms the file cache and is not counted
            for name, command in timed.items():
                row = clock(command)
                if number >= 0:
                    runs[name].append(row)
        ours = statistics.median(row["answered s"] for row in next(iter(runs.values())))
        table = []
        for name, found in runs.items():
            merged = {key: statistics.median(row[key] for row in found) for key in found[0]}
            merged |= {"min s": min(row["answered s"] for row in found), "÷ ours": merged["answered s"] / ours}
            table.append({"what starts": name, "runs": options.repeat} | merged)
    report(
        "From process start to printed answer", COLUMNS, table,
        about={"question": QUESTION, "passages": len(PASSAGES)}, json_file=options.json_file,
        packages=("typer", "pydantic", "langchain-core", "langchain-community", "sentence-transformers", "torch"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
