"""Linear classifiers agree with scikit-learn's own, give probabilities, and NB-SVM is what its paper says."""

from decimal import Decimal

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB

from lamina.training.linear import LinearModel, build_linear, fit_logistic, fit_nbsvm, log_count_ratio


def problem(classes: int, rows: int = 300, width: int = 40, seed: int = 0) -> tuple[csr_matrix, NDArray[np.int64]]:
    """Word counts that depend on the class."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, rows)
    rates = random.gamma(0.5, 1.0, (classes, width))
    return csr_matrix(random.poisson(rates[labels]).astype(np.float32)), labels


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_logistic_regression_is_that_of_scikit_learn(classes: int) -> None:
    x, labels = problem(classes)
    found = fit_logistic(x, labels, classes, strength=0.1)
    other = LogisticRegression(C=0.1, max_iter=2_000).fit(x.astype(float), labels)
    np.testing.assert_allclose(found.predict(x), other.predict_proba(x), atol=1e-6)
    assert (found.coef.shape, found.bias.shape, found.link) == ((40, classes), (classes,), "softmax")


def by_hand(x: csr_matrix, is_class: NDArray[np.bool_]) -> NDArray[np.float64]:
    binary = (x.toarray() > 0).astype(float)
    p, q = 1 + binary[is_class].sum(axis=0), 1 + binary[~is_class].sum(axis=0)
    return np.log((p / np.abs(p).sum()) / (q / np.abs(q).sum()))


def test_the_ratio_is_that_of_the_paper() -> None:
    x, labels = problem(2)
    binary = x.copy()
    binary.data[:] = 1
    np.testing.assert_allclose(log_count_ratio(binary, labels == 1, 1.0), by_hand(x, labels == 1))


def test_nbsvm_is_a_classifier_on_features_times_ratio() -> None:
    x, labels = problem(2)
    ratio = by_hand(x, labels == 1)
    other = LogisticRegression(solver="liblinear", dual=True, tol=1e-3, max_iter=2_000, random_state=0)
    other.fit(csr_matrix(x.toarray().astype(float) * ratio), labels == 1)
    found = fit_nbsvm(x, labels, 2, strength=1.0)
    np.testing.assert_allclose(
        found.predict(x)[:, 1], other.predict_proba(csr_matrix(x.toarray() * ratio))[:, 1], atol=1e-9
    )
    np.testing.assert_allclose(found.coef[:, 1] - found.coef[:, 0], ratio * other.coef_[0], rtol=1e-9)


def test_without_weights_of_its_own_nbsvm_is_naive_bayes() -> None:
    x, labels = problem(2)
    x.data[:] = 1
    found = fit_nbsvm(x, labels, 2, interpolation=0)
    bayes = MultinomialNB().fit(x, labels)
    ratio = bayes.feature_log_prob_[1] - bayes.feature_log_prob_[0]
    weights = found.coef[:, 1] - found.coef[:, 0]
    np.testing.assert_allclose(weights / np.abs(weights).sum(), ratio / np.abs(ratio).sum(), rtol=1e-6)
    half = fit_nbsvm(x, labels, 2, interpolation=0.5).coef
    np.testing.assert_allclose(half, (found.coef + fit_nbsvm(x, labels, 2).coef) / 2, rtol=1e-9)


@pytest.mark.parametrize("classes", [3, 5])
def test_of_many_classes_each_has_its_own_ratio(classes: int) -> None:
    x, labels = problem(classes)
    found = fit_nbsvm(x, labels, classes)
    assert (found.coef.shape, found.link) == ((40, classes), "one_vs_rest")
    for number in range(classes):
        alone = fit_nbsvm(x, (labels == number).astype(int), 2)
        np.testing.assert_allclose(found.coef[:, number], 2 * alone.coef[:, 1])
        np.testing.assert_allclose(found.bias[number], 2 * alone.bias[1])
    assert np.mean(found.predict(x).argmax(axis=1) == labels) > 0.8


@pytest.mark.parametrize("fit", [fit_logistic, fit_nbsvm])
@pytest.mark.parametrize("classes", [2, 4])
def test_probabilities_are_shares(fit: object, classes: int) -> None:
    x, labels = problem(classes, rows=80)
    found = fit(x, labels, classes, strength=1e4)  # type: ignore[operator]
    shares = found.predict(x * 1000)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert (shares >= 0).all()
    np.testing.assert_allclose(found.predict(x), found.predict(x.toarray()), rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("fit", [fit_logistic, fit_nbsvm])
def test_input_stays_as_it_is_and_the_same_fit_gives_the_same_numbers(fit: object) -> None:
    x, labels = problem(3)
    before, labels_before = x.copy(), labels.copy()
    one, other = fit(x, labels, 3), fit(x, labels, 3)  # type: ignore[operator]
    assert (x != before).nnz == 0
    assert np.array_equal(labels, labels_before)
    assert np.array_equal(one.coef, other.coef)


@pytest.mark.parametrize("fit", [fit_logistic, fit_nbsvm])
def test_a_class_that_does_not_occur_is_refused(fit: object) -> None:
    x, labels = problem(2)
    for wrong, classes in ((labels, 3), (labels * 0, 1), (labels + 1, 2)):
        with pytest.raises(ValueError, match="expected labels of each of 2 or more classes"):
            fit(x, wrong, classes)  # type: ignore[operator]


def test_a_classifier_of_its_own_numbers() -> None:
    found = LinearModel(coef=np.eye(2), bias=np.zeros(2), link="one_vs_rest")
    assert found.predict(np.array([[0.0, 0.0]])).tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("scale", [1.0, 40.0, 400.0])
def test_a_text_that_is_unlike_every_class_gets_shares(scale: float) -> None:
    """All sigmoids vanish then, in float32 and, at the largest scale, in float64."""
    logits = scale * np.array([[-3.0, -3.0 + 0.5 / scale, -5.0]])
    found = LinearModel(coef=logits, bias=np.zeros(3), link="one_vs_rest")
    by_hand = np.array([divided_by_their_sum(logits[0])])
    np.testing.assert_allclose(found.predict(np.ones((1, 1))), by_hand, rtol=1e-9, atol=1e-300)
    built = build_linear(found, "classes").predict(np.ones((1, 1), np.float32), verbose=0)
    np.testing.assert_allclose(built, by_hand, rtol=1e-4, atol=1e-30)


def divided_by_their_sum(logits: np.ndarray) -> np.ndarray:
    """Sigmoids divided by their sum, with 28 digits."""
    shares = [1 / (1 + Decimal(-float(one)).exp()) for one in logits]
    return np.array([float(share / sum(shares)) for share in shares])
