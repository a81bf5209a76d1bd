"""stub"""

import re

from retrieval_store.readers import FileText, Section

_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?\n)---[ \t]*(?:\n|\Z)", re.DOTALL)
_TITLE = re.compile(r"^title:[ \t]*(\S.*)$", re.MULTILINE)
_HEADING = re.compile(r"(#{1,6})[ \t]+(\S.*?)(?:[ \t]+#+)?\s*")
_RULE = re.compile(r"([=~^\"'*+-])\1{2,}\s*")
_FENCE = re.compile(r" {0,3}(```|~~~)")


def file_text_of(text):
    m = _FRONT_MATTER.match(text)
    at = m.end() if m else 0
    title = None
    if m and (f := _TITLE.search(m[1])):
        title = f[1].strip().strip("\"'")
    secs = [[0, "", at, at]]
    lines = []
    fence = ""
    rules = []
    pos = at
    for line in text[at:].split("\n"):
        mark = _FENCE.match(line)
        if mark and fence in ("", mark[1]):
            fence = "" if fence else mark[1]
        found, rule = (None, None) if fence else (_HEADING.fullmatch(line), _RULE.fullmatch(line))
        end = min(pos + len(line) + 1, len(text))
        t = ""
        if rule:
            *above, ttl = ["", "", *[l for _, l in lines]][-2:]
            r = line.rstrip()
            alone = above[0].strip() in ("", r)
            if ttl.strip() and len(ttl.rstrip()) <= len(r) and ttl != r and alone:
                t = ttl.strip()
                n = 2 if above[0] == r else 1
                secs[-1][3] = lines[-n][0]
        if found:
            secs[-1][3] = pos
            secs.append([len(found[1]), found[2], end, end])
            lines = []
        elif t:
            if rule[1] not in rules:
                rules += [rule[1]] if rules or rule[1] != "-" else ["=", "-"]
            secs.append([rules.index(rule[1]) + 1, t, end, end])
            lines = []
        else:
            lines.append((pos, line))
            secs[-1][3] = end
        pos += len(line) + 1
    out = []
    path = []
    own = None
    for i, (lvl, ttl, a, b) in enumerate(secs):
        body = text[a:b]
        if ttl:
            path = [p for p in path if p[0] < lvl] + [(lvl, ttl)]
        nxt = secs[i + 1][0] if i + 1 < len(secs) else 0
        if i == 0 and nxt == 1 and not body.strip():
            own = secs[1][1]
        if body.strip() or (ttl and nxt <= lvl):
            while a < b and text[a] in "\n\r \t":
                a += 1
            while b > a and text[b - 1].isspace():
                b -= 1
            out.append(Section(text[a:b], tuple(x for _, x in path), None, a, b))
    return FileText(out, own or title)
