from chimed_rag.query.rewriting import clinical
from chimed_rag.query.tables import replacements


def test_lay_words_become_clinical_ones_longest_first():
    assert clinical("宝宝拉肚子，肚子疼") == "儿童 婴儿腹泻，腹痛"
    assert clinical("退烧药") == "退热药"
    assert clinical("ＣＴ检查") == "ct检查"


def test_what_has_no_lay_word_is_only_folded():
    assert clinical("华法林与BMP") == "华法林与bmp"


def test_no_clinical_wording_is_a_lay_word_itself():
    """Otherwise one would have to look things up twice."""
    table = replacements("lay_terms.tsv").words
    assert len(table) > 300
    assert [lay for lay, words in table.items() if lay in words.split()] == []


def test_misspellings_are_mended_before():
    assert clinical("颠痫") == clinical("癫痫")
    table = replacements("misspellings.tsv").words
    assert len(table) > 500
    assert [wrong for wrong, right in table.items() if wrong in right] == []
