"""Drift: the same data do not drift, chance alone raises no alarm, and real drift is reported with its amount."""

import io
import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import ks_2samp

from lamina.commands import gate
from lamina.config import validated
from lamina.data.augmentation import AugmentConfig
from lamina.data.drift import (
    QUANTITIES,
    DataProfile,
    Delivery,
    Movement,
    Sample,
    ValidateConfig,
    measure,
    movements,
    read_profile,
)
from lamina.data.filters import FilterConfig, FilterRules
from lamina.data.pixels import ConvertConfig
from lamina.data.sources.config import SourceConfig
from lamina.data.sources.smear import pictures
from lamina.errors import UserError
from lamina.files import write_json
from lamina.maths.drift import independent, kolmogorov, kolmogorov_noise, quantiles, share_noise, total_variation
from lamina.maths.drift import total_variation_noise as variation_noise
from lamina.maths.splits import SplitConfig
from lamina.stages import validate as stage
from lamina.stages.augment import augment
from lamina.stages.convert import convert
from lamina.stages.download import download
from lamina.stages.filter import filter_pictures
from lamina.stages.split import split
from lamina.stages.validate import PICTURES, validate
from lamina.tracking.suites import LABELED
from nightly import by_time

SAMPLES = st.lists(st.integers(-20, 20).map(float) | st.floats(-20, 20), min_size=1, max_size=80)
COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 50), min_size=1).filter(
    lambda one: any(one.values())
)


# ---- distances


@given(SAMPLES)
def test_a_sample_has_not_moved_from_its_own_quantiles(sample: list[float]) -> None:
    assert kolmogorov(quantiles(sample), sample) == 0
    assert kolmogorov(quantiles(sample), sample * 3) == 0


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")  # in SciPy's p-value, which is not used
@given(SAMPLES, SAMPLES)
def test_the_distance_is_that_of_the_samples_but_for_a_step(accepted: list[float], now: list[float]) -> None:
    whole = ks_2samp(accepted, now, method="asymp").statistic
    assert whole - 0.05 - 1e-9 <= kolmogorov(quantiles(accepted), now) <= whole + 1e-9


@given(SAMPLES)
def test_quantiles_are_values_in_ascending_order(sample: list[float]) -> None:
    found = quantiles(sample)
    assert len(found) == 21
    assert found == sorted(found)
    assert set(found) <= set(sample)
    assert (found[0], found[-1]) == (min(sample), max(sample))
    assert all(np.mean(np.asarray(sample) <= value) >= step / 20 for step, value in enumerate(found))


def test_values_beyond_all_accepted_ones_have_moved() -> None:
    accepted = np.linspace(40, 60, 200)
    for moved in (accepted + 30, accepted - 30):
        assert kolmogorov(quantiles(accepted), moved) == 1
    half = np.where(np.arange(200) % 2, accepted, 90)
    assert kolmogorov(quantiles(accepted), half) == pytest.approx(0.5, abs=0.01)


@given(COUNTS, COUNTS)
def test_total_variation_is_a_distance_of_shares(first: dict[str, int], second: dict[str, int]) -> None:
    moved = total_variation(first, second)
    assert 0 <= moved <= 1 + 1e-12
    assert moved == pytest.approx(total_variation(second, first))
    assert total_variation(first, {name: 7 * count for name, count in first.items()}) == pytest.approx(0)


def test_a_new_class_and_a_lost_one_count() -> None:
    assert total_variation({"a": 50, "b": 50}, {"a": 40, "b": 40, "c": 20}) == pytest.approx(0.2)
    assert total_variation({"a": 90, "b": 10}, {"a": 30}) == pytest.approx(0.1)
    assert total_variation({"a": 1}, {"b": 1}) == 1
    assert variation_noise({"a": 60}, {"a": 60}, 60, 60) == 0  # one class has no balance that chance could change


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_alike_pictures_of_an_origin_count_once(sizes: list[int]) -> None:
    assert 1 <= independent(sizes) <= len(sizes) + 1e-9
    assert independent([len(sizes)] * len(sizes)) == pytest.approx(len(sizes))
    assert independent([*sizes, 1_000_000]) < 1.01


# ---- chance


