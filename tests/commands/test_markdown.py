"""Names in Markdown: whatever a class is called, a reader sees its name."""

import pytest

from lamina.commands.markdown import escaped


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("__background__", r"\_\_background\_\_"),
        ("_a_ b", r"\_a\_ b"),
        ("learning_rate", "learning_rate"),
        ("[cat](http://example.org)", r"[cat\](http://example.org)"),
        ("fish &amp; chips", r"fish \&amp; chips"),
        ("https://example.org/?a=1&b=2", "https://example.org/?a=1&b=2"),
        ("0.8 [0.7, 0.9]", "0.8 [0.7, 0.9]"),
        ("a|b <i>", r"a\|b \<i\>"),
    ],
)
def test_a_name_is_no_markup(name: str, written: str) -> None:
    assert escaped(name) == written
