import pytest

from chimed_rag.query.units import other_units


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("500毫克", "500mg 0.5g 0.5克"),
        ("500 mg", "500毫克 0.5g 0.5克"),
        ("0.3g", "0.3克 300mg 300毫克"),
        ("10ml", "10毫升 0.01l 0.01升"),
        ("140毫米汞柱", "140mmhg"),
        ("50ug", "50μg 50微克 0.05mg 0.05毫克"),
        ("6.1mmol/l", "6.1毫摩尔/升"),
        ("38度5", "38.5℃"),
        ("38.5度", "38.5℃"),
        ("39度", "39℃"),
        ("3公分", "3cm 3厘米"),
    ],
)
def test_the_other_spellings(said, meant):
    assert other_units(said) == (meant, [(said, meant)])
    assert other_units(f"吃{said}行吗") == (f"吃{meant}行吗", [(said, meant)])


@pytest.mark.parametrize(
    "text", ["毫克", "近视300度", "5gy", "5升高", "烧到38度52", "维生素b12", "2.38度", "1234567mg", "38.5℃", "38.5", ""]
)
def test_near_misses_stay(text):
    assert other_units(text) == (text, [])


def test_a_number_of_days_is_no_tenth_of_a_degree():
    assert other_units("烧到38度5天了")[0] == "烧到38℃5天了"