def drawn(rng: np.random.Generator, n: int, *, brighter: float = 0.0) -> Delivery:
    """A delivery of n independent pictures whose brightness spreads by 5 levels of L; four classes, three reasons."""
    values: dict[Any, Any] = {quantity: rng.normal(size=n) for quantity in QUANTITIES}
    values["brightness"] = rng.normal(60 + brighter, 5, n)
    values["size"] = rng.choice([256.0, 512.0], n)
    classes = rng.multinomial(n, [0.4, 0.3, 0.2, 0.1])
    rejected = rng.multinomial(n, [0.02, 0.05, 0.1, 0.83])[:3]
    sample = Sample(pictures=n, independent=n)
    return measure(
        values,
        delivered=sample,
        kept=sample,
        classes={f"class {place}": int(count) for place, count in enumerate(classes)},
        rejected={f"reason {place}": int(count) for place, count in enumerate(rejected)},
    )


def alarms(n: int, m: int, *, rounds: int, brighter: float = 0.0) -> float:
    """How often m pictures seem to have drifted from n by chance alone."""
    rng = np.random.default_rng(1)
    found = [movements(drawn(rng, n).profile, drawn(rng, m, brighter=brighter), 0) for _ in range(rounds)]
    assert all(len(rows) == len(QUANTITIES) + 1 + 3 for rows in found)
    return sum(any(row.too_far for row in rows) for rows in found) / rounds


@pytest.mark.parametrize(("n", "m"), [(60, 60), (400, 40)])
def test_chance_alone_raises_no_alarm_in_any_of_eleven_quantities(n: int, m: int) -> None:
    assert alarms(n, m, rounds=2_000) < 0.01


def test_ten_levels_of_brightness_do() -> None:
    assert alarms(60, 60, rounds=300, brighter=10) > 0.99
    assert alarms(60, 60, rounds=300, brighter=-10) > 0.99


@pytest.mark.parametrize("share", [0.002, 0.02, 0.2, 0.5, 0.9])
def test_chance_alone_seldom_moves_a_share_further_than_allowed(share: float) -> None:
    rng = np.random.default_rng(2)
    for n, m in ((60, 60), (1_000, 60)):
        before, after = rng.binomial(n, share, 20_000) / n, rng.binomial(m, share, 20_000) / m
        pairs, times = np.unique(np.stack([before, after]), axis=1, return_counts=True)
        beyond = [abs(p - q) > share_noise(p, q, n, m) for p, q in pairs.T]
        assert times[beyond].sum() / 20_000 < 0.003


def test_more_pictures_leave_less_to_chance() -> None:
    sizes = [20.0, 60.0, 600.0, 6_000.0]
    counts = {"a": 3, "b": 1}
    for noise in (
        kolmogorov_noise,
        lambda n, m: variation_noise(counts, counts, n, m),
        lambda n, m: share_noise(0.2, 0.2, n, m),
    ):
        found = [noise(size, size) for size in sizes]
        assert found == sorted(found, reverse=True)
        assert found[-1] < 0.05


# ---- what is compared


def delivery(**changes: object) -> Delivery:
    made = drawn(np.random.default_rng(3), 60)
    return replace(made, profile=made.profile.model_copy(update=changes))


def row(rows: list[Movement], quantity: str) -> Movement:
    return next(one for one in rows if one.quantity == quantity)


def test_a_reason_that_one_delivery_lacks_counts_as_0() -> None:
    rows = movements(delivery(rejected={"blurred": 12}).profile, delivery(rejected={"no cell": 30}), 0.2)
    assert (row(rows, "rejected: blurred").accepted, row(rows, "rejected: blurred").now) == ("20 %", "0 %")
    assert (row(rows, "rejected: no cell").accepted, row(rows, "rejected: no cell").now) == ("0 %", "50 %")
    assert row(rows, "rejected: no cell").moved == 0.5


def test_classes_are_compared_only_if_both_have_labels() -> None:
    labeled, unlabeled = delivery(), delivery(classes={})
    assert row(movements(labeled.profile, labeled, 0.2), "classes").moved == 0
    for accepted, now in ((labeled, unlabeled), (unlabeled, labeled), (unlabeled, unlabeled)):
        assert "classes" not in [one.quantity for one in movements(accepted.profile, now, 0.2)]


