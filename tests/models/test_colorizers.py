"""Networks that color: every decoder on several encoders, odd sizes, and weights of other runs."""

from pathlib import Path

import numpy as np
import pytest

from lamina.errors import UserError
from lamina.maths.bins import BINS
from lamina.maths.color import lab_to_srgb
from lamina.models.backbones import BACKBONE_LAYER, build_extractor, load_trunk
from lamina.models.colorizers import build_colorizer, build_tail, grey, predicted_side, scale_initial_outputs, with_tail
from lamina.models.keras_runtime import keras
from lamina.models.saving import save_model
from lamina.models.scales import scale_maps
from lamina.training.picture_trainer import PictureTrainer
from lamina.training.settings import GradientNumbers

NUMBERS = GradientNumbers(learning_rate=1e-3, dropout=0.1, decay=0.0)


def network(backbone: str = "small_cnn", size: int = 32, **changed: object) -> keras.Model:
    given = {
        "weights": "weights/random",
        "preprocess": "native",
        "decoder": "unet",
        "outputs": 2,
        "dropout": 0.1,
        "seed": 1,
    }
    given |= {"side": predicted_side(size, "mse"), "frozen": False}
    return build_colorizer(backbone, size=size, **(given | changed))


def lightness(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 100, (count, size, size, 1)).astype(np.float32)


@pytest.fixture(autouse=True)
def fresh() -> None:
    keras.backend.clear_session()


def test_encoders_get_the_grey_of_that_lightness() -> None:
    levels = np.arange(0, 10_001, 25, dtype=np.int16)
    stored = np.zeros((len(levels), 1, 1, 3), np.int16)
    stored[..., 0] = levels[:, None, None]
    found = np.asarray(grey((levels / 100).astype(np.float32)[:, None, None, None]))
    assert found.shape == (len(levels), 1, 1, 3)
    np.testing.assert_allclose(found, lab_to_srgb(stored), atol=0.52, rtol=0)


@pytest.mark.parametrize("loss", ["mse", "rebalanced"])
@pytest.mark.parametrize(("size", "least"), [(8, 8), (32, 32), (77, 20), (128, 32), (200, 32)])
def test_colors_are_predicted_at_a_fraction_of_the_side(size: int, loss: str, least: int) -> None:
    side = predicted_side(size, loss)
    assert least <= side <= min(size, 127)
    assert side == -(-size // round(size / side))


@pytest.mark.parametrize(
    ("backbone", "size", "decoder"),
    [
        *(("small_cnn", size, decoder) for size in (32, 77) for decoder in ("dense", "conv", "unet")),
        ("vgg16", 33, "unet"),
        *(
            pytest.param(*one, marks=pytest.mark.nightly)
            for one in (
                ("vgg16", 33, "dense"),
                ("vgg16", 33, "conv"),
                ("lenet5", 33, "unet"),
                ("mobilenet_v2", 50, "unet"),
                ("inception_v3", 75, "unet"),
            )
        ),
    ],
)
def test_every_decoder_fits_encoders_and_sizes(backbone: str, size: int, decoder: str) -> None:
    built = network(backbone, size, decoder=decoder, frozen=True)
    whole = with_tail(built, build_tail(predicted_side(size, "mse"), size, None))
    colors = whole(lightness(2, size), training=False)
    assert colors.shape == (2, size, size, 2)
    assert np.isfinite(colors).all()


@pytest.mark.parametrize(
    ("backbone", "scales"),
    [
        ("small_cnn", [2, 4, 8]),
        ("vgg16", [2, 4, 8, 16]),
        pytest.param("resnet50", [2, 4, 8, 16], marks=pytest.mark.nightly),
        pytest.param("densenet121", [2, 4, 8, 16], marks=pytest.mark.nightly),
    ],
)
def test_skips_come_from_every_scale_of_the_encoder(backbone: str, scales: list[int]) -> None:
    trunk = load_trunk(backbone, weights="weights/random", size=64, seed=1)
    assert [64 / maps.shape[1] for maps in scale_maps(trunk, 64)] == scales


@pytest.mark.parametrize(
    ("backbone", "decoder", "large"),
    [("resnet20", "unet", True), ("resnet20", "dense", True), ("resnet20", "conv", True), ("small_cnn", "unet", False)],
)
def test_first_outputs_are_scaled_to_plausible_size(backbone: str, decoder: str, large: bool) -> None:
    def rms() -> float:
        return float(np.sqrt(np.square(built(lightness(8, 32), training=True)).mean()))

    built = network(backbone, decoder=decoder)
    before = [weight.copy() for weight in built.get_weights()]
    scale_initial_outputs(built, lightness(8, 32))
    changed = [not np.array_equal(old, new) for old, new in zip(before, built.get_weights(), strict=True)]
    assert sum(changed) == large  # the last kernel alone, and no statistics of batch normalization
    assert rms() == pytest.approx(0.3, rel=1e-3) if large else 0 < rms() < 0.3


def test_a_frozen_encoder_does_not_change_and_a_trainable_one_learns() -> None:
    for frozen in (True, False):
        built = network(frozen=frozen)
        before = [weight.copy() for weight in built.get_layer(BACKBONE_LAYER).get_weights()]
        trainer = PictureTrainer(built, NUMBERS, tail=build_tail(32, 32, None), rare=None)
        trainer.train_step(lightness(4, 32), np.full((4, 32, 32, 2), 20, np.float32))
        after = built.get_layer(BACKBONE_LAYER).get_weights()
        assert all(np.array_equal(old, new) for old, new in zip(before, after, strict=True)) == frozen


def annealed_mean(probabilities: np.ndarray) -> np.ndarray:
    """The mean color of the sharpened distribution, as the paper defines it (section 2.3, with T = 0.38)."""
    sharp = (probabilities / probabilities.max(axis=-1, keepdims=True)) ** (1 / 0.38)
    return sharp @ BINS / sharp.sum(axis=-1, keepdims=True)


def test_logits_become_the_annealed_mean_of_their_bins() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (2, 8, 8, len(BINS))).astype(np.float32)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    found = np.asarray(build_tail(8, 8, BINS)(logits))
    np.testing.assert_allclose(found, annealed_mean(probabilities), atol=1e-3)


