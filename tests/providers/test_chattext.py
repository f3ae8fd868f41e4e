"""What a text shows: words, image data, and addresses of images."""

import pytest

from batchbanana.providers import Link
from batchbanana.providers.chattext import Attention, Item, address_of, items_of

A = Link("https://a.example/x.png")


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("words", ["words"]),
        (" \n ** []() --- ", []),
        ("Here: ![a cat](data:;base64,#0#) bye", ["Here:", 0, "bye"]),
        ("![a](data:;base64,#0#)\n\n![b](<data:;base64,#1#> 'b')", [0, 1]),
        ('<img src="data:;base64,#12#">', ['<img src="', 12]),
        ("data:;base64,#3#", [3]),
        ("![x](https://a.example/x.png)", [A]),
        ("![x](https://a.example/no-ending?id=1)", [Link("https://a.example/no-ending?id=1")]),
        ("![x]( <https://a.example/a b> )", ["![x]( <", "b> )"]),
        ("![x](<https://a.example/(1>)", [Link("https://a.example/(1")]),
        ('![x](https://a.example/x.png "a (title)")', [A]),
        ("![a [b] c\nd](https://a.example/x)", [Link("https://a.example/x")]),
        ("[![thumb](https://a.example/x.png)](https://a.example/y.png)", [A, Link("https://a.example/y.png")]),
        ("[![thumb](data:;base64,#0#)](https://a.example/page)", [0]),
        ("![x](https://a.example/(1).png)", [Link("https://a.example/(1).png")]),
        ("[see](https://a.example/x.png)", [A]),
        ("[see](https://a.example/page)", []),
        ("see https://a.example/x.png.", ["see", A]),
        ("see **https://a.example/x.png**!", ["see **", A]),
        ("(https://a.example/x.png)", [A]),
        ("https://a.example/x.png\uff0c请查看", [A, "\uff0c请查看"]),
        ("https://a.example/x.jpeg?sig=a%2Fb&c=d#e, and", [Link("https://a.example/x.jpeg?sig=a%2Fb&c=d#e"), "and"]),
        ("HTTP://A.example/X.WEBP", [Link("HTTP://A.example/X.WEBP")]),
        ("<https://a.example/x.png>", [A]),
        ("see https://a.example/page", ["see"]),
        ("see https://a.png", ["see"]),
        ("see https://a.example/x.png/page", ["see"]),
        ("see https://a.example/?x.png", ["see"]),
        (" https://a.example/page \n", [Link("https://a.example/page")]),
        ("<https://a.example/page>", [Link("https://a.example/page")]),
        ("![x](ftp://a.example/x.png) ![x](/x.png) file:///x.png",
         [Link("ftp://a.example/x.png"), Link("/x.png"), "file:///x.png"]),
        ("![x](http:///x.png)", [Link("http:///x.png")]),
        ("![i](http://[::ffff:169.254.169.254]/a.png)", [Link("http://[::ffff:169.254.169.254]/a.png")]),
        ("![i](https://a.example/x[1].png)", [Link("https://a.example/x[1].png")]),
        ("a ![i](//a.example/(1).png 'title') b", ["a", Link("//a.example/(1).png"), "b"]),
        ("![i](<files/a.png>)![i](file:///a.png)", [Link("files/a.png"), Link("file:///a.png")]),
        ("[![i](/x.png)](https://a.example/page)", [Link("/x.png")]),
        ("[i](/x.png) [i](//a.example/x.png) [i](ftp://a.example/x.png)",
         ["[i](/x.png) [i](//a.example/x.png) [i](ftp://a.example/x.png)"]),
        ("[i](http://[::1]/a.png)", ["[i](http://[::1]/a.png)"]),
        ("![i](data:image/png;base64,)", ["![i](data:image/png;base64,)"]),
        ("![i](<data:image/svg+xml,x>)", ["![i](<data:image/svg+xml,x>)"]),
        ("![i](x\u202e.png)", []),
        ("![i](" + "x" * 9000 + ")", []),
        ("![i](a b.png) ![i]() ![i](a", ["![i](a b.png) ![i]() ![i](a"]),
        ("https://a.example/x.gif https://a.example/x.avif https://a.example/x.heic",
         [Link(f"https://a.example/x.{end}") for end in ("gif", "avif", "heic")]),
    ],
)  # fmt: skip
def test_a_text_shows_what_stands_in_it(text: str, items: list[Item]) -> None:
    assert list(items_of(text, Attention())) == items


def test_once_attention_is_used_up_the_remaining_texts_are_words() -> None:
    attention = Attention(tokens=2, characters=100)
    three = "https://a.example/x.png " * 3
    assert list(items_of(three, attention)) == [A, A, "https://a.example/x.png"]
    assert list(items_of("![x](/x.png)", attention)) == ["![x](/x.png)"]
    attention = Attention(tokens=9, characters=24)
    assert list(items_of(three, attention)) == [A, "https://a.example/x.png " * 2]
    assert list(items_of("![x](/x.png)", attention)) == ["![x](/x.png)"]


def test_a_mark_that_no_sieve_has_made_is_no_image() -> None:
    text = f"data:;ba\u017fe64,#{'9' * 5000}#"
    assert list(items_of(text, Attention())) == [text]


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("https://a.example/x", True),
        (" http://a.example\n", True),
        ("https://a.example/a b", False),
        ("https://a.example/\u202ex", False),
        ("https:///x", False),
        ("https://a/" + "x" * 9000, False),
        ("ftp://a.example", False),
        ("a https://a.example", False),
        ("", False),
    ],
)
def test_only_a_whole_and_plain_address_is_one(text: str, is_one: bool) -> None:
    assert address_of(text) == (Link(text.strip()) if is_one else None)
