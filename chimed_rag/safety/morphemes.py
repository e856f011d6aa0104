"""Characters that spoken and written Chinese use for one another: 肚 and 腹, 吃 and 服, 娃 and 儿.

What is covered: parts of the body, sensations, what patients do and what is done to them, quantities, time and
function words, each class as one. What is not covered: words whose characters do not tell, opposites, which are kept
apart, and meaning: a class tells only that two texts may speak of the same thing.
"""

from __future__ import annotations

from collections.abc import Iterable

_CLASSES = (
    "脚足跗 肚腹 嘴口唇 眼目 脸面颜 脖颈项 腿肢股胫 手掌 胳臂 牙齿 骨骼 皮肤 脑颅头 尿溲 屎便粪 血瘀 奶乳 "
    "水液 冷寒凉 热温烧烫暖 疼痛 硬坚 快速迅急骤 慢缓 早晨 晚夜 吐呕 拉泻 喘哮 跳悸搏 晕眩 肿胀 胖肥 "
    "累疲乏倦 困嗜 慌悸 查检测验 治疗 打注射 抽吸 吃服食 喝饮 睡眠寐 走行步 躺卧 站立 死亡致命 怕畏惧 等待 "
    "孕妊怀胎 娃儿孩童婴幼宝 男雄 女妇雌 妈母 爸父 大夫医 药剂 病疾症患 坏损伤害 变改 看视 听闻 说言语 想思 "
    "洗冲 晒光 通畅 堵阻塞梗 破溃裂烂 红赤 好愈 重沉 高升 低降 增加 减少 先首初 后继 次回遍 天日 年岁 酒醇 "
    "油脂 菜蔬 刀术 切割除 取拔 补充 换更替 停止 让使令致 引诱起惹 里内 窄狭 干燥 湿潮 甜甘 辣辛 咳嗽 力劲 "
    "单独 双两 足够 全都皆均 很甚极 再复重 没无 别勿忌禁 跟与和同 给予 送转 救急 留存 保护 记录 问询 告知 "
    "所处 能可 必须得 应该 要需 常多 只仅光唯 靠凭借 像似如 是为系属 叫称名 含有带 附连 合混配 消退散 掉落脱 "
    "涨增 缩小 开松 紧勒 压按 摸触 敲叩 推搡 拉牵 抬举 放置搁 垫盖 包裹 绑扎 贴敷 抹涂擦 泡浸 煮煎熬 磨研 "
    "捣碎 咽吞 嚼咬 刷刮 传染 挑选 买购 家居 危险 防避躲 辨鉴别 算计 差弱 猛峻 轻微"
)
_FIRST = {ord(char): group[0] for group in reversed(_CLASSES.split()) for char in group}


def akin(chars: Iterable[str]) -> list[str]:
    """Each character as the first of its class; others as they are."""
    return list("".join(chars).translate(_FIRST))
