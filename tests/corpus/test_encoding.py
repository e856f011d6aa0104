"""Decoding: the right text or an error that helps, never mojibake."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimed_rag.corpus.loaders.encoding import Decoded, decode, detect
from chimed_rag.corpus.loaders.frequent import plausibility, weigh
from chimed_rag.errors import CorpusError, InputError

SENTENCES = [
    "糖尿病患者应控制血糖，定期检查眼底。",
    "孕妇感冒发烧时不要自行服用布洛芬。",
    "高血压的治疗包括改善生活方式和药物治疗；",
    "头孢类药物服用期间及停药后7天内禁止饮酒！",
    "二甲双胍0.5 g，每日2次，饭后口服。",
    "体温超过38.5℃时可使用退热药。",
    "儿童腹泻时应注意补充水分，防止脱水。",
    "冠心病病人突然胸痛超过15分钟，应立即就医。",
    "慢性肾功能不全者慎用，用药期间监测血钾。",
    "本品为菊科植物的干燥全草，性寒，味苦。",
]
TRADITIONAL = [
    "糖尿病患者應控制血糖，定期檢查眼底。",
    "孕婦感冒發燒時不要自行服用止痛藥。",
    "高血壓的治療包括改善生活方式和藥物治療；",
    "兒童腹瀉時應注意補充水分，防止脫水。",
    "體溫超過三十八度時可以使用退燒藥，並多喝水。",
    "慢性腎臟病患者慎用，用藥期間監測血鉀。",
    "病人突然胸痛超過十五分鐘，應立即送醫。",
]
LEGACY = ["gbk", "gb18030"]
simplified = st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=6).map("\n".join)
traditional = st.lists(st.sampled_from(TRADITIONAL), min_size=1, max_size=6).map("\n".join)
few = settings(max_examples=60, deadline=None)


@few
@given(simplified, st.sampled_from([*LEGACY, "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]))
def test_round_trip_simplified(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding), "x.txt").text == text


@few
@given(traditional, st.sampled_from(["big5", "cp950", "gbk", "utf-8", "utf-16-le", "utf-16-be"]))
def test_round_trip_traditional(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding), "x.txt").text == text


@few
@given(st.sampled_from(SENTENCES), st.integers(0, 6))
def test_ten_characters_of_gbk_are_enough(sentence: str, start: int) -> None:
    text = sentence[start : start + 10]
    assert decode(text.encode("gbk"), "x.txt").text == text


@few
@given(st.sampled_from(TRADITIONAL), st.integers(0, 6))
def test_ten_characters_of_big5_are_enough(sentence: str, start: int) -> None:
    text = sentence[start : start + 10]
    assert decode(text.encode("big5"), "x.txt").text == text


@few
@given(st.binary(max_size=300))
def test_any_bytes_give_text_or_a_corpus_error(data: bytes) -> None:
    try:
        text, _, _ = decode(data, "x.txt")
    except CorpusError as error:
        assert str(error).startswith("x.txt")
    else:
        text.encode("utf-8")


def test_names_what_was_found() -> None:
    text = SENTENCES[0]
    assert decode(text.encode(), "x") == Decoded(text, "utf-8", "utf-8")
    assert decode(text.encode("utf-8-sig"), "x") == Decoded(text, "utf-8-sig", "bom")
    assert decode(text.encode("gbk"), "x") == Decoded(text, "gbk", "detected")
    # U+3400 lies outside GBK: only the four-byte codes of GB18030 have it.
    assert decode((text + "㐀").encode("gb18030"), "x") == Decoded(text + "㐀", "gb18030", "detected")
    assert decode(TRADITIONAL[0].encode("big5"), "x") == Decoded(TRADITIONAL[0], "big5", "detected")
    assert decode(codecs.BOM_UTF16_BE + text.encode("utf-16-be"), "x") == Decoded(text, "utf-16-be", "bom")
    assert decode(text.encode("utf-16-le"), "x") == Decoded(text, "utf-16-le", "detected")
    assert decode("中文 plain text\n".encode("utf-16-be"), "x").encoding == "utf-16-be"
    assert decode(b"plain", "x") == Decoded("plain", "utf-8", "utf-8")
    assert decode(b"", "x").text == ""


def test_hkscs_and_windows_characters_of_big5() -> None:
    # 裏 (F9D8) is only in Microsoft's table, 嘅 and 喺 are in the Hong Kong supplement.
    assert decode((TRADITIONAL[2] + "裏面").encode("cp950"), "x").encoding == "cp950"
    text = TRADITIONAL[2] + "佢哋嘅醫生喺醫院。"
    assert decode(text.encode("big5hkscs"), "x").text == text


def test_line_ends_become_newlines() -> None:
    assert decode("甲\r\n乙\r丙\n".encode(), "x").text == "甲\n乙\n丙\n"


def test_gbk_that_is_valid_utf8_by_accident() -> None:
    # 约 is D4 BC, in UTF-8 the Armenian letter U+053C, which no Chinese text has.
    assert "约10ml".encode("gbk").decode("utf-8") == "\u053c10ml"
    assert decode("约10ml".encode("gbk"), "x.txt") == Decoded("约10ml", "gbk", "detected")
    assert decode("5 µg ± 2 °C, café, naïve".encode(), "x.txt").text == "5 µg ± 2 °C, café, naïve"
    assert decode("α-受体 β".encode(), "x").encoding == "utf-8"


def test_damaged_utf8_is_not_taken_for_gbk() -> None:
    good = "\n".join(SENTENCES).encode()
    broken = good[:200] + b"\xff" + good[200:]
    line = good[:200].count(b"\n") + 1
    with pytest.raises(
        CorpusError, match=rf"guide.txt, line {line}: byte (19|20)\d is not valid utf-8.*iconv -f"
    ) as info:
        decode(broken, "guide.txt")
    assert info.value.line == line


def test_text_cut_off_within_a_character() -> None:
    data = "\n".join(SENTENCES).encode()
    with pytest.raises(CorpusError, match=r"line 10: ends in the middle of a character .*cut off"):
        decode(data[:-1], "a.txt")


def test_two_encodings_in_one_file() -> None:
    utf8, gbk = "\n".join(SENTENCES * 60).encode(), "\n".join(SENTENCES * 60).encode("gbk")
    for data in (utf8 + b"\n" + gbk, gbk + b"\n" + utf8):
        with pytest.raises(CorpusError, match=r"^joined.txt, line \d+: .*iconv"):
            decode(data, "joined.txt")


def test_other_languages_are_refused_not_guessed() -> None:
    japanese = "これは日本語の文章です。薬を飲んでください。お大事に。".encode("shift_jis")
    korean = "환자는 혈압을 정기적으로 측정해야 합니다".encode("euc-kr")
    western = b"na\xefve \x93caf\xe9\x94 patients d\xe9j\xe0 vu"
    for data in (japanese, korean, western):
        with pytest.raises(CorpusError, match=r"byte \d+ is not UTF-8.*encoding=.*iconv -f"):
            decode(data, "x.txt")


def test_too_little_to_tell() -> None:
    # B8 B9 is 腹 in GBK and 號 in Big5, both frequent.
    with pytest.raises(CorpusError, match=r"too little text to tell (gb18030 from big5|big5 from gb18030).*iconv -f"):
        decode(b"\xb8\xb9", "x.txt")
    assert decode(b"\xb8\xb9", "x.txt", encoding="gbk").text == "腹"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
        (b"PK\x03\x04rest", "a ZIP archive"),
        (b"\x7fELF\x02\x01", "a program"),
        (b"%PDF-1.7", "name it .pdf"),
        (b"\x1f\x8b\x08\x00", "end in .gz"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "save it as .docx"),
        (b"one\ntwo\x00\x01\x02", "line 2: is not text: zero byte at 7"),
        (b"\x01\x02\x03\x04 abc", "4 control characters, the first U\\+0001"),
    ],
)
def test_binary_files(data: bytes, what: str) -> None:
    with pytest.raises(CorpusError, match=what):
        decode(data, "x.txt")


def test_a_stray_control_character_is_kept() -> None:
    text = "正文" * 100 + "\x07"
    assert decode(text.encode(), "x").text == text


def test_the_caller_knows_best() -> None:
    data = "これは薬です".encode("shift_jis")
    assert decode(data, "x", encoding="shift_jis") == Decoded("これは薬です", "shift_jis", "given")
    assert decode(codecs.BOM_UTF8 + b"abc", "x", encoding="UTF8").text == "abc"
    with pytest.raises(InputError, match="'klingon' is not a text encoding"):
        decode(b"", "x", encoding="klingon")
    with pytest.raises(InputError, match="'hex' is not a text encoding"):
        decode(b"", "x", encoding="hex")
    with pytest.raises(CorpusError, match="byte 0 is not valid ascii"):
        decode("药".encode(), "x", encoding="ascii")


def test_what_a_page_declares() -> None:
    gbk, utf8 = "药".encode("gbk"), "药".encode()
    assert decode(gbk, "x", declared="gb2312") == Decoded("药", "gb2312", "declared")
    assert decode(utf8, "x", declared="gb2312").how == "utf-8"  # the bytes know better
    assert decode(SENTENCES[0].encode("gbk"), "x", declared="utf-8").encoding == "gbk"
    assert decode(SENTENCES[0].encode("gbk"), "x", declared="no-such-charset").encoding == "gbk"


@few
@given(simplified, st.integers(1, 8))
def test_a_sample_may_end_within_a_character(text: str, cut: int) -> None:
    text += SENTENCES[0]
    for encoding in ("utf-8", "gbk"):
        assert detect(text.encode(encoding)[:-cut], "x", complete=False).encoding == encoding


def test_weights() -> None:
    assert weigh("abc") == (0.0, 0)
    assert weigh("的的") == (2.0, 2)  # frequent: 1 each
    assert plausibility("的。") == pytest.approx((1 + 0.7) / 2)
    assert plausibility("龘") == 0.0  # rare
    assert plausibility("ю") == -0.5  # another script
    assert plausibility("") == 1.0
