"""The texts that are read in spreadsheets of Excel before 2007."""

import pytest

from integrations.files.tests.readers import files
from integrations.files.tests.readers.packages import (
    box,
    cells,
    header,
    merged,
    old_excel,
    ole,
)
from integrations.files.tests.readers.test_kinds import texts
from retrieval_store.errors import DataLoaderError
from retrieval_store_files.readers.files import read_file
from retrieval_store_files.readers.old_sheets import _column_name, _number


def test_sheets_are_read_as_they_are_shown():
    forms = ['#,##0.00 "kg"', "yyyy-mm-dd", "h:mm", "0.0%"]
    ships = (
        cells(
            [
                ["name", "load", "built"],
                ["Möwe", (1234.5, 0), (45000.0, 1)],
                ["wide", None, None],
                [3.0, (0.25, 2), (0.256, 3), True],
                [45000.25, (45000.25, 1), 1e15],
            ]
        )
        + merged((2, 4, 0, 2))
        + header('&L&"Arial,Bold"&12Company&CPage &P of &N')
        + header("&RSecret &D", footer=True)
        + box("In a box.")
        + box("A comment", kind=25)
    )
    file = read_file(
        old_excel({"Ships": ships, "Back": cells([["secret"]])}, forms, ["Back"]), "a.xls"
    )
    table, hidden, beside = texts(file)
    assert table == (
        ("Ships",),
        "| name | load | built |  |\n| --- | --- | --- | --- |\n"
        "| Möwe | 1,234.50 kg | 2023-03-15 |  |\n| wide | wide | wide |  |\n"
        "| 3 | 06:00:00 | 25.6% | TRUE |\n| 45000.25 | 2023-03-15 06:00:00 | 1000000000000000 |  |",
    )
    assert hidden == (("Back",), "| secret |\n| --- |")
    assert beside == ((), "Company\nSecret\nIn a box.")


@pytest.mark.parametrize(
    ("value", "form", "shown"),
    [
        (1.5, "General", "1.5"),
        (2.0, "General", "2"),
        (0.1 + 0.2, "General", "0.3"),
        (1e300, "General", "1e+300"),
        (1234.565, "#,##0.00", "1,234.57"),
        (-5.0, "0;(0)", "(5)"),
        (0.0, '0;-0;"none"', "0"),
        (7.0, '0;-0;"none"', "7"),
        (0.025, "0%", "3%"),
        (7.0, "000", "007"),
        (1.5, "0.0##", "1.5"),
        (1.0, "0.##", "1"),
        (1_500_000.0, '0.0,,"M"', "1.5M"),
        (3.0, "[$€-407] 0.00", "€ 3.00"),
        (3.0, '[Red]_(0\\ "pcs"_)', "3 pcs"),
        (0.5, "# ?/?", "0.5"),
        (12345.0, "0.00E+00", "12345"),
        (5.0, "@", "5"),
    ],
)
def test_numbers_are_shown_in_their_formats(value, form, shown):
    assert _number(value, form) == shown


def test_columns_are_called_as_in_the_program():
    assert [_column_name(number) for number in (0, 25, 26, 255)] == ["A", "Z", "AA", "IV"]


def test_files_that_only_have_the_ending_are_read_as_what_they_are():
    assert "| ship 1 | 1901 |" in read_file(files.sheets(), "a.xls").sections[0].text
    page = b"<html><table><tr><td>a<td>b<tr><td>c<td>d</table></html>"
    assert "c" in read_file(page, "a.xls").sections[0].text
    assert "| a | b |" in read_file(b"a\tb\n1\t2\n", "a.xls").sections[0].text


def test_unreadable_sheets_are_refused():
    for data, why in (
        (ole({"Other": b"x"}), "it isn't a spreadsheet that can be read"),
        (old_excel({"A": cells([["x"]])})[:300], "it isn't a spreadsheet that can be read"),
        (
            old_excel({}).replace(b"\x42\0\2\0\xb0\x04", b"\x2f\0\6\0\1\0\1\0\1\0"),
            "requires a password",
        ),
    ):
        with pytest.raises(DataLoaderError, match=why):
            read_file(data, "a.xls")
    packed = ole(
        {"Workbook": old_excel({"A": cells([["x"]])}).ljust(5000, b"\0"), "MBD1": {"a": b"x"}}
    )
    file = read_file(packed, "a.xls")
    assert texts(file) == [(("A",), "| x |\n| --- |")] and file.gaps == ("1 embedded object",)


def test_times_that_have_passed_are_no_dates():
    sheet = cells([["job", "took"], ["long", (2.5, 0)], ["short", (1 / 24 + 30 / 86_400, 1)]])
    forms = ["[h]:mm:ss", "[mm]:ss"]
    (table,) = read_file(old_excel({"Jobs": sheet}, forms), "a.xls").sections
    assert table.text.split("\n")[2:] == ["| long | 60:00:00 |", "| short | 1:00:30 |"]
