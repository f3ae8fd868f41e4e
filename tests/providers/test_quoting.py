"""A server's words are quoted without what looks like a key, however long they are."""

import pytest

from batchbanana.providers.quoting import LOOKED_AT, one_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("it is eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.a-c!", "it is ***!"),
        ("it is eyJhbGciOiJIUzI1NiJ9", "it is ***"),
        ("it is eyJhbGciOiJIUzI1NiJ9, cut", "it is ***, cut"),
        ("a-eyJabcdefgh" * 5, "a-***"),
        ("Eyjafjallajokull erupts", "Eyjafjallajokull erupts"),
        ("Bearer \n\t abcdefgh", "***"),
    ],
)
def test_a_token_is_masked_with_and_without_its_further_parts(text: str, line: str) -> None:
    assert one_line(text, 100) == line


@pytest.mark.parametrize("before", range(LOOKED_AT - 40, LOOKED_AT + 2))
@pytest.mark.parametrize("secret", ["AIzaSyA1234567890", "secret provided :  'abcdefgh1234", "Bearer abcdefgh1234"])
def test_a_key_that_the_end_of_what_is_looked_at_cuts_does_not_show(before: int, secret: str) -> None:
    line = one_line("x" * 500 + " AIza" + "y" * (before - 506) + " " + secret, LOOKED_AT)
    assert ("x" * 500 + " *** ***").startswith(line.removesuffix("…"))


def test_a_long_text_is_cut_within_its_limit_and_shows_it() -> None:
    assert one_line("word " * 1000, 1000) == ("word " * 1000)[: LOOKED_AT - 32] + "…"
    assert one_line("语" * 5000, 140) == "语" * 139 + "…"
