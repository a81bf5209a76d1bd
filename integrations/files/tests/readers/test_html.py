"""The texts that are read in HTML."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.files.tests.readers import files
from integrations.files.tests.readers.test_kinds import texts
from retrieval_store_files.readers.files import read_file
from retrieval_store_files.readers.html import read_html


def all_of(file):
    return "\n".join(" > ".join(one.headings) + " " + one.text for one in file.sections)


def read(page):
    return read_file(page if isinstance(page, bytes) else page.encode(), "a.html")


def test_a_page_is_read_as_markdown():
    file = read(files.PAGE)
    assert (file.title, file.author, file.date, file.language) == (
        "Ropes",
        "Jane",
        "2026-01-02",
        "en",
    )
    assert texts(file) == [
        ((), "The Site"),
        (("Ropes",), "A rope has strands, [and more](https://example.com/a)."),
        (
            ("Ropes", "Kinds"),
            "- hemp\n- nylon\n  - braided\n\n```\ntie(\n  rope)\n```\n\n"
            "| kind | load |\n| --- | --- |\n| hemp | 2\\|3 t |",
        ),
        (("Ropes", "Care"), "Dry it."),
        ((), "1999"),
    ]
    assert file.gaps == ("1 word of navigation",)
    assert texts(read("<p>Größe".encode("latin-1"))) == [((), "Größe")]
    assert read(b"").sections == []
    assert texts(read("<pre>a<br>b</pre><ol start=3><li>c<li value=7>d<li>e</ol>")) == [
        ((), "```\na\nb\n```\n\n3. c\n7. d\n5. e")
    ]


@pytest.mark.parametrize(
    "shown",
    [
        "<div role=tabpanel aria-hidden=false>WORD</div>",
        "<article><p>a</p></article><h1>WORD</h1>",
        "<main>a</main><div role=complementary>WORD</div>",
        "<h2><button>WORD</button></h2>",
        "<a href=x><img alt='WORD'></a>",
        "<header>WORD</header><main>a</main>",
        "<aside>WORD</aside>",
        "<table><caption>WORD</caption><tr><td>a<td>b<tr><td>c<td>d</table>",
        "<table><tr><td>a<td><img alt=WORD><tr><td>c<td>d</table>",
        "<select><option>a<option>WORD</select>",
        "<textarea>WORD</textarea>",
        "<input type=submit value=WORD>",
        "<svg><text>WORD</text></svg>",
        "<object>WORD</object>",
        "<details><summary>a</summary>WORD</details>",
        "<dialog open>WORD</dialog>",
        "<h3>C# and WORD</h3>",
        "<a href='https://example.com'><div>WORD</div></a>",
        "<p>a<wbr>WORD",
        "<span hidden=until-found></span><form><label>WORD</label></form>",
    ],
)
def test_text_that_a_browser_shows_is_read(shown):
    assert re.search(r"WORD", all_of(read(f"<body>{shown}</body>")))


PARTS = [
    "section",
    "article",
    "main",
    "header",
    "figure",
    "details",
    "my-app",
    "mark",
    "dialog open",
]


@pytest.mark.parametrize("tag", PARTS)
def test_pages_without_the_tags_that_may_be_left_out_are_read(tag):
    head = "<!DOCTYPE html>\n<html lang=en>\n<meta charset=utf-8>\n<title>Harbour</title>\n"
    file = read(f"{head}<{tag}><h1>Rules</h1><p>Boats give way.</p></{tag.split()[0]}>\n")
    assert (file.title, file.language, file.gaps) == ("Harbour", "en", ())
    assert texts(file) == [(("Rules",), "Boats give way.")]


@pytest.mark.parametrize(
    ("page", "shown"),
    [
        ("<body><p>a</p></body></html><p>behind</p>", "a behind"),
        ("<html><body>a</body></html><html><head><title>T</title></head><body>b", "a T b"),
        ("<svg><title>t</title><text>a<tspan x=0>b</tspan></text><desc>c</desc></svg>", "t a b c"),
        ("<svg><foreignObject><p>Wait</p></foreignObject><style>no</style></svg>", "Wait"),
        ("<select><optgroup label=g><option>a<option label=b></select>", "g, a, b"),
        ("<table>stray<tr><td>a</td></tr></table>", "stray a"),
        ("<xmp><b></xmp>", "``` <b> ```"),
        ("<frameset><frame src=a></frameset><noframes><p>none</p></noframes>", "none"),
        ("a<iframe srcdoc='<p>b</p><iframe src=c></iframe>'>no</iframe>", "a b"),
        ("<p>a<script>no</script><style>no</style><!-- no -->b", "ab"),
        ("<div>" * 10_000 + "deep" + "<b>" * 3_000 + "er", "deeper"),
    ],
)
def test_a_page_is_parsed_as_browsers_parse_it(page, shown):
    assert " ".join(all_of(read(page)).split()) == shown


@pytest.mark.parametrize(
    ("page", "shown", "gaps"),
    [
        ("<p><template shadowrootmode=open><b>a</b> <slot>no</slot></template>b</p>", "a b", ()),
        (
            "<x-y><template shadowrootmode=closed><slot name=n></slot> <slot>else</slot></template>"
            "<i slot=n>named</i><i slot=m>unseen</i> <i>many</i> words </x-y>",
            "named many words",
            ("1 word that is hidden",),
        ),
        ("<ul><template shadowrootmode=open>a</template>b</ul>", "b", ("1 word of a template",)),
        (
            "<div><template shadowrootmode=open><p>outer <slot></slot></p></template>"
            "<div><template shadowrootmode=open>inner <slot></slot></template>light</div></div>",
            "outer inner light",
            (),
        ),
        (
            "<div><template shadowrootmode=open>a<slot>b</slot></template></div>"
            "<div><template shadowrootmode=open>c</template><template shadowrootmode=open>d",
            "ab c",
            ("1 word of a template",),
        ),
    ],
)
def test_shadow_roots_that_a_page_declares_are_shown(page, shown, gaps):
    file = read(page)
    assert (" ".join(all_of(file).split()), file.gaps) == (shown, gaps)


def test_content_that_no_browser_shows_is_counted_by_kind():
    page = (
        "<head><template>one two</template></head><p>text<datalist><option>three</datalist>"
        "<math><mi>x</mi><annotation>four five</annotation></math><canvas>six</canvas>"
        "<video>seven</video><svg><metadata>eight</metadata></svg>"
    )
    file = read(page)
    assert all_of(file).split() == ["textx"]
    assert file.gaps == (
        "2 words of templates",
        "1 word that a field suggests",
        "2 words of formulas' sources",
        "1 word of a drawing's metadata",
        "2 words in place of media",
    )


def test_xhtml_is_xml_first():
    page = "<html xmlns='http://www.w3.org/1999/xhtml'><body>{}<p/>b <h:h2 xmlns:h='http://www.w3.org/1999/xhtml'>c</h:h2></body></html>"
    data = page.format("<script/><title/><![CDATA[a < ]]>").encode()
    assert texts(read_file(data, "a.xhtml")) == [((), "a <\n\nb"), (("c",), "")]
    assert "unclosed" in all_of(read_file(b"<p>unclosed<br>", "a.xhtml"))


def test_a_heading_that_is_never_closed_is_text():
    many = " ".join(f"w{i}" for i in range(100))
    assert texts(read(f"<h1>a</h1><h2><p>{many}</p><p>b")) == [(("a",), f"{many}\n\nb")]


def test_headings_keep_their_signs():
    (section,) = read("<h1>C# <a href='#c'>¶</a></h1><p>x").sections
    assert section.headings == ("C#",)


def test_content_around_the_main_part_is_not_in_its_sections():
    page = (
        "<header>Shop</header><h1>Sale</h1><div role=main><p>cheap</p><h2>Beds</h2>soft</div>"
        "<div>Imprint</div><article><h2>Note</h2>x<footer>by Ann</footer></article><footer>1999"
    )
    assert texts(read(page)) == [
        ((), "Shop"),
        (("Sale",), "cheap"),
        (("Sale", "Beds"), "soft"),
        ((), "Imprint"),
        (("Note",), "x\n\nby Ann"),
        ((), "1999"),
    ]


def test_hidden_content_and_site_navigation_are_counted():
    page = (
        "<nav><a href=a>one</a> two<ul role=navigation><a href=b>three</a></ul></nav>"
        "<p hidden>three<b hidden>four</b></p><div style='display: none'>five six</div>"
        "<iframe src=x></iframe><noscript>seven</noscript><p>seen and read by all who come</p>"
    )
    file = read(page)
    assert texts(file) == [((), "seven\n\nseen and read by all who come")]
    assert file.gaps == ("4 words that are hidden", "3 words of navigation", "1 embedded page")


def test_content_of_scripts_and_unclosed_elements_is_read():
    hidden = read("<p>menu</p><div style='display:none'>the whole of the story</div>")
    assert all_of(hidden).split() == ["menu", "the", "whole", "of", "the", "story"]
    assert "home" in all_of(read("<body role=navigation><a href=a>home</a>"))
    unclosed = read("<nav><a href=a>home</a><p>A long text that has few links in it.</p>")
    assert "A long text that has few links in it." in all_of(unclosed)
    assert hidden.gaps == unclosed.gaps == ()


def test_cells_that_take_several_places_are_in_each_of_them():
    page = (
        "<table><tr><th>city<th>year<th colspan=2>people<tr><td rowspan=2>Bonn<td>2020<td>1<td>2"
        "<tr><td>2021<td rowspan=9>3<td>4<tr><td colspan=2>all<td>5</table>"
    )
    (section,) = read(page).sections
    rows = [
        [cell.strip() for cell in row.strip("|").split("|")] for row in section.text.split("\n")
    ]
    assert rows[2:] == [
        ["Bonn", "2020", "1", "2"],
        ["Bonn", "2021", "3", "4"],
        ["all", "all", "3", "5"],
    ]
    wide = read("<table><tr><td colspan=1000000>a<td>b<tr><td rowspan=1000000>c<td>d</table>")
    assert "| d" in all_of(wide) and len(all_of(wide)) < 20_000


def test_terms_precede_their_explanations_and_cells_have_words():
    page = """<h1>T</h1><dl><dt>f(x)</dt><dd><p>Return x.</p><p>More.</p></dd><dt>g</dt><dt>h</dt><dd>both</dd></dl>
