"""CSV is read strictly, as a manifest and as rows."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbanana.errors import ManifestError
from batchbanana.manifest import Faults, table
from tests.manifest.conftest import FaultsOf, Load

CELLS = st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from('",\n'), max_size=8)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('prompt\na"b\n', "2: a quote stands inside an unquoted cell"),
        ('prompt,x\na,"b"c\n', "2: a quoted cell goes on after its closing quote"),
        ('prompt\nok\n"two\nlines"\n"open\n', "5: a quoted cell that begins in this row never ends"),
        ("prompt,x\na,b\n\nc\n", "4: this row has 1 cells, but the header has 2"),
        ('prompt,x\n"a\nb",c\nd,e,f\n', "4: this row has 3 cells, but the header has 2"),
        ("prompt,prompt\na,b\n", "1: two columns are called `prompt`"),
        ('prompt,"a\nb"\nx,y\n', "1: the column `a b` is no name for a variable"),
        ("prompt,\na,b\n", "1: column 2 has no name"),
        ("prompt\n", "the file has a header but no rows"),
        ("", "the file has no rows"),
        ("name\na\n", "1: a CSV manifest needs a column `prompt`"),
        ("Prompt\na\n", "1: a CSV manifest needs a column `prompt`: rename `Prompt`"),
        ("prompt,Ratio\na,1:1\n", "1: the column `Ratio` is too close to a word of the matrix: did you mean `ratio`?"),
        ("prompt,ratio\na,16x9\n", "2: `ratio` cannot be `16x9`: a ratio is written like 16:9"),
        ("prompt,ratio\na,1:1\nb,7:5\n", "3: `gemini-nano-banana-2.1` does not make 7:5"),
        ("prompt,samples\na,two\n", "2: `samples` must be a whole number from 1"),
        ("prompt,color\nA {colour},red\n", "2: the prompt uses `{colour}`, which has no value: did you mean `color`?"),
        ("prompt,color\nA mug,red|blue\n", "2: the prompt does not use `color`, so its 2 values would buy the same"),
        ("prompt,references\na,no.png\n", "2: the reference `no.png` does not exist"),
        ("id,prompt\na,x\na,y\n", "3: the id `a` stands here and in line 2"),
        ("prompt,x\n ,b\n", "2: the prompt is empty"),
        ("prompt\na\x01\n", "2: this row has the control character U+0001"),
    ],
)
def test_a_fault_names_the_line_where_the_row_begins(text: str, fault: str, faults_of: FaultsOf) -> None:
    found = faults_of(text, "m.csv")
    assert any(message.startswith(fault) for message in found), found


def test_bars_separate_values_and_doubled_bars_do_not(load_manifest: Load) -> None:
    matrix = load_manifest("prompt,ratio,color\na {color} mug,1:1|16:9,red | blue\nx || y,,\n", "m.csv")
    assert matrix.cells == len(list(matrix)) == 5
    assert {task.prompt for task in matrix} == {"a red mug", "a blue mug", "x | y"}
    assert [job.id for job in matrix.jobs] == ["m"]


def test_a_bom_and_windows_line_ends_and_trailing_rows_of_commas_are_fine(load_manifest: Load) -> None:
    matrix = load_manifest(b"\xef\xbb\xbfprompt,id\r\nA mug,a\r\n\r\nA pot,b\r\n,\r\n", "m.csv")
    assert [(task.job, task.prompt) for task in matrix] == [("a", "A mug"), ("b", "A pot")]


def test_a_csv_of_known_columns_takes_its_prompts_literally(load_manifest: Load) -> None:
    (task,) = load_manifest('prompt\n"{""subject"": ""mug""}"\n', "m.csv")
    assert task.prompt == '{"subject": "mug"}'


@given(st.lists(st.tuples(CELLS, CELLS), max_size=6))
def test_what_the_csv_module_writes_is_read_back(rows: list[tuple[str, str]]) -> None:
    out = io.StringIO(newline="")
    csv.writer(out).writerows([("a", "b"), *rows])
    faults = Faults("m.csv")
    read = table.parse(io.StringIO(out.getvalue(), newline=""), "m.csv", faults)
    faults.raise_any()
    assert read is not None
    assert list(read.rows) == [row for row in rows if any(cell.strip() for cell in row)]


@given(st.text(st.sampled_from('a",\n\r '), max_size=30))
def test_any_text_is_read_or_gives_a_fault(text: str) -> None:
    faults = Faults("m.csv")
    assert table.parse(io.StringIO(f"a,b\n{text}", newline=""), "m.csv", faults) is not None


def test_of_very_many_faults_the_first_are_told_and_the_others_counted(load_manifest: Load) -> None:
    with pytest.raises(ManifestError) as caught:
        load_manifest("prompt" + "," * 300 + "\nx" + "," * 300 + "\n", "many.csv")
    told = str(caught.value).splitlines()
    assert (len(told), told[-1]) == (101, "and 200 more; mend these, and look again")
    assert len(caught.value.faults) == 300


def test_a_header_with_too_long_a_cell_is_not_also_called_none(faults_of: FaultsOf) -> None:
    assert faults_of("prompt," + "x" * 2_000_000 + "\na,b\n", "m.csv") == [
        "1: a cell has more than 1,048,576 characters: is a closing quote missing?"
    ]
