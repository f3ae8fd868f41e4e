"""A CSV of very many rows costs little memory for each, and its rows are told by kinds without being walked."""

import csv
import hashlib
import io
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbanana.estimate import dearest, estimate, mean_latency
from batchbanana.manifest import Faults, LimitSettings, table
from batchbanana.manifest.files import read_pieces, take_lines
from batchbanana.marks import Marks
from batchbanana.sandbox.running import in_thread
from batchbanana.survey import survey
from batchbanana.tables import plan_text
from tests.manifest.conftest import PNG, FaultsOf, Load, load_text
from tests.support.program import Job

MEGABYTE = 1 << 20
SETTINGS = st.sampled_from(["1:1,1K", "16:9,1K", "1:1,4K", "1:1|16:9,2K|4K"])


def sheet(rows: list[tuple[str, ...]]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out).writerows(rows)
    return out.getvalue()


def test_rows_are_kept_in_hardly_more_than_their_text() -> None:
    text = sheet([("prompt", "color"), *((f"A mug in colour number {number}", "red") for number in range(20_000))])
    tracemalloc.start()
    try:
        read = table.parse(io.StringIO(text, newline=""), "m.csv", Faults("m.csv"))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read is not None
    assert read.rows[19_999] == ("A mug in colour number 19999", "red")
    assert read.rows[-1:] == (read.rows[19_999],)
    assert kept < 1.7 * len(text)


@given(st.lists(st.integers(0, 5).map(lambda number: (number % 2 << 63) + (number << 16)) | st.integers(0, 2**64 - 1)))
def test_marks_are_new_once(marks: list[int]) -> None:
    seen, before = Marks(), set[int]()
    for mark in marks:
        assert seen.add(mark) is (mark not in before)
        before.add(mark)


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("shift", range(4))
def test_lines_are_the_same_wherever_the_pieces_of_a_file_end(shift: int, ends: str, tmp_path: Path) -> None:
    lines = ["x" * shift + ends, *(f"é€🍌{number}{ends}" for number in range(120_000)), "the last"]
    (tmp_path / "m.csv").write_bytes("".join(lines).encode())
    pieces = read_pieces(tmp_path / "m.csv", None, "")
    assert max(map(len, pieces)) == MEGABYTE
    assert list(take_lines(pieces)) == lines
    assert not pieces


def test_a_bad_byte_far_into_a_long_file_is_told_by_its_place(tmp_path: Path, faults_of: FaultsOf) -> None:
    [fault] = faults_of(b"prompt\n" + b"A mug\n" * 400_000 + b"\xe9\n", "m.csv")
    assert fault.startswith(
        "the manifest cannot be read as UTF-8 at byte 2400007: save it as UTF-8, or use it as rows of "
    )
    (tmp_path / "r.csv").write_bytes(b"\xef\xbb\xbf\xef\xbb\xbfa\n")
    assert b"".join(read_pieces(tmp_path / "r.csv", None, "")) == b"a\n"
    (tmp_path / "r.csv").write_bytes(b"")
    assert not read_pieces(tmp_path / "r.csv", None, "")


