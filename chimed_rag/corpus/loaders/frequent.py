"""Which characters real Chinese text is made of: the measure that tells a right decoding from mojibake.

Not covered: choosing an encoding (`encoding`); other languages, whose letters count as unlikely here.
"""

from __future__ import annotations

from collections import Counter

# The characters that make up most of any modern Chinese text, then those of medical text; general knowledge, typed
# by hand, in no particular order. The traditional forms follow, as texts in Big5 use them.
_SIMPLIFIED = (
    "的一是不了在人有我他这中大来上个国到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可里后小么心多天而能好都然"
    "没日于起还发成事只作当想看文无开手十用主行方又如前所本见经头面公同三已老从动两长知民样现分将外但身些与高意进把法此实回二"
    "理美点月明其种声全工己话儿者向情部正名定女问力机给等几很业最间新什打便位因重被走电四第门相次东政海口使教西再平真听世气信"
    "北少关并内加化由却代军产入先山五太水万市眼体别处总才场师书比住员九笑性通目华报立马命张活难神数件安表原车白应路期叫死常提"
    "感金何更反合放做系计或司利受光王果亲界及今京务制解各任至清物台象记边共风战干接它许八特觉望直服毛林题建南度统色字请交爱让"
    "认算论百吃义科怎元社术结六功指思非流每青管夫连远资队跟带花快条院变联言权往展该领传近留红治决周保达办运武半候七必城父强步"
    "完革深区即求品士转量空甚众技轻程告江语英基派满式李息写呢识极令黄德收脸钱党倒未持取设始版双历越史商千片容研像找友孩站广改"
    "议形委早房音火际则首单据导影失拿网香似斯专石若兵弟谁校读志飞观争究包组造落视济喜离虽坏际况坐集编宝谈府拉黑且随格尽剑讲布"
    "微怕母调局根曾准团段终乐切级克精哪官示冲竟乎男举客证苦照注费足尔招群热推晚响称兴待约阳哥惊吗整支古汉突号绝选吸参刊亚复伤"
    "类备欢另港势刻星断陈掌农夜般念价脑规底故省妈刚句显消衣陆器确破具居批送左右增减短低较易宜属均均含因除适须性质存期致虑续停"
    "病症患治疗药医痛血肺肝肾胃脾肠脏腹胸肿瘤癌炎细胞菌毒感染热烧咳嗽痰喘咽喉鼻耳舌脉虚实寒湿燥阴阳汤方剂丸散膏服煎克毫升片"
    "粒次日饭糖尿压脂酸钠钾钙镁铁氨胆固醇蛋白素激抗体免疫酶胰岛腺甲状旁乳房宫卵巢产妇孕婴幼童龄岁周检查诊断断术手切除缝合麻醉"
    "护理监测液输注射肌静脉动脉心律率搏跳衰竭梗塞栓狭窄出血凝溶贫溃疡糜烂水肿疹痒皮肤黏膜粘骨折关节韧带脊椎颈腰腿膝足神经脑"
    "昏迷晕厥眩头疼呕吐恶腹泻便秘消化吸收排泄泌尿道结石囊块占位增生化验超声影像线穿刺活镜内外儿科急慢性轻中重度型期级遗传基因"
    "突变先天缺损综合征障碍功能紊乱过敏哮呼吸困难氧气缺窒息发绀紫休克死亡存活预后防控饮食忌辛辣油腻清淡睡眠失眠焦虑抑郁精神"
    "组织器官系统反应作用机制临床表现特点原因诱常见严重明显持续反复进行早晚期高低血压升降监健康指导建议专家患者家属人群儿青老"
    "黄芪参归芍术苓草甘芎地丹桂枝柴胡芩连栀柏翘银菊薄荷桔梗杏仁半夏陈皮枳朴姜附麻防风羌独活牛膝杜仲枣味熟温凉平味苦甘咸归经"
    "补益祛瘀滋润养解表里泻利通淋止咳化瘀安神熄疏肝健脾固涩收敛证型辨论壮热盗汗口渴咽干苔薄腻数弦滑沉细弱紧浮"
    "牙齿唇睛瞳眶屈伸肩肘腕胯臀肛膀胱精囊列睾丸经期带痔瘘疮痈疖斑癣湿疣毛囊粉刺晒霉素林西头孢沙星唑韦拉普利洛尔汀胍列酮酯盐"
)
_TRADITIONAL = (
    "這個來國到說們為時過學對裡裏後麼還發當開見經頭動兩長樣現將與進實種聲話兒問機給幾業間電門東氣關並內產萬體別處總場師書員華"
    "報馬張難數應親務計記邊戰覺題統請愛讓認論義術結連遠資隊帶條變聯權傳領紅決達辦運歷強區轉量眾輕語滿寫識極黃臉錢黨雙單據導"
    "網專誰讀飛觀爭組視濟離雖況編寶談隨盡劍講調準團終樂級舉證費爾熱響稱興約陽驚嗎號絕選參復複傷類備歡勢斷陳農價腦規剛顯陸確"
    "減較屬須質慮續療藥醫腎腸臟腫細燒陰湯劑飯壓鈉鉀鈣鎂鐵膽島腺產婦嬰齡歲檢查診縫護監測輸靜脈動衰竭凝潰瘍爛膚節韌脊頸腦暈"
    "昏惡瀉臨識範劇嚴穩評結綠藍連陳薑養滲潤補熱齒壯滯滑緊弱澀斂盜鹽黴韋羅灣臺灣衛與於從眾僅須應該會讀號點線變體積極險確權歸"
    "腸胃門醫師護士會議個體檢驗劃劑膠囊錠鍵隱顱顯懷風險癥狀種類變異傳染檢測擴張縮緊鬆腫塊發燒頭痛嘔吐腹瀉過敏氣喘胰島糖尿飲"
    "貧溫涼鬱癢瘡癰癬繼續層狹擇擊換損據擾轉錄鏡針釋鈣鋅銀雜離靈鏈鍊隨險階隊陣陸陽際難順頻題額願類風飢餘館駁驗髒點齊齡預"
)
# What stands between the characters: punctuation, units and numerals that medical text uses.
_SIGNS = "，。、；：？！“”‘’（）《》〈〉【】「」『』〔〕［］—–…·～％℃＋－＝／×±≥≤＜＞①②③④⑤⑥⑦⑧⑨⑩ⅠⅡⅢⅣⅤαβγδμ°″′．　"


