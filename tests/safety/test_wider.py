"""Classes of drugs and their members."""

import pytest

from chimed_rag.safety.alignment import read
from chimed_rag.safety.wider import is_member_or_class


@pytest.mark.parametrize(
    ("name", "following", "text", "expected"),
    [
        ("沙丁胺醇", "", "急性发作吸入短效β2受体激动剂", True),
        ("抗生素", "", "头孢曲松2g静滴", True),
        ("美托洛尔", "", "β受体阻滞剂用于心绞痛", True),
        ("美托洛尔", "", "β受体阻滞剂中普萘洛尔可掩盖低血糖", False),
        ("美托洛尔", "一类药", "β受体阻滞剂中普萘洛尔可掩盖低血糖", True),
        ("硝苯地平", "", "β受体阻滞剂用于心绞痛", False),
    ],
)
def test_a_class_stands_for_its_members_that_are_not_told_apart(name, following, text, expected):
    assert is_member_or_class(read(name).norm, following, [read(text)]) is expected