def test_a_renamed_class_has_drifted_however_small_the_sample_is() -> None:
    accepted = delivery(classes={"beech": 14, "oak": 44, "yew": 2}).profile
    renamed = delivery(classes={"copper beech": 14, "oak": 44, "yew": 2})
    found = row(movements(accepted, renamed, 0.5), "classes")
    assert found.too_far
    assert (found.accepted, found.now) == ("pictures or texts of 'beech'", "none, but the new 'copper beech'")
    rare_one_missing = delivery(classes={"beech": 14, "oak": 46})
    assert not row(movements(accepted, rare_one_missing, 0.5), "classes").too_far, "chance"
    assert not row(movements(accepted, renamed, 1.0), "classes").too_far, "switched off"


@pytest.mark.parametrize(
    ("values", "accepted", "now"),
    [
        (np.full(60, 32.0), "32", "32"),
        (np.repeat([32.0, 48.0], 30), "32 to 32", "32 to 48"),
        (np.repeat([32.0, 48.0], [59, 1]), "32 to 32", "32 to 48"),
        (np.repeat([32.0, 12_345.0], [1, 59]), "32", "12345"),
    ],
    ids=["the same", "half of them", "one of them", "the median"],
)
def test_what_moved_is_shown_where_medians_do_not_tell(values: np.ndarray, accepted: str, now: str) -> None:
    sample = Sample(pictures=60, independent=60)
    before, after = (
        measure({"size": sizes}, delivered=sample, kept=sample, classes={}, rejected={})
        for sizes in (np.full(60, 32.0), values)
    )
    (found,) = movements(before.profile, after, 0.2)
    assert (found.accepted, found.now) == (accepted, now)


def test_everything_may_move_where_drift_is_1() -> None:
    made = drawn(np.random.default_rng(0), 60, brighter=99)
    assert not any(one.too_far for one in movements(delivery().profile, made, 1.0))


def test_a_profile_is_small_and_holds_no_picture(tmp_path: Path) -> None:
    write_json(tmp_path / "data.json", drawn(np.random.default_rng(3), 5_000).profile.model_dump(mode="json"))
    assert (tmp_path / "data.json").stat().st_size < 4_000
    assert read_profile(tmp_path / "data.json", remedy="") == drawn(np.random.default_rng(3), 5_000).profile


Profile = dict[str, Any]


def without(key: str) -> Callable[[Profile], Profile]:
    return lambda profile: {name: value for name, value in profile.items() if name != key}


