"""What every generator must do, whatever it writes. A test class of an implementation inherits from it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from chimed_rag.generation.base import Generator
from chimed_rag.records import Draft, Evidence

TEXTS = (
    "布洛芬用于缓解轻至中度疼痛，也用于发热。孕晚期禁用布洛芬。",
    "发热时应多饮水，注意休息。体温超过38.5℃时可使用退热药。",
)


def passages(*texts: str, title: str = "布洛芬", headings: tuple[str, ...] = ()) -> list[Evidence]:
    """Evidence numbered from 1, each passage being its whole document."""
    return [
        Evidence(
            number=number,
            chunk_id=f"c{number}",
            document_id=f"d{number}",
            text=text,
            start=0,
            end=len(text),
            title=title,
            headings=headings,
            score=1 / number,
        )
        for number, text in enumerate(texts, 1)
    ]


class GeneratorContract(ABC):
    """Inherit and make a generator."""

    @abstractmethod
    def make(self) -> Generator: ...

    def test_is_a_generator_with_a_name(self):
        generator = self.make()
        assert isinstance(generator, Generator)
        assert generator.name

    def test_no_evidence_gives_a_draft_without_sentences(self):
        draft = self.make().generate("布洛芬能退烧吗？", [])
        assert draft == Draft(generator=self.make().name)

    def test_draft_bears_the_generators_name(self):
        generator = self.make()
        assert generator.generate("布洛芬能退烧吗？", passages(*TEXTS)).generator == generator.name

    def test_cites_only_given_passages_and_places_within_them(self):
        evidence = passages(*TEXTS)
        texts = {passage.number: passage.text for passage in evidence}
        draft = self.make().generate("布洛芬能退烧吗？", evidence)
        assert draft.sentences
        for sentence in draft.sentences:
            assert sentence.text.strip() == sentence.text != ""
            for cited in sentence.citations:
                assert cited.number in texts
                if cited.begin is not None and cited.end is not None:
                    assert 0 <= cited.begin < cited.end <= len(texts[cited.number])

    def test_is_deterministic(self):
        evidence = passages(*TEXTS)
        assert self.make().generate("发烧怎么办", evidence) == self.make().generate("发烧怎么办", evidence)

    def test_takes_term_weights(self):
        assert self.make().generate("发热怎么办", passages(*TEXTS), term_weight=lambda term: 0.0).sentences

    def test_bears_odd_questions_and_passages(self):
        for question in ("", "？？？", "a" * 5000, "\ud800"):
            self.make().generate(question, passages("", "\n\n", "。。。", "一", "：：：\n1.\n2."))