<table><tr><th>a<th>b<tr><td><p>x</p><p>y</p><td>q<br>r <b>s</b>t</table>"""
    (section,) = read(page).sections
    assert section.text.split("\n\n") == [
        "f(x)\nReturn x.",
        "More.",
        "g\nh\nboth",
        "| a | b |\n| --- | --- |\n| x y | q r st |",
    ]


@pytest.mark.parametrize("declared", ["rot13", "base64", "undefined", "nobody-knows"])
def test_a_page_that_declares_an_unknown_encoding_is_read(declared):
    file = read(f"<meta charset={declared}><p>Größe geändert".encode("cp1252"))
    assert all_of(file).strip() == "Größe geändert" and len(file.gaps) == 1


TAGS = st.sampled_from(
    ["div", "p", "span", "b", "a", "ul", "ol", "li", "table", "tr", "td", "th", "h1", "h2", "button",
     "section", "article", "main", "header", "footer", "aside", "dl", "dt", "dd", "label", "figure",
     "blockquote", "code", "em", "form", "details", "summary", "svg", "text", "foreignObject", "math",
     "select", "option", "optgroup", "noscript", "my-part", "pre", "ruby", "rt", "object", "nobr",
     "caption", "tbody", "title", "center", "font", "label", "search", "menu", "xmp", "html", "body"]
)  # fmt: skip


@given(
    st.recursive(
        st.just("WORD"),
        lambda inner: st.tuples(TAGS, st.lists(inner, max_size=4)),
        max_leaves=20,
    )
)
def test_no_word_of_a_page_is_lost(tree):
    """However elements are nested, each word is read once, in order."""
    words = []

    def written(node):
        if node == "WORD":
            words.append(f"w{len(words)}w")
            return f" {words[-1]} "
        tag, children = node
        return f"<{tag}>{''.join(map(written, children))}</{tag}>"

    page = written(tree)
    file = read_html(page.encode(), "a.html")
    below = [" ".join(one.text for one in file.sections)]
    heads = " ".join(heading for one in file.sections for heading in one.headings)
    heads += f" {file.title}"
    found = re.findall(r"w\d+w", below[0])
    assert {*found} | {*re.findall(r"w\d+w", heads)} == {*words}
    assert len(found) == len({*found})
