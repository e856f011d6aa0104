import pytest

from chimed_rag.entities.lexicon import Name, names, starter_names, unknown_drugs


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("芬必得", "布洛芬"),
        ("美林", "布洛芬"),  # a trade name of a suspension, which is an alias of the drug
        ("扑热息痛", "对乙酰氨基酚"),
        ("copd", "慢性阻塞性肺疾病"),
        ("心肌梗塞", "心肌梗死"),
        ("速尿", "呋塞米"),
        ("布洛芬", "布洛芬"),
    ],
)
def test_names_of_one_thing_are_one(said, meant):
    assert names()[said].canonical == meant


def test_an_alias_of_a_disease_is_a_name_of_its_own():
    """胸痛 leads a reader to infarction; it does not say infarction."""
    assert names()["胸痛"].canonical == "胸痛"
    assert names()["冠心病"] == Name("冠心病", "disease")


def test_a_class_is_not_its_member():
    assert names().get("钙通道阻滞剂", Name("", "")).canonical != "氨氯地平"


def test_every_name_leads_to_its_end():
    assert all(names().get(meant.canonical, meant).canonical == meant.canonical for meant in names().values())


def test_the_starter_literature_names_its_entries():
    titles = {title: (aliases, kind) for title, aliases, kind in starter_names()}
    assert "芬必得" in titles["布洛芬"][0] and titles["布洛芬"][1] == "drug"
    assert titles["妊娠期糖尿病"][1] == "disease"


def test_drugs_that_no_table_holds_are_known_by_their_endings():
    text = "可用阿洛西林或依普沙坦"
    assert [text[end - 3 : end] for _, end in unknown_drugs(text)] == ["洛西林", "普沙坦"]
    assert unknown_drugs("患者出现发热") == []