@given(st.lists(SETTINGS, min_size=1, max_size=12))
def test_rows_of_a_sheet_have_the_keys_that_each_has_alone(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("keys")
    head = "prompt,ratio,resolution\n"
    lines = [f"mug {number},{settings}\n" for number, settings in enumerate(rows)]
    alone = [task for line in lines for task in load_text(folder, head + line, "m.csv")]
    assert list(load_text(folder, head + "".join(lines), "m.csv")) == alone


def test_rows_are_counted_and_priced_by_kind_whatever_their_texts_ids_and_references(
    tmp_path: Path, load_manifest: Load
) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(PNG)
    matrix = load_manifest(
        "id,prompt,resolution,references\n"
        "one,a mug,1K,a.png\n"
        "two,a cup,1K,b.png\n"
        "three,a mug|a jar,4K,\n"
        "four,a pot,1K,a.png|b.png\n",
        "m.csv",
    )
    kinds = list(matrix.manifest.kinds())
    assert [(kind.job.id, kind.jobs) for kind in kinds] == [("one", 2), ("three", 1), ("four", 1)]
    found = survey(matrix, None)
    assert estimate(matrix) == found.low
    assert dearest(matrix) == max(rungs[0].price or 0 for rungs in [draft.rungs for draft in matrix.drafts()])
    assert mean_latency(matrix) == (10 + 10 + 45 + 10) / 4


def test_a_sheet_of_one_row_is_one_job_of_its_own_id_or_of_the_manifests_name(load_manifest: Load) -> None:
    named, nameless = load_manifest("id,prompt\nhero,a mug\n", "m.csv"), load_manifest("prompt\na mug\n", "m.csv")
    assert [(job.id, job.cells, dict(job.axes)["prompt"]) for job in named.jobs] == [("hero", 1, 1)]
    assert [(job.id, job.cells, dict(job.axes)["prompt"]) for job in nameless.jobs] == [("m", 1, 1)]
    assert (named.job_count, nameless.job_count) == (1, 1)


def test_a_plan_of_very_many_jobs_tells_the_first_and_how_many_more_there_are(load_manifest: Load) -> None:
    matrix = load_manifest("id,prompt\n" + "".join(f"r{number},mug {number}\n" for number in range(2134)), "m.csv")
    text = plan_text(matrix, survey(matrix, None), LimitSettings(), "output/m")
    assert "\nr999 " in text
    assert "\nr1000 " not in text
    assert "\nand 1,134 more; --json gives all\n" in text


@pytest.mark.parametrize(("rows", "kind"), [(3, str), (50_000, bytes)])
def test_the_ledger_keeps_a_copy_of_the_manifest_packed_where_it_is_long(rows: int, kind: type, tmp_path: Path) -> None:
    text = sheet([("prompt",), *((f"A mug in a colour of number {number}",) for number in range(rows))])
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, {})
        job.manifest = tmp_path / "m.csv"
        job.manifest.write_text(text, encoding="utf-8", newline="")
        for _ in range(2):
            assert job.run("--limit", "1", "--yes").json["done"] >= 1
    [(digest, content)] = job.rows("SELECT sha256, text FROM manifests")
    assert type(content) is kind
    assert (zlib.decompress(content).decode() if isinstance(content, bytes) else content) == text
    assert digest == hashlib.sha256(text.encode()).hexdigest()


def test_sheets_are_told_apart_by_their_columns_and_cells_alone(load_manifest: Load) -> None:
    def digest(text: str) -> str:
        return load_manifest(text, "m.csv").digest

    texts = ["prompt,x\na,b\nc,d\n", "prompt,x\na,b\n", "prompt,x\na b,c d\n", "prompt,y\na,b\n"]
    assert len({digest(text) for text in texts}) == len(texts)
    assert digest("prompt\nx\na\nb\n") != digest("prompt\nx\na b\n")
    assert digest("prompt,x\na,b\nc,d\n") == digest('prompt,"x"\r\n\r\na,b\r\n"c",d')


def test_text_that_utf8_cannot_say_is_told_with_its_remedy(tmp_path: Path, faults_of: FaultsOf) -> None:
    (tmp_path / "r.csv").write_bytes(b"n\nmug\n+2Dw-\n")
    [fault] = faults_of("jobs:\n- prompt: A {n}\n  rows: {file: r.csv, encoding: utf-7}\n")
    assert "the rows file `r.csv` cannot be read as utf-7 at byte" in fault
    assert "name the encoding it was saved in" in fault


def test_marks_are_remembered_when_there_are_very_many() -> None:
    marks = [number * 0x9E3779B97F4A7C15 % 2**64 for number in range(70_000)]
    seen = Marks()
    assert all(seen.add(mark) for mark in marks)
    assert not any(seen.add(mark) for mark in marks)
