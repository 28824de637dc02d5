"""A CSV in parts: an interrupted one is continued with the same bytes; what was made by anything else is not used."""

import csv
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lamina.commands import csv_parts
from lamina.commands.csv_parts import write_csv
from lamina.errors import UserError

ITEMS = [f"picture {number}" for number in range(10)]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_parts, "PART", 4)


class Rows:
    """Makes rows of items, and can be interrupted; `made`: the items of finished rows."""

    def __init__(self, stop_at: str | None = None) -> None:
        self.made: list[str] = []
        self.stop_at = stop_at

    def __call__(self, parts: Sequence[Sequence[str]]) -> Iterator[dict[str, object]]:
        for item in (item for part in parts for item in part):
            if item == self.stop_at:
                raise KeyboardInterrupt
            self.made.append(item)
            yield {"path": item, "share": len(self.made) * 0 + 1 / 3, "error": "broken" if item.endswith("3") else None}


def write(out: Path, rows: Rows, **made_by: str) -> int:
    return write_csv(out, ITEMS, {"run": "small", **made_by}, rows, failed="error")


def interrupted(out: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(out, Rows(stop_at="picture 9"))
    assert not out.exists()


def test_it_holds_a_row_for_each_item_and_nothing_is_left_next_to_it(tmp_path: Path) -> None:
    assert write(tmp_path / "out.csv", Rows()) == 1
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ITEMS
    assert rows[3] == {"path": "picture 3", "share": "0.33333333", "error": "broken"}
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_an_interrupted_one_is_continued_with_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "whole.csv", Rows())
    interrupted(tmp_path / "out.csv")
    rest = Rows()
    assert write(tmp_path / "out.csv", rest) == 1, "of a part that was there already"
    assert rest.made == ITEMS[8:]
    assert "8 of 10 rows were there already; continuing" in capsys.readouterr().err
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not (tmp_path / "out.csv.parts").exists()


def test_parts_of_another_model_are_not_continued(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    interrupted(tmp_path / "out.csv")
    again = Rows()
    write(tmp_path / "out.csv", again, model="another")
    assert again.made == ITEMS
    assert "out.csv.parts was made with another model; starting again" in capsys.readouterr().err


def test_a_finished_one_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(UserError, match=r"out\.csv: is there already, expected a new file; remove it, or"):
        write(tmp_path / "out.csv", Rows())
    with pytest.raises(UserError, match="nowhere: no such folder"):
        write(tmp_path / "nowhere/out.csv", Rows())
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out.csv", "mine")]


def test_an_error_before_the_first_part_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "out.csv", Rows(stop_at="picture 0"))
    assert not list(tmp_path.iterdir())


def test_two_writers_do_not_mix(tmp_path: Path) -> None:
    out, inside, go_on = tmp_path / "out.csv", threading.Event(), threading.Event()

    def slowly(parts: Sequence[Sequence[str]]) -> Iterator[dict[str, object]]:
        inside.set()
        assert go_on.wait(20)
        yield from Rows()(parts)

    first = threading.Thread(target=write_csv, args=(out, ITEMS, {"run": "small"}, slowly), kwargs={"failed": "error"})
    first.start()
    assert inside.wait(20)
    with pytest.raises(UserError, match=r"has held .*out\.csv for 0 s"):
        write(out, Rows())
    go_on.set()
    first.join()
    assert len(out.read_text().splitlines()) == 1 + len(ITEMS)
