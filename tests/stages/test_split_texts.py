"""What the split of texts promises: near duplicates stay in one fold, published tests are kept, and leaks are found."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.data.text_audit import SAME_TEXT, SHINGLE, audit_texts, describe_texts, signatures, similar_pairs
from texts import (
    changed,
    disguised,
    families,
    filtered_system,
    published,
    sentence,
    split_system,
)


def jaccard(left: list[str], right: list[str]) -> float:
    sets = [{tuple(words[at : at + SHINGLE]) for at in range(len(words) - SHINGLE + 1)} for words in (left, right)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def pairs_of(texts: list[str]) -> set[tuple[int, int]]:
    return {(int(row.left), int(row.right)) for row in similar_pairs(signatures([texts])).itertuples()}


def test_case_space_punctuation_and_a_few_words_do_not_hide_a_copy() -> None:
    originals = [sentence(seed) for seed in range(50)]
    copies = [changed(words, 3, seed) for seed, words in enumerate(originals)]
    texts = [" ".join(words) for words in originals] + [disguised(words) for words in copies]
    assert pairs_of(texts) == {(place, place + 50) for place in range(50)}


@given(st.integers(0, 10_000), st.integers(0, 20))
def test_agreement_is_about_the_share_of_common_shingles(seed: int, count: int) -> None:
    words = sentence(seed, 200)
    other = changed(words, count, seed)
    left, right = signatures([[" ".join(words), disguised(other)]])
    assert np.mean(left == right) == pytest.approx(jaccard(words, [word.lower() for word in other]), abs=0.22)


def test_texts_of_other_words_are_no_copies() -> None:
    assert pairs_of([" ".join(sentence(seed)) for seed in range(2_000)]) == set()


def test_short_texts_are_copies_where_all_words_agree() -> None:
    texts = ["A fine film", "a fine film!", "a fine actor", "", "...", "film fine a"]
    assert pairs_of(texts) == {(0, 1)}


def test_cuts_into_lists_do_not_count() -> None:
    texts = [" ".join(sentence(seed, 30)) for seed in range(40)]
    whole = signatures([texts])
    assert np.array_equal(whole, signatures([texts[:7], texts[7:8], texts[8:]]))
    assert whole.shape == (40, 126)


def test_many_copies_of_one_text_are_joined_without_comparing_all_pairs() -> None:
    pairs = similar_pairs(signatures([[" ".join(sentence(1))] * 3_000]))
    assert len(pairs) < 3 * 3_000
    assert {*pairs["left"], *pairs["right"]} == set(range(3_000))
    assert pairs["agreement"].min() == 1


def test_a_huge_text_is_hashed_like_a_small_one() -> None:
    words = sentence(3, 70_000)  # more than are hashed at a time
    left, right = signatures([[" ".join(words), disguised(words)]])
    assert np.array_equal(left, right)
    begun = signatures([[" ".join(words[:69_000])]])[0]
    assert np.mean(left == begun) > 0.9


@pytest.mark.parametrize("seed", range(5))
def test_near_duplicates_never_stand_in_two_folds(tmp_path: Path, seed: int) -> None:
    summary, manifest = split_system(filtered_system(tmp_path, families(60, 3)), seed=seed, parts=4)
    family = manifest["name"].str[-7:]
    assert (manifest.groupby(family)[["fold", "origin", "part"]].nunique() == 1).all(axis=None)
    assert manifest["origin"].nunique() == 60
    assert set(manifest["part"]) == set(range(4))
    assert summary.suspicious == 0
    joined = pd.read_parquet(tmp_path / "split" / "joined.parquet")
    assert len(joined) == summary.joined >= 120
    assert joined["agreement"].between(SAME_TEXT, 1).all()


def test_without_joining_the_audit_finds_the_leaks(tmp_path: Path) -> None:
    summary, manifest = split_system(filtered_system(tmp_path, families(60, 2)), merge_near_duplicates=False)
    assert summary.joined == 0
    fold = manifest.set_index("id")["fold"]
    family = manifest.set_index("id")["name"].str[-7:]
    leaked = {
        one for one in fold.index[fold == "test"]
        if (fold[(family == family[one]) & (family.index != one)] != "test").any()
    }  # fmt: skip
    audit = pd.read_parquet(tmp_path / "split" / "audit.parquet")
    assert len(leaked) > 10
    assert set(audit["id"][: len(leaked)]) == leaked
    assert summary.suspicious == len(leaked)
    assert (family[audit["id"]].to_numpy() == family[audit["nearest"]].to_numpy())[: len(leaked)].all()
    assert set(audit["id"]) == set(fold.index[fold == "test"])
    assert (fold[audit["nearest"]].to_numpy() == audit["fold"]).all()


def test_what_is_like_a_published_test_text_trains_nothing(tmp_path: Path) -> None:
    summary, manifest = split_system(filtered_system(tmp_path, published(7)), test_pattern="^test/")
    assert (manifest["name"].str.startswith("test/") == (manifest["fold"] == "test")).all()
    assert (summary.texts["spare"], summary.texts["test"]) == (7, 60)
    assert summary.texts["validation"] == pytest.approx(0.2 * 127, abs=1)
    assert set(manifest.loc[manifest["fold"] == "spare", "name"].str[:11]) == {"train/pos/9"}
    assert "7 that share an origin with a published test text are not used" in str(summary)


def test_exact_copies_across_published_parts_are_dropped_from_training(tmp_path: Path) -> None:
    texts = published(0)
    texts["train/pos/900.txt"] = texts["test/pos/000.txt"]
    folder = filtered_system(tmp_path, texts)
    rejected = pd.read_parquet(folder / "filtered" / "rejected.parquet")
    assert list(rejected["name"]) == ["train/pos/900.txt"]
    assert split_system(folder, test_pattern="^test/")[0].texts["test"] == 60


def test_folds_hold_the_shares_and_every_class(tmp_path: Path) -> None:
    summary, manifest = split_system(filtered_system(tmp_path, families(100, 1)))
    assert summary.texts == {"train": 50, "validation": 20, "test": 30}
    assert summary.classes["test"] == {"neg": 15, "pos": 15}
    assert (manifest["copy"] == 0).all()
    assert (manifest["part"] == -1).all()


def test_same_input_gives_same_bytes(tmp_path: Path) -> None:
    folder = filtered_system(tmp_path, families(30, 2))

    def digests() -> list[str]:
        split_system(folder)
        files = sorted((folder / "split").iterdir())
        assert [path.name for path in files] == ["audit.parquet", "joined.parquet", "manifest.parquet", "summary.json"]
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]

    assert digests() == digests()


def test_a_class_may_be_named_as_a_column(tmp_path: Path) -> None:
    names = [f"{kind}/{number}.txt" for kind in ("fold", "id") for number in range(9)]
    folder = filtered_system(tmp_path, {name: " ".join(sentence(number)) for number, name in enumerate(names)})
    split_system(folder)
    manifest = pd.read_parquet(folder / "split" / "manifest.parquet")
    assert set(manifest["label"]) == {"fold", "id"}
    assert set(manifest["fold"]) == {"train", "validation", "test"}


def test_the_audit_compares_all_words_not_rare_ones_alone() -> None:
    texts = [f"common words of all texts and {word}" for word in ["rare"] * 2 + ["usual"] * 200]
    texts[0] = "rare"
    manifest = pd.DataFrame({"id": [f"{place:03d}" for place in range(202)], "fold": ["test"] + ["train"] * 201})
    audit = audit_texts(manifest, describe_texts([texts]))
    assert audit.pairs["nearest"][0] == "001"
    assert 0.3 < audit.pairs["agreement"][0] < 0.95


def test_a_test_text_without_rare_words_has_no_nearest() -> None:
    texts = ["the same"] * 120 + ["another one"]
    manifest = pd.DataFrame({"id": [f"{place:03d}" for place in range(121)], "fold": ["train"] * 120 + ["test"]})
    audit = audit_texts(manifest, describe_texts([texts]))
    assert audit.pairs["nearest"].isna().all()
    assert audit.pairs["agreement"].tolist() == [0]
