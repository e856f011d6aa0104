import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimed_rag.generation.echo import EchoGenerator
from chimed_rag.generation.extractive import ExtractiveGenerator
from chimed_rag.records import Draft, DraftCitation, DraftSentence, Evidence
from chimed_rag.safety.citations import CHECKS, verify
from chimed_rag.text import fold

DOCUMENT = "第一章\n成人每次服用甲药300毫克，每日三次。\n页眉 12\n孕妇不宜服用，哺乳期慎用本品。儿童用量请遵医嘱。"
BEGIN = DOCUMENT.index("成人")


def passage(document=DOCUMENT, start=BEGIN, number=1, **fields):
    return Evidence(
        number=number,
        chunk_id="c",
        document_id="d",
        text=document[start:],
        start=start,
        end=len(document),
        score=1.0,
        **fields,
    )


def check(text, *cited, evidence=None, document=DOCUMENT):
    citations = tuple(c if isinstance(c, DraftCitation) else DraftCitation(number=c) for c in cited)
    draft = Draft(generator="test", sentences=(DraftSentence(text=text, citations=citations),))
    (sentence,) = verify(draft, evidence or [passage()], {"d": document}.__getitem__)
    for citation in sentence.citations:
        assert document[citation.start : citation.end] == citation.quote
    assert sentence.verdict == ("supported" if sentence.citations else "unsupported")
    assert tuple(one.name for one in sentence.checks) == CHECKS
    return sentence


def verdicts(sentence):
    return [one.verdict for one in sentence.checks[:3]]  # of the steps before the comparison of words


def test_a_literal_sentence_is_supported_and_its_citation_carries_the_source():
    fields = {
        "title": "甲药说明书",
        "headings": ("用法",),
        "page": 3,
        "source": "a.pdf",
        "url": "https://example.org",
        "date": "2020",
        "licence": "CC0",
    }
    sentence = check("成人每次服用甲药300毫克，每日三次。", 7, evidence=[passage(number=7, **fields)])
    (citation,) = sentence.citations
    assert verdicts(sentence) == ["passed", "passed", "passed"]
    assert (citation.number, citation.document_id, citation.chunk_id) == (7, "d", "c")
    assert {name: getattr(citation, name) for name in fields} == fields
    assert citation.start == BEGIN


def test_width_case_and_blanks_do_not_matter():
    assert check("成人每次 服用甲药３００毫克，每日三次。", 1).verdict == "supported"


def test_a_place_is_taken_before_it_is_searched():
    end = len("成人每次服用甲药300毫克，每日三次。")
    place = DraftCitation(number=1, begin=0, end=end)
    assert check("成人每次服用甲药300毫克，每日三次。", place).verdict == "supported"
    assert check("儿童用量请遵医嘱。", place).verdict == "unsupported"


@pytest.mark.parametrize(("begin", "end"), [(0, 9999), (-1, 4), (5, 2), (4, 4)])
def test_a_place_outside_the_passage_is_refused(begin, end):
    sentence = check("儿童用量请遵医嘱。", DraftCitation(number=1, begin=begin, end=end))
    assert verdicts(sentence) == ["passed", "failed", "not_applicable"]


def test_a_removed_header_gives_two_citations():
    head, tail = "成人每次服用甲药300毫克，每日三次。", "孕妇不宜服用，哺乳期慎用本品。"
    low, high = DOCUMENT.index(head), DOCUMENT.index(tail)
    evidence = Evidence(
        number=1,
        chunk_id="c",
        document_id="d",
        text=head + tail,
        start=low,
        end=high + len(tail),
        runs=((0, low, len(head)), (len(head), high, len(tail))),
        score=1.0,
    )
    sentence = check(head + tail, 1, evidence=[evidence])
    assert [citation.quote for citation in sentence.citations] == [head, tail]


