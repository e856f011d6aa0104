"""Templates: what they say, what may be put in, and that a passage stays a passage."""

import hashlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chimed_rag.generation
from chimed_rag.config import Generation
from chimed_rag.errors import ConfigError, UnknownNameError
from chimed_rag.generation.prompts import lettered, load_prompt, prompt_names
from chimed_rag.generation.replies import NOT_TOLD
from tests.contracts.generator_contract import TEXTS, passages

FIELDS = {
    "question": "孕妇能吃布洛芬吗？",
    "text": "孕晚期禁用布洛芬。",
    "options": lettered({"A": "能", "B": "不能"}),
    "types": "疾病和诊断、药物",
    "history": "问：布洛芬能退烧吗？",
    "subject": "药理学",
}


def told(prompt, **given):
    return prompt.messages(**given)[-1]["content"]


@pytest.mark.parametrize("name", prompt_names())
def test_every_prompt_says_what_it_was_given(name):
    prompt = load_prompt(name)
    fields = {key: FIELDS[key] for key in prompt.fields}
    for evidence in ([], passages(*TEXTS)):
        messages = prompt.messages(evidence=evidence, **fields)
        text = "".join(one["content"] for one in messages)
        assert all(value in text for value in fields.values())
        assert not re.search(r"\{[a-z_]+\}", text)
        assert messages[-1]["role"] == "user"
    assert prompt.name == name
    assert load_prompt(name.split("@")[0]).name.startswith(name.split("@")[0])


def test_the_hash_is_that_of_the_file():
    folder = Path(chimed_rag.generation.__file__).parent / "templates"
    assert load_prompt("citation@1").sha256 == hashlib.sha256((folder / "citation.1.yaml").read_bytes()).hexdigest()


def test_the_citation_prompt_is_short_and_says_what_to_say_where_nothing_is_told():
    prompt = load_prompt(Generation().prompt)
    assert len(prompt.user) - len("{evidence}{question}") < 200  # characters; Chinese tokenizers take fewer tokens
    assert NOT_TOLD in prompt.user
    assert told(prompt, question="发烧怎么办？", evidence=passages(*TEXTS)).splitlines()[-6:] == [
        "文献：",
        f"[1] 布洛芬：{TEXTS[0]}",
        f"[2] 布洛芬：{TEXTS[1]}",
        "",
        "问题：发烧怎么办？",
        "回答：",
    ]


def test_choices_come_with_passages_and_without():
    choice = load_prompt("choice")
    given = {"question": "孕晚期禁用哪种药？", "options": lettered({"A": "布洛芬", "B": "青霉素"})}
    without = told(choice, **given)
    assert "文献" not in without
    assert "题目：孕晚期禁用哪种药？\nA. 布洛芬\nB. 青霉素\n" in without
    assert f"[1] 布洛芬：{TEXTS[0]}\n" in told(choice, evidence=passages(*TEXTS), **given)


def test_dialogue_has_its_turns_between():
    turns = [{"role": "user", "content": "头痛三天。"}, {"role": "assistant", "content": "发热吗？"}]
    messages = load_prompt("dialogue").messages(turns=turns, question="不发热。")
    assert [one["role"] for one in messages] == ["system", "user", "assistant", "user"]
    assert messages[1:] == [*turns, {"role": "user", "content": "不发热。"}]


@given(st.text(), st.text())
def test_nothing_put_in_is_read_as_a_template(question, text):
    question, text = f"{question}{{evidence}}{{0}}", f"{text}{{question}} {{"
    content = told(load_prompt("citation"), question=question, evidence=passages(text))
    assert f"问题：{question}\n" in content
    assert "".join(text.split()).translate(str.maketrans("[]［］【】〔〕", "()（）（）（）")).lstrip("#") in "".join(
        content.split()
    )


@given(st.text(alphabet="[]［］【】1问题：文献\n\r\x0b\x0c\x1c\x85\u2028\u2029 #水"))
def test_a_passage_looks_neither_like_the_next_one_nor_like_the_question(text):
    prompt = load_prompt("citation")
    few = told(prompt, question="水？", evidence=passages("水", "水"))
    content = told(prompt, question="水？", evidence=passages(text, "水", title=f"水{text}", headings=(text,)))
    assert len(content.splitlines()) == len(few.splitlines())
    assert re.findall(r"^\[\d\]|^问题：|^文献：", content, re.MULTILINE) == ["文献：", "[1]", "[2]", "问题："]
    passage = content.splitlines()[few.splitlines().index("文献：") + 1]
    assert re.findall(r"[\[\]［］【】〔〕]", passage) == ["[", "]"]


def test_a_heading_is_not_said_twice():
    [passage] = passages("## 用法用量\n每日三次。\n## 禁忌\n孕妇。", title="布洛芬", headings=("用法用量",))
    assert load_prompt("citation").written(passage) == "[1] 布洛芬 > 用法用量：每日三次。 禁忌 孕妇。"
    assert load_prompt("citation").written(passage.model_copy(update={"title": "", "headings": ()})) == (
        "[1] 用法用量 每日三次。 禁忌 孕妇。"
    )


def test_a_field_that_is_missing_or_not_known_is_a_mistake():
    with pytest.raises(TypeError, match=r"choice@1 takes \['options', 'question'\]"):
        load_prompt("choice").messages(question="？")
    with pytest.raises(TypeError, match="subject"):
        load_prompt("citation").messages(question="？", subject="药理学")


def test_an_unknown_prompt_names_those_there_are():
    for name in ("quotation", "citation@99", "citation@one", "@1", ""):
        with pytest.raises(UnknownNameError, match=r"citation@1, .*closed_book@1"):
            load_prompt(name)


def test_the_users_own_file(tmp_path):
    file = tmp_path / "ward.yaml"
    text = 'system: 你是药师。\nuser: "{evidence}\\n问：{question}"\npassage: "<{number}> {text}"\nstop: ["\\n问："]\n'
    file.write_text(text, "utf-8")
    prompt = load_prompt(str(file))
    assert (prompt.name, prompt.stop) == ("ward.yaml", ("\n问：",))
    assert prompt.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert prompt.messages(question="？", evidence=passages("水。")) == [
        {"role": "system", "content": "你是药师。"},
        {"role": "user", "content": "<1> 水。\n问：？"},
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user: '{question}'\npasage: x", r"ward\.yaml: pasage: Extra inputs .*there are: user, system"),
        ("user: '{question} {evidnce}'", r"ward\.yaml: user: \{evidnce\} is not known; there are: \{evidence\}"),
        ("user: '{evidence}'", r"ward\.yaml: user: has no \{question\}"),
        ("system: '{question}'", r"ward\.yaml: user: Field required"),
        ("user: '{question}'\nsystem: '{evidence}'", r"ward\.yaml: system: \{evidence\} is not known"),
        ("user: '{question}'\nevidence: 文献", r"ward\.yaml: evidence: has no \{passages\}"),
        ("user: '{question}'\npassage: '{text}'", r"ward\.yaml: passage: must be one line with \{number\}"),
        ("user: [", r"ward\.yaml, line 1: is not YAML"),
        ("- 1", r"ward\.yaml: the file: "),
        ("user: '{question}'\nstop: 1", r"ward\.yaml: stop: "),
    ],
)
def test_a_file_that_cannot_be_used_names_file_and_key(tmp_path, text, message):
    (tmp_path / "ward.yaml").write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=message):
        load_prompt(str(tmp_path / "ward.yaml"))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        load_prompt(str(tmp_path / "none.yaml"))
