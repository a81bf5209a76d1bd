"""Letters, digits and signs of other alphabets as those of ASCII that they are dressed up from, as
Lucene's filter of that name has them, whom others follow.

Most are what Unicode decomposes them into, without their marks. Here are those that are not: what
has no decomposition, and what keeps its form though it has one.
"""

import unicodedata
from functools import lru_cache

# Before each colon what the characters behind it become.
_BECOME = """
":«»“”„″‶❝❞❮❯ AE:ÆǢǼᴁ D:ÐĐƉƊƋᴅᴆꝹ O:ØƆƟǾᴏᴐꝊꝌ TH:ÞꝦ ss:ß ae:æǣǽᴂ d:ðđƌȡɖɗᵭᶁᶑꝺ o:øǿɔɵᴖᴗᶗⱺꝋꝍ th:þᵺꝧ
H:ĦʜⱧⱵ h:ħɥɦʮʯⱨⱶ i:ıɨᴉᵼᶖ q:ĸɋʠꝗꝙ L:ĿŁȽʟᴌⱠⱢꝆꝈꞀ l:ŀłƚȴɫɬɭᶅⱡꝇꝉꞁ n:ŉŋƞȵɲɳᵰᶇ N:ŊƝȠɴᴎ OE:Œɶ oe:œᴔ
T:ŦƬƮȾᴛꞆ t:ŧƫƭȶʇʈᵵⱦ b:ƀƃɓᵬᶀ B:ƁƂɃʙᴃ C:ƇȻʗᴄ c:ƈȼɕↄꜾꜿ E:ƎƐɆᴇⱻ F:ƑꜰꝻꟻ f:ƒᵮᶂẛꝼ G:ƓǤɢʛꝽꝾ hv:ƕ I:ƖƗɪᵻꟾ
K:ƘᴋⱩꝀꝂꝄ k:ƙʞᶄⱪꝁꝃꝅ M:ƜᴍⱮꟽꟿ P:ƤᴘⱣꝐꝒꝔ p:ƥᵱᵽᶈꝑꝓꝕꟼ V:ƲɅᴠỼꝞꝨ Y:ƳɎʏỾ y:ƴɏʎỿ Z:ƵȜȤᴢⱫꝢ z:ƶȝȥɀʐʑᵶᶎⱬꝣ
w:ƿʍⱳ e:ǝɇɘɛɜɝɞʚᴈᶒᶓᶔⱸ g:ǥɠɡᵷᵹᶃꝿ HV:Ƕ W:ǷᴡⱲ OU:Ȣᴕ ou:ȣ j:ȷɉɟʄʝ db:ȸ qp:ȹ A:Ⱥᴀ s:ȿʂᵴᶊẜẝꞄ U:Ʉᴜᵾ
J:Ɉᴊ Q:ɊꝖꝘ R:ɌʀʁᴙᴚⱤꝚꞂ r:ɍɼɽɾɿᵲᵳᶉꝛꞃ a:ɐəɚᶏᶕẚₔⱥⱯ m:ɯɰɱᵯᶆ u:ʉᶙ v:ʋʌᶌⱱⱴꝟ dz:ʣʥ ts:ʦ tc:ʨ ls:ʪ lz:ʫ
ue:ᵫ x:ᶍ SS:ẞ LL:Ỻ ll:ỻ -:‐‑‒–—⁻₋ ':‘’‚‛′‵‹›❛❜ ^:‸ /:⁄ [:⁅❲ ]:⁆❳ *:⁎ ;:⁏ %:⁒ ~:⁓ 11:⓫ 12:⓬ 13:⓭
14:⓮ 15:⓯ 16:⓰ 17:⓱ 18:⓲ 19:⓳ 20:⓴ 1:⓵❶➀➊ 2:⓶❷➁➋ 3:⓷❸➂➌ 4:⓸❹➃➍ 5:⓹❺➄➎ 6:⓺❻➅➏ 7:⓻❼➆➐ 8:⓼❽➇➑
9:⓽❾➈➒ 10:⓾❿➉➓ 0:⓿ (:❨❪ ):❩❫ <:❬❰ >:❭❱ {:❴ }:❵ ((:⸨ )):⸩ TZ:Ꜩ tz:ꜩ S:ꜱꞅ AA:Ꜳ aa:ꜳ AO:Ꜵ ao:ꜵ AU:Ꜷ
au:ꜷ AV:ꜸꜺ av:ꜹꜻ AY:Ꜽ ay:ꜽ OO:Ꝏ oo:ꝏ VY:Ꝡ vy:ꝡ
"""
_STAY = """
ªºʰʲʳʷʸˡˢˣ;ᴬᴮᴰᴱᴳᴴᴵᴶᴷᴸᴹᴺᴼᴾᴿᵀᵁᵂᵃᵇᵈᵉᵍᵏᵐᵒᵖᵗᵘᵛᶜᶠᶻ`․‥…ₕₖₗₘₙₚₛₜ₨℀℁ℂ℅℆ℊℋℌℍℎℐℑℒℓℕ№ℙℚℛℜℝ℠℡™ℤℨKÅℬℭℯℰℱℳℴℹ℻
ⅅⅆⅇⅈⅉⅠⅡⅢⅣⅤⅥⅦⅧⅨⅩⅪⅫⅬⅭⅮⅯⅰⅱⅲⅳⅴⅵⅶⅷⅸⅹⅺⅻⅼⅽⅾⅿ≠≮≯⩴⩵⩶ⱽꟲꟳꟴﬅ｀｜
"""
_BY_HAND = {
    one: become
    for become, _, ones in (group.partition(":") for group in _BECOME.split())
    for one in ones
} | {one: one for one in _STAY if not one.isspace()}


def fold(word: str) -> str:
    """The word in ASCII, as far as that goes."""
    return word if word.isascii() else "".join(map(_folded, word))


@lru_cache(maxsize=10_000)
def _folded(one: str) -> str:
    known = _BY_HAND.get(one)
    if known is not None or one.isascii():
        return known or one
    decomposed = unicodedata.normalize("NFKD", one)
    plain = "".join(part for part in decomposed if not unicodedata.combining(part))
    return plain if plain.isascii() and plain.strip() else one
