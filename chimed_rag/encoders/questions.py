"""Stub, replaced by the templates branch."""

from __future__ import annotations
import random

TPL = {
    "概述": ["{t}", "什么是{t}", "{t}是怎么回事", "{t}是什么病啊", "{t}严重吗"],
    "病因": ["{t}是怎么引起的", "为什么会得{t}", "{t}的原因", "得{t}是什么原因造成的"],
    "症状": ["{t}有什么症状", "{t}有哪些表现", "{t}的症状", "得了{t}会怎么样", "怎么知道是不是{t}"],
    "检查": ["{t}要做什么检查", "{t}怎么检查", "查{t}需要做哪些检查"],
    "治疗": ["{t}怎么治", "{t}怎么办", "{t}吃什么药", "得了{t}怎么治疗好", "{t}能治好吗", "请问医生{t}应该怎么治疗"],
    "预防": ["怎么预防{t}", "{t}怎么预防", "{t}平时要注意什么"],
    "护理": ["{t}怎么护理", "{t}要注意什么"],
    "饮食": ["{t}吃什么好", "{t}不能吃什么", "{t}饮食要注意什么"],
    "并发症": ["{t}会引起什么病", "{t}有什么并发症", "{t}会怎么样"],
    "诊断": ["{t}怎么诊断", "怎么确诊{t}", "{t}和别的病怎么区分"],
    "*": ["{t}{s}", "{t}的{s}", "{t}{s}是什么"],
}


def question(title: str, heading: str, rng: random.Random, sentence: str = "") -> str:
    """x"""
    for k, v in TPL.items():
        if k in heading:
            return rng.choice(v).format(t=title)
    return rng.choice(TPL["*"]).format(t=title, s=heading)
