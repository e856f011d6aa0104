from chimed_rag.generation.echo import EchoGenerator
from chimed_rag.records import DraftCitation, DraftSentence
from chimed_rag.registry import generators
from tests.contracts.generator_contract import TEXTS, GeneratorContract, passages


class TestEcho(GeneratorContract):
    def make(self):
        return EchoGenerator()


def test_without_a_script_says_the_first_sentence_of_each_passage():
    draft = EchoGenerator().generate("", passages(*TEXTS))
    assert [sentence.text for sentence in draft.sentences] == [
        "布洛芬用于缓解轻至中度疼痛，也用于发热。",
        "发热时应多饮水，注意休息。",
    ]
    assert draft.sentences[1].citations == (DraftCitation(number=2, begin=0, end=13),)


def test_markers_at_the_end_of_a_scripted_string_become_citations():
    draft = EchoGenerator(["多喝水。[1] [12]", "没有出处。", "中间[3]也算。"]).generate("", [])
    assert [(sentence.text, [cited.number for cited in sentence.citations]) for sentence in draft.sentences] == [
        ("多喝水。", [1, 12]),
        ("没有出处。", []),
        ("中间也算。", [3]),  # models mark clauses too: what cites stays no part of the sentence
    ]


def test_a_scripted_sentence_is_said_as_it_is():
    sentence = DraftSentence(text="", citations=(DraftCitation(number=99, begin=5, end=2),))
    assert EchoGenerator([sentence]).generate("", []).sentences == (sentence,)


def test_an_empty_script_says_nothing():
    assert EchoGenerator([]).generate("", passages(*TEXTS)).sentences == ()


def test_the_registry_finds_it():
    assert generators.get("echo") is EchoGenerator
