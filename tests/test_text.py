"""Text of others on one line, and names that another system takes."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.errors import UserError
from lamina.text import cut, distinct, one_line, printable

REFUSED = r"[^\w.\- ]"


@given(st.text(st.characters()))
def test_printable_text_is_one_line(text: str) -> None:
    assert len(printable(text).splitlines()) <= 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u202e]", printable(text))
    printable(text).encode()


@pytest.mark.parametrize("text", ["Öl, 中文 🙂", "سلام", "नमस्ते", "می\N{ZERO WIDTH NON-JOINER}خواهم", r"C:\new $5"])
def test_text_that_can_be_printed_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_what_breaks_a_line_or_turns_it_is_escaped() -> None:
    assert printable("a\nb\x1b[31m\u202ec\udc80\xa0d") == r"a\nb\x1b[31m\u202ec\udc80 d"
    assert cut("a" * 100) == "a" * 77 + "..."


def test_a_message_of_any_length_is_a_short_line_with_its_end() -> None:
    message = str(UserError(f"box.xml: expected <annotation>, got <{'a' * 100_000}>\n; correct it"))
    assert message.startswith("box.xml: expected <annotation>, got <aaa")
    assert message.endswith("; correct it")
    assert len(message) < 1500
    assert one_line("short\r\nline") == "short line"


@given(st.lists(st.text(st.characters(exclude_categories=[]), max_size=30) | st.sampled_from("aAbB/:"), unique=True))
def test_no_two_names_become_one_even_where_case_is_ignored(names: list[str]) -> None:
    forms = distinct(names, refused=REFUSED, most=20)
    assert list(forms) == names
    assert len({form.casefold() for form in forms.values()}) == len(names)
    assert all(len(form) <= 20 and not re.search(REFUSED, form) for form in forms.values())


def test_a_name_that_fits_stays_as_it_is() -> None:
    forms = distinct(["f1_a_b", "f1_a&b", "f1_a/b", "é", "x" * 300], refused=REFUSED, most=250)
    assert (forms["f1_a_b"], forms["é"]) == ("f1_a_b", "é")
    assert re.fullmatch("f1_a_b-[0-9a-f]{8}", forms["f1_a&b"])
    assert re.fullmatch("x{241}-[0-9a-f]{8}", forms["x" * 300])
    assert len({*forms.values()}) == 5