def with_brightness(*values: object) -> Callable[[Profile], Profile]:
    return lambda profile: profile | {"quantiles": {"brightness": list(values)}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("", "not valid JSON"),
        ("<<<<<<< HEAD\n{}", "not valid JSON"),
        ("[]", "not a profile of data: the whole file: "),
        ("null", "not a profile of data: the whole file: "),
        (without("kept"), "kept: Field required"),
        (lambda profile: profile | {"pictures": 3}, "pictures: Extra inputs are not permitted"),
        (
            lambda profile: profile | {"kept": {"pictures": 0, "independent": 1.0}},
            "kept.pictures: .*greater than or equal",
        ),
        (lambda profile: profile | {"classes": {"a": 1.5}}, "classes.a: .*valid integer"),
        (lambda profile: profile | {"quantiles": {"brigthness": []}}, "quantiles.brigthness: .*'brightness'"),
        (with_brightness(1.0, 2.0), "quantiles.brightness: .*at least 21 items"),
        (with_brightness(*range(21, 0, -1)), "quantiles.brightness: .*numbers in ascending order"),
        (with_brightness(*[float("nan")] * 21), "quantiles.brightness.0: .*finite number"),
    ],
)
def test_a_broken_baseline_is_one_line_that_says_where(
    change: str | Callable[[Profile], Profile], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = change if isinstance(change, str) else json.dumps(change(delivery().profile.model_dump(mode="json")))
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(
        "source: {kind: smear}\nfilter: {drop_grayscale: true, min_side: 8, drop_duplicates: true}\n"
        "split: {test: 0.3, validation: 0.15}\n"
    )
    with pytest.raises(UserError, match=r"^no baselines/data.json; restore it, or write \{\} into it"):
        stage.main()
    Path("baselines").mkdir()
    Path("baselines/data.json").write_text(text)
    with pytest.raises(UserError) as caught:
        stage.main()
    assert re.search(rf"^baselines/data\.json: .*{words}.*; restore it, or write {{}} into it", str(caught.value))
    assert "\n" not in str(caught.value)


def test_the_section_of_params_is_strict_and_may_be_missing() -> None:
    assert validated({}, "validate", ValidateConfig).drift == 0.2
    for values, words in (
        ({"drifts": 0.2}, "unknown key 'validate.drifts'; did you mean 'validate.drift'"),
        ({"drift": 1.1}, "validate.drift: .*less than or equal to 1, got 1.1"),
        ({"drift": -0.1}, "validate.drift: .*greater than or equal to 0, got -0.1"),
        ({"drift": "much"}, "validate.drift: .*number.*"),
    ):
        with pytest.raises(UserError, match=words):
            validated(values, "validate", ValidateConfig)


# ---- deliveries, through the stages

SHARES = {"train": 0.55, "validation": 0.15, "test": 0.3}
SMEARS = 90

# a picture, its number and its class to what is delivered; None: not at all
Change = Callable[[Image.Image, int, str], Image.Image | None]


@lru_cache
def smears() -> list[tuple[str, str, Image.Image]]:
    """Class, name and picture, half as large, of drawn smears; those drawn as unreadable left out."""
    found = []
    for picture in pictures(5, SMEARS):
        _, label, name = picture.name.split("/")
        with suppress(OSError):
            found.append((label, Path(name).stem, Image.open(io.BytesIO(picture.encoded)).convert("RGB").reduce(2)))
    return found


def deliver(system: Path, change: Change = lambda image, number, label: image, labels: str = "folder") -> Path:
    """Write drawn smears, changed, to a folder and run the stages up to split; return their folder."""
    for number, (label, name, smear) in enumerate(smears()):
        image = change(smear, number, label)
        if image is not None:
            file = system / "pictures" / label / f"{name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            image.save(file, compress_level=1)
    data = system / "data"
    place = {"kind": "folder", "location": "pictures"}
    source = SourceConfig.model_validate({**place, "labels": labels})
    rules = FilterRules(
        filter=FilterConfig(drop_grayscale=True, min_side=8, drop_duplicates=True),
        labeled=labels != "none",
        classes=None,
        boxed=False,
        celled=False,
    )
    small, memo = ConvertConfig(size=16, isolate="none"), system / "memo"
    download(source, system, data / "raw", seed=1)
    filter_pictures(rules, small, data / "raw", data / "filtered", memo=memo)
    convert(small, data / "raw", data / "filtered", data / "lab", memo=memo)
    still = AugmentConfig(copies=0, rotation=0, shift=0, flip_horizontal=False, flip_vertical=False, color=0)
    augment(still, data / "lab", data / "augmented", seed=1)
    split(SplitConfig(test=0.3, validation=0.15), data / "lab", data / "augmented", data / "split", seed=1)
    return data


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system whose delivery was validated and then accepted, by the command."""
    system = tmp_path_factory.mktemp("accepted")
    (system / "params.yaml").write_text("seed: 1\n")
    data = deliver(system)
    assert "no data accepted yet" in str(validate(PICTURES, SHARES, [LABELED], data, data / "validation"))
    assert not (data / "validation" / "drift.json").exists()
    assert 'id="drift"' not in (data / "validation" / "docs" / "index.html").read_text()
    gate.accept(system, data_only=True)
    return system


def baseline(system: Path) -> DataProfile:
    profile = read_profile(system / "baselines" / "data.json", remedy="")
    assert profile is not None
    return profile


def test_the_accepted_data_have_not_moved_and_the_verdict_stays(accepted: Path, tmp_path: Path) -> None:
    data = accepted / "data"
    before = (data / "validation" / "verdict.json").read_bytes()
    summary = validate(PICTURES, SHARES, [LABELED], data, tmp_path, accepted=baseline(accepted))
    assert (tmp_path / "verdict.json").read_bytes() == before
    assert (tmp_path / "profile.json").read_bytes() == (accepted / "baselines" / "data.json").read_bytes()
    rows = json.loads((tmp_path / "drift.json").read_text())["quantities"]
    assert {one["moved"] for one in rows} == {0.0}
    assert [one["quantity"] for one in rows][: len(QUANTITIES) + 1] == [*QUANTITIES, "classes"]
    assert str(summary).endswith("tables; " + f"most moved: {summary.most_moved}")
    assert "brightness by 0 % of the data" in str(summary)


def test_harmless_drift_leaves_the_verdict_alone(accepted: Path, tmp_path: Path) -> None:
    profile = baseline(accepted)
    darker = [value - 1 for value in profile.quantiles["brightness"]]
    other = profile.model_copy(update={"quantiles": profile.quantiles | {"brightness": darker}})
    summary = validate(PICTURES, SHARES, [LABELED], accepted / "data", tmp_path, accepted=other)
    assert summary.most_moved is not None
    assert 0.02 < summary.most_moved.moved < 0.4
    verdict = (accepted / "data" / "validation" / "verdict.json").read_bytes()
    assert (tmp_path / "verdict.json").read_bytes() == verdict


def yellow(image: Image.Image) -> Image.Image:
    red, green, blue = image.split()
    return Image.merge("RGB", (red, green, blue.point(lambda level: 0.7 * level)))


CHANGES: dict[str, Change] = {
    "brightness": lambda image, number, label: image.point(lambda level: 0.75 * level),
    "contrast": lambda image, number, label: image.point(lambda level: 120 + level / 3),
    "color b": lambda image, number, label: yellow(image),
    "size": lambda image, number, label: image.resize((64, 64)) if number % 3 else image,
    "aspect": lambda image, number, label: image.crop((0, 0, 128, 90)) if number % 3 else image,
    "classes": lambda image, number, label: image if label == "lymphocyte" or number < SMEARS // 6 else None,
    "rejected: grayscale": lambda image, number, label: image.convert("L") if number % 2 else image,
}


QUICK = ("brightness", "classes")  # one of the pictures, one of the labels; the others are tested at night


@pytest.mark.parametrize("quantity", by_time(CHANGES, QUICK))
def test_what_drifted_is_named_with_its_amount_and_stops_the_pipeline(
    quantity: str, accepted: Path, tmp_path: Path
) -> None:
    data = deliver(tmp_path, CHANGES[quantity])
    out = data / "validation"
    with pytest.raises(UserError) as caught:
        validate(PICTURES, SHARES, [LABELED], data, out, accepted=baseline(accepted), drift=0.05)
    said = str(caught.value)
    assert sorted(path.name for path in out.iterdir()) == ["docs", "drift.json", "profile.json"]
    rows = {one["quantity"]: one for one in json.loads((out / "drift.json").read_text())["quantities"]}
    found = rows[quantity]
    assert found["moved"] > found["bound"]
    share = f"{quantity} by {100 * found['moved']:.0f} % of the data"
    assert f"{share} ({found['accepted']} accepted, {found['now']} now; bound {100 * found['bound']:.0f} %)" in said
    assert "`lamina gate --accept data`, or raise validate.drift" in said
    assert str(out / "docs" / "index.html") in said
    assert "\n" not in said
    page = (out / "docs" / "index.html").read_text()
    assert page.index('<article id="drift" class="broken">') < page.index('<article id="raw">')
    assert f'<td class="number">{100 * found["moved"]:.1f} %</td>' in page

    # accepting it takes no model
    (tmp_path / "params.yaml").write_text("seed: 1\n")
    gate.accept(tmp_path, data_only=True)
    validate(PICTURES, SHARES, [LABELED], data, out, accepted=baseline(tmp_path))
    assert (out / "verdict.json").exists()


def test_pictures_without_labels_pass_every_stage_and_are_compared_without_classes(tmp_path: Path) -> None:
    data = deliver(tmp_path, labels="none")
    for name, rows in (("filtered/kept.png", 1), ("split/folds.png", 3)):
        with Image.open(data / name) as sheet:
            assert round(sheet.height / (112 if rows == 3 else 152)) == rows, name
    assert json.loads((data / "split" / "summary.json").read_text())["classes"] == {}
    assert pd.read_parquet(data / "split" / "manifest.parquet")["label"].isna().all()
    validate(PICTURES, SHARES, [], data, data / "validation")
    (tmp_path / "params.yaml").write_text("seed: 1\n")
    gate.accept(tmp_path, data_only=True)
    assert baseline(tmp_path).classes == {}
    validate(PICTURES, SHARES, [], data, data / "validation", accepted=baseline(tmp_path))
    rows = json.loads((data / "validation" / "drift.json").read_text())["quantities"]
    assert [one["quantity"] for one in rows][: len(QUANTITIES)] == list(QUANTITIES)
    assert "classes" not in {one["quantity"] for one in rows}