def test_a_passage_that_was_never_retrieved():
    sentence = check("成人每次服用甲药300毫克，每日三次。", 99)
    assert verdicts(sentence) == ["failed", "not_applicable", "not_applicable"]
    assert "99" in sentence.checks[0].detail


def test_an_invented_passage_beside_a_true_one_is_dropped_and_named():
    sentence = check("儿童用量请遵医嘱。", 99, 1)
    assert [citation.number for citation in sentence.citations] == [1]
    assert sentence.checks[0].verdict == "passed" and "99" in sentence.checks[0].detail


def test_a_document_that_is_gone():
    draft = EchoGenerator(["儿童用量请遵医嘱。[1]"]).generate("", [])
    (sentence,) = verify(draft, [passage()], {}.__getitem__)
    assert sentence.verdict == "unsupported" and sentence.checks[0].verdict == "failed"


def test_a_document_that_changed():
    assert check("儿童用量请遵医嘱。", 1, document=DOCUMENT[:20]).verdict == "unsupported"
    assert check("儿童用量请遵医嘱。", 1, document="甲" * len(DOCUMENT)).verdict == "unsupported"


@pytest.mark.parametrize("text", ["", "  ", "。。。"])
def test_a_sentence_that_says_nothing(text):
    assert check(text, 1).verdict == "unsupported"


def test_a_sentence_without_citation():
    """The citation that the draft forgot is found; where there is none, that is said."""
    sentence = check("儿童用量请遵医嘱。")
    assert sentence.verdict == "supported" and [one.number for one in sentence.citations] == [1]
    assert "没有标注出处" in sentence.checks[0].detail
    assert verdicts(check("儿童用量可以加倍。")) == ["failed", "not_applicable", "not_applicable"]


@pytest.mark.parametrize(
    "text",
    [
        "成人每次服用甲药600毫克，每日三次。",
        "成人每次服用甲药300毫克，每日两次。",
        "成人每次服用甲药30毫克，每日三次。",
    ],
)
def test_another_number_fails(text):
    assert verdicts(check(text, 1)) == ["passed", "passed", "failed"]


def test_numbers_are_compared_by_value():
    document = "该试验共纳入1,000名成年病人，平均剂量为0.50毫克。"
    sentence = check(
        "该试验共纳入1000名成年的病人，平均剂量0.5毫克。", 1, evidence=[passage(document, 0)], document=document
    )
    assert verdicts(sentence) == ["passed", "passed", "passed"]


def test_nearly_the_same_words_are_supported_by_what_stands_there():
    sentence = check("成年人每次可服用甲药300毫克，每日三次。", 1)
    assert sentence.verdict == "supported"
    assert sentence.citations[0].quote.endswith("服用甲药300毫克，每日三次。")


@pytest.mark.parametrize("text", ["孕妇适宜服用，哺乳期慎用本品。", "孕妇宜服用，哺乳期慎用本品。"])
def test_a_lost_negation_is_found_as_such(text):
    """The quote is found, as the sentence words it otherwise; what is wrong is its strength."""
    failed = {one.name: one.detail for one in check(text, 1).checks if one.verdict == "failed"}
    assert "不宜" in failed["strength_agrees"]


def test_a_passage_may_end_with_the_word_that_forbids():
    """What stands behind that word is looked at, and nothing stands there."""
    document = "麻黄汤发汗解表，治风寒表实；发汗峻，体虚、新产、失血忌用。"
    sentence = check("产后失血体虚的人感寒，仍以麻黄汤为首选。", 1, evidence=[passage(document, 0)], document=document)
    assert sentence.verdict == "unsupported"


def test_an_invention_is_not_found():
    assert verdicts(check("甲药能治好所有的感冒和发热。", 1)) == ["passed", "failed", "not_applicable"]


def test_one_sentence_for_each_of_the_draft_in_order():
    draft = EchoGenerator(["儿童用量请遵医嘱。[1]", "", "胡说八道一番话。[1]"]).generate("", [])
    sentences = verify(draft, [passage()], {"d": DOCUMENT}.__getitem__)
    assert [sentence.verdict for sentence in sentences] == ["supported", "unsupported", "unsupported"]
    assert [sentence.text for sentence in sentences] == [sentence.text for sentence in draft.sentences]