def _ordinary() -> frozenset[str]:
    """The ordinary characters of both scripts, read off the codecs: GB2312 level 1 (3,755) and Big5 level 1 (5,401)."""
    simplified = (bytes((high, low)) for high in range(0xB0, 0xD8) for low in range(0xA1, 0xFF))
    trails = [*range(0x40, 0x7F), *range(0xA1, 0xFF)]
    traditional = (bytes((high, low)) for high in range(0xA4, 0xC7) for low in trails)
    return frozenset(b"".join(simplified).decode("gb2312", "ignore") + b"".join(traditional).decode("big5", "ignore"))


FREQUENT = frozenset(_SIMPLIFIED + _TRADITIONAL)
_WEIGHTS = dict.fromkeys(_ordinary(), 0.2) | dict.fromkeys(_SIGNS, 0.7) | dict.fromkeys(FREQUENT, 1.0)


def weigh(text: str) -> tuple[float, int]:
    """How much the non-ASCII characters of a text look like Chinese: (sum of their weights, how many there are).

    Real text has a mean of about 0.85, mojibake one below 0.3.
    """
    total = 0.0
    judged = 0
    for char, count in Counter(text).items():
        if char < "\x80":
            continue
        judged += count
        weight = _WEIGHTS.get(char)
        if weight is None:
            # A rare Han character is possible, a character of another script in such text is a bad sign.
            weight = 0.0 if "\u4e00" <= char <= "\u9fff" else -0.5
        total += weight * count
    return total, judged


def plausibility(text: str) -> float:
    """The mean weight of the non-ASCII characters of a text; 1.0 where there are none to judge."""
    total, judged = weigh(text)
    return total / judged if judged else 1.0