def test_losses_and_measure_follow_the_formulas() -> None:
    random = np.random.default_rng(0)
    rare = random.uniform(0.5, 2, len(BINS)).astype(np.float32)
    built = network(outputs=len(BINS), side=32)
    trainer = PictureTrainer(built, NUMBERS, tail=build_tail(32, 32, BINS), rare=rare)
    bins = random.integers(0, len(BINS), (2, 32, 32, 5)).astype(np.int32)
    shares = random.dirichlet(np.ones(5), (2, 32, 32)).astype(np.float32)
    colors = random.normal(0, 20, (2, 32, 32, 2)).astype(np.float32)
    loss, mse = trainer.eval_step(lightness(2, 32), (colors, bins, shares))
    logits = np.asarray(built(lightness(2, 32), training=False), np.float64)
    logs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    likelihood = (np.take_along_axis(logs, bins.astype(np.int64), axis=-1) * shares).sum(axis=-1)
    assert float(loss) == pytest.approx(float((-likelihood * rare[bins[..., 0]]).mean(axis=(1, 2)).sum()), rel=1e-4)
    predicted = annealed_mean(np.exp(logs))
    assert float(mse) == pytest.approx(float(((predicted - colors) ** 2).mean(axis=(1, 2, 3)).sum()), rel=1e-3)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[keras.Model, Path]:
    built = network(seed=7)
    path = tmp_path / "model.keras"
    save_model(with_tail(built, build_tail(32, 32, None)), path)
    return built, path


def test_flip_tta_gives_the_mirror_image_the_mirrored_colors(tmp_path: Path) -> None:
    built, tail, light = network(seed=7), build_tail(32, 32, None), lightness(3, 32)
    path = tmp_path / "model.keras"
    save_model(with_tail(built, tail, flip_tta=True), path)
    model = keras.models.load_model(path)
    found, flipped = np.asarray(model(light)), np.asarray(model(light[:, :, ::-1]))
    once, other = (np.asarray(with_tail(built, tail)(some)) for some in (light, light[:, :, ::-1]))
    np.testing.assert_allclose(found, (once + other[:, :, ::-1]) / 2, atol=1e-4)
    np.testing.assert_allclose(flipped, found[:, :, ::-1], atol=1e-4)
    assert np.abs(once - found).max() > 0.1  # else the network saw no difference
    again = network(weights=str(path), initialize="whole", seed=1)
    np.testing.assert_array_equal(again(light), built(light))


def test_an_encoder_starts_a_backbone_and_another_colorizer(
    saved: tuple[keras.Model, Path],
) -> None:
    built, path = saved
    learned = built.get_layer(BACKBONE_LAYER).get_weights()
    extractor = build_extractor("small_cnn", weights=str(path), pooling="avg", preprocess="native", size=48, seed=1)
    other = network(weights=str(path), decoder="conv", seed=1)
    for found in (extractor, other):
        for mine, theirs in zip(found.get_layer(BACKBONE_LAYER).get_weights(), learned, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_a_whole_colorizer_starts_from_another_of_its_kind(saved: tuple[keras.Model, Path]) -> None:
    built, path = saved
    again = network(weights=str(path), initialize="whole", seed=1)
    np.testing.assert_array_equal(again(lightness(2, 32)), built(lightness(2, 32)))
    with pytest.raises(UserError, match=r"model\.keras does not fit this network: .*up0_conv"):
        network(weights=str(path), initialize="whole", decoder="conv")


def test_pooling_over_scales_gives_mean_and_deviation_of_each() -> None:
    pixels = np.random.default_rng(0).uniform(0, 255, (3, 48, 48, 3)).astype(np.float32)
    extractor = build_extractor(
        "small_cnn", weights="weights/random", pooling="scales", preprocess="native", size=48, seed=1
    )
    found = np.asarray(extractor(pixels))
    maps = keras.tree.flatten(extractor.get_layer(BACKBONE_LAYER)(pixels / 127.5 - 1))
    assert [one.shape[1] for one in maps] == [24, 12, 6, 3]
    expected = [part for one in maps for part in (np.mean(one, axis=(1, 2)), np.std(one, axis=(1, 2)))]
    np.testing.assert_allclose(found, np.concatenate(expected, axis=1), atol=2e-3)