PIECES = st.sampled_from(
    [
        "高血压可以服用降压药。",
        "每日３次，",
        "每次 50mg；",
        "\n",
        "　",
        "孕妇禁用",
        "其",
        "：",
        "1.",
        "Ⅱ型",
        "İ",
        "第3页",
    ]
)
PARTS = st.lists(st.tuples(st.lists(PIECES, max_size=8).map("".join), st.booleans()), max_size=6)


@st.composite
def removed_headers(draw):
    """A document of parts, some of which the passage leaves out."""
    document, text, runs = "", "", []
    for part, is_kept in draw(PARTS):
        if is_kept and part:
            runs.append((len(text), len(document), len(part)))
            text += part
        document += part
    evidence = Evidence(
        number=draw(st.integers(1, 9)),
        chunk_id="c",
        document_id="d",
        text=text,
        start=runs[0][1] if runs else 0,
        end=runs[-1][1] + runs[-1][2] if runs else 0,
        runs=tuple(runs),
        score=0.0,
    )
    return document, evidence


def squeezed(text):
    return "".join(fold(text).split())


@settings(max_examples=100, deadline=None)
@given(removed_headers())
def test_what_the_extractive_generator_quotes_is_always_proved(case):
    document, evidence = case
    draft = ExtractiveGenerator(floor=0.0, max_sentences=20).generate("高血压怎么办", [evidence])
    for sentence in verify(draft, [evidence], {"d": document}.__getitem__):
        assert sentence.verdict == "supported"
        assert all(document[c.start : c.end] == c.quote != "" for c in sentence.citations)
        assert squeezed("".join(c.quote for c in sentence.citations)) == squeezed(sentence.text)


@settings(max_examples=100, deadline=None)
@given(
    removed_headers(),
    st.text(max_size=30),
    st.none() | st.integers(-3, 40),
    st.none() | st.integers(-3, 40),
    st.integers(0, 9),
)
def test_whatever_a_draft_says_quotes_are_slices(case, text, begin, end, number):
    document, evidence = case
    cited = DraftCitation(number=number, begin=begin, end=end)
    for words in (text, evidence.text[2:20], evidence.text):
        draft = Draft(generator="test", sentences=(DraftSentence(text=words, citations=(cited,)),))
        (sentence,) = verify(draft, [evidence], {"d": document}.__getitem__)
        assert all(document[c.start : c.end] == c.quote for c in sentence.citations)
        assert bool(sentence.citations) == (sentence.verdict == "supported")


def passages(*texts):
    return [
        Evidence(number=n, chunk_id=f"c{n}", document_id=f"d{n}", text=text, start=0, end=len(text), score=1.0)
        for n, text in enumerate(texts, 1)
    ], {f"d{n}": text for n, text in enumerate(texts, 1)}.__getitem__


def test_two_passages_support_one_sentence_together():
    evidence, documents = passages("甲药可引起头晕和恶心。", "孕妇禁用甲药，用前应查肝功能。")
    draft = EchoGenerator(["甲药可导致头晕、恶心，怀孕的妇女不能使用甲药。[1][2]"]).generate("", [])
    (sentence,) = verify(draft, evidence, documents)
    assert [cited.number for cited in sentence.citations] == [1, 2]


def test_the_wrong_one_of_two_citations_is_dropped_and_named():
    evidence, documents = passages("甲药可引起头晕和恶心。", "甲药不会引起头晕和恶心。")
    (sentence,) = verify(EchoGenerator(["甲药会导致头晕、恶心。[1][2]"]).generate("", []), evidence, documents)
    assert [cited.number for cited in sentence.citations] == [1]
    assert "文献 2" in sentence.checks[0].detail


def test_a_wrong_citation_is_not_mended_silently():
    evidence, documents = passages("甲药可引起头晕和恶心。", "乙病多见于冬季，常有高热。")
    (sentence,) = verify(EchoGenerator(["甲药会导致头晕、恶心。[2]"]).generate("", []), evidence, documents)
    assert sentence.verdict == "unsupported"


def test_a_model_has_the_last_word_on_what_passed():
    evidence, documents = passages("甲药可引起头晕和恶心。", "孕妇禁用甲药。")
    asked = []

    def nli(pairs):
        asked.extend(pairs)
        return [0.2 if "孕妇" in premise else 0.9 for premise, _ in pairs]

    script = ["甲药会导致头晕、恶心。[1]", "甲药孕妇禁用。[2]", "甲药能治百病。[1]"]
    sentences = verify(EchoGenerator(script).generate("", []), evidence, documents, nli=nli)
    assert [sentence.verdict for sentence in sentences] == ["supported", "unsupported", "unsupported"]
    assert [sentence.checks[-1].verdict for sentence in sentences] == ["passed", "failed", "not_applicable"]
    assert asked[0] == ("甲药可引起头晕和恶心。", "甲药会导致头晕、恶心。") and len(asked) == 2
    assert verify(EchoGenerator([]).generate("", []), evidence, documents, nli=nli) == ()


@pytest.mark.parametrize(
    "text",
    [
        "甲" * 20_000,
        "孕妇禁用，" * 4_000,
        "不" * 1_900,
        "5mg、" * 500,
        "<b>孕妇</b><script>禁用</script>",
        "Ibuprofen 禁用 для 孕婦 İ ﷽",
        "\ud800孕妇\ue000禁用",
    ],
)
def test_odd_sentences_are_borne(text):
    evidence, documents = passages("孕妇禁用，" * 20_000, "5mg、" * 5_000, text[:3000])
    for cited in (
        (),
        (DraftCitation(number=1),),
        (DraftCitation(number=99),),
        (DraftCitation(number=2, begin=0, end=9),),
    ):
        draft = Draft(generator="t", sentences=(DraftSentence(text=text, citations=cited),))
        (sentence,) = verify(draft, evidence, documents)
        assert bool(sentence.citations) == (sentence.verdict == "supported")


REPLY = "根据您的描述，考虑是感冒引起的咳嗽，可以不吃抗生素。感冒引起的咳嗽一般两周内自行好转。"


@pytest.mark.parametrize(
    "text",
    [
        "根据您的描述，考虑是感冒引起的咳嗽，可以不吃抗生素。",  # word for word
        "您的咳嗽考虑是感冒引起的，可以不吃抗生素。",
        "考虑是感冒引起的咳嗽，可以不吃抗生素。",
    ],
)
@pytest.mark.parametrize("cited", [(1,), ()])
def test_what_a_doctor_told_another_patient_supports_nothing(text, cited):
    sentence = check(text, *cited, evidence=[passage(REPLY, 0)], document=REPLY)
    assert sentence.verdict == "unsupported"
    failed = {one.name: one.detail for one in sentence.checks if one.verdict == "failed"}
    assert failed.keys() == {"population_agrees" if cited else "passage_exists"}
    assert "原文是医生对另一位患者说的" in "".join(failed.values())


def test_what_a_reply_says_of_everybody_supports():
    for text in ("感冒引起的咳嗽一般两周内自行好转。", "由感冒引起的咳嗽，一般在两周内自行好转。"):
        assert check(text, 1, evidence=[passage(REPLY, 0)], document=REPLY).verdict == "supported"


def test_the_reader_may_be_addressed_with_what_holds_for_everybody():
    document = "感冒引起的咳嗽一般两周内自行好转，不需要抗生素。"
    text = "您的这种咳嗽是感冒引起的，一般两周内自行好转，不需要抗生素。"
    assert check(text, 1, evidence=[passage(document, 0)], document=document).verdict == "supported"
