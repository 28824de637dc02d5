"""Linear models on sparse matrices: logistic regression, NB-SVM and ridge regression, honest baselines for texts."""

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.integer[Any]]
Classifier = Literal["logistic_regression", "nb_svm"]
Link = Literal["softmax", "sigmoid", "one_vs_rest", "linear"]

_ITERATIONS: Final = 2_000  # of the solvers, at most; tens to hundreds are usual
_TOLERANCE: Final = 1e-8  # of the residual of ridge regression, as a share; its answers are then exact in float32


@dataclass(frozen=True, kw_only=True)
class LinearModel:
    """Coefficients of a linear model.

    Attributes:
        coef: (width, units): a unit for each class or label, or one for a number.
        bias: (units,).
        link: How `x @ coef + bias` becomes outputs: `softmax`; `sigmoid` of each unit; `one_vs_rest`: these divided by
            their sum; `linear`: as it is.
    """

    coef: Floats
    bias: Floats
    link: Link

    def predict(self, x: Any) -> Floats:
        """Compute the outputs for a matrix (n, width), sparse or not.

        Returns:
            (n, units): probabilities, whose rows sum to 1 for `softmax` and `one_vs_rest`, or numbers.
        """
        logits = np.asarray(x @ self.coef + self.bias, np.float64)
        if self.link == "linear":
            return logits
        log_shares = logits if self.link == "softmax" else -np.logaddexp(0, -logits)
        if self.link != "sigmoid":
            log_shares = log_shares - log_shares.max(axis=1, keepdims=True)  # so that one share is 1, however small
        shares: Floats = np.exp(log_shares)
        return shares if self.link == "sigmoid" else np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float64)


def build_linear(fitted: LinearModel, name: str) -> Any:
    """Build a linear model as a Keras model, from (n, width) to (n, units). name: of its layer."""
    from lamina.models.keras_runtime import keras

    width, units = fitted.coef.shape
    words = keras.Input((width,), name="words")
    activation = "log_sigmoid" if fitted.link == "one_vs_rest" else fitted.link
    layer = keras.layers.Dense(units, activation=activation, name=name)
    x = layer(words)
    layer.set_weights([fitted.coef.astype(np.float32), fitted.bias.astype(np.float32)])
    if fitted.link == "one_vs_rest":
        x = keras.ops.softmax(x)  # the sigmoids divided by their sum, which would be 0 where all of them vanish
    return keras.Model(words, x, name="linear")


def fit_classifier(
    network: Classifier, x: Any, labels: Labels, classes: int, *, penalty: float, seed: int
) -> LinearModel:
    """Fit a linear classifier by its name.

    Args:
        network: The name.
        x: (n, width) CSR matrix.
        labels: (n,) class numbers; each class occurs.
        classes: Number of classes, 2 or more.
        penalty: Of large coefficients, above 0.
        seed: Of the solver's order, where it has one.

    Raises:
        ValueError: A class does not occur.
    """
    if network == "nb_svm":
        return fit_nbsvm(x, labels, classes, strength=1 / penalty, seed=seed)
    return fit_logistic(x, labels, classes, strength=1 / penalty)


def fit_ridge(x: Any, targets: npt.NDArray[np.floating[Any]], *, penalty: float) -> LinearModel:
    """Fit a ridge regression: the least squared error with an L2 penalty of the coefficients, not of the bias.

    Args:
        x: (n, width) matrix, CSR or dense.
        targets: (n,) numbers.
        penalty: Of large coefficients (`alpha` of scikit-learn), above 0. It suits standardized targets of any unit.

    Returns:
        The model, with one unit. The same input gives the same coefficients: the solver draws nothing at random.

    Source:
        A. E. Hoerl and R. W. Kennard, Ridge regression, Technometrics 12 (1970) 55.
    """
    from sklearn.linear_model import Ridge

    fitted = Ridge(alpha=penalty, solver="sparse_cg", tol=_TOLERANCE, max_iter=_ITERATIONS)
    fitted.fit(x.astype(np.float64), np.asarray(targets, np.float64))
    return LinearModel(coef=fitted.coef_[:, None].copy(), bias=np.array([fitted.intercept_]), link="linear")


def fit_logistic(x: Any, labels: Labels, classes: int, *, strength: float = 0.03) -> LinearModel:
    """Fit a (multinomial) logistic regression with an L2 penalty.

    Args:
        x: (n, width) matrix, CSR or dense.
        labels: (n,) class numbers; each class occurs.
        classes: Number of classes, 2 or more.
        strength: Inverse of the penalty (`C` of scikit-learn): smaller values give smaller coefficients.

    Returns:
        The classifier; of two classes each has half of the coefficients, with opposite signs, so that the softmax is
        the logistic function.

    Raises:
        ValueError: A class does not occur.
    """
    from sklearn.linear_model import LogisticRegression

    _check_labels(labels, classes)
    # in float32 the solver gives coefficients of seven digits
    fitted = LogisticRegression(C=strength, solver="lbfgs", max_iter=_ITERATIONS).fit(x.astype(np.float64), labels)
    if classes == 2:
        return _of_two(fitted.coef_[0], float(fitted.intercept_[0]))
    return LinearModel(coef=fitted.coef_.T.copy(), bias=fitted.intercept_.copy(), link="softmax")


def fit_nbsvm(
    x: Any,
    labels: Labels,
    classes: int,
    *,
    strength: float = 0.3,
    smoothing: float = 1.0,
    interpolation: float = 1.0,
    seed: int = 0,
) -> LinearModel:
    """Fit an NB-SVM: a linear classifier on features that are scaled by their log-count ratios.

    The loss is the logistic one instead of the hinge loss of a support vector machine. It scores as well on texts, and
    its answers are probabilities without another fit on held-out data. More than two classes are fitted one versus the
    rest, each with ratios of its own; their probabilities are the logistic functions divided by their sum.

    Args:
        x: (n, width) CSR matrix; the ratios are those of its binarized values.
        labels: (n,) class numbers; each class occurs.
        classes: Number of classes, 2 or more.
        strength: Inverse of the penalty (`C` of scikit-learn).
        smoothing: Added to the count of every feature in every class (alpha).
        interpolation: Between the mean size of the weights (0: naive Bayes) and the fitted weights (1). Below 1 the
            probabilities are no longer those that the fit makes likely: calibrate them where that matters.
        seed: Of the solver's order.

    Returns:
        The classifier for `x` itself: the ratios are in its coefficients.

    Raises:
        ValueError: A class does not occur.

    Source:
        S. Wang and C. D. Manning, Baselines and bigrams: simple, good sentiment and topic classification, ACL 2012.
    """
    _check_labels(labels, classes)
    binary = x.astype(np.float64)
    binary.data = (binary.data != 0).astype(np.float64)
    targets = [1] if classes == 2 else range(classes)
    fits = [
        _fit_one(x, binary, labels == target, strength=strength, smoothing=smoothing, beta=interpolation, seed=seed)
        for target in targets
    ]
    if classes == 2:
        return _of_two(*fits[0])
    coef = np.column_stack([weights for weights, _ in fits])
    return LinearModel(coef=coef, bias=np.array([bias for _, bias in fits]), link="one_vs_rest")


def log_count_ratio(binary: Any, is_class: npt.NDArray[np.bool_], smoothing: float) -> Floats:
    """Compute the logarithm of how much more frequent each feature is in a class than outside: (width,).

    Args:
        binary: (n, width) sparse matrix of zeros and ones.
        is_class: (n,) whether a row is of the class.
        smoothing: Added to every count.
    """
    inside, outside = (
        smoothing + np.asarray(binary[rows].sum(axis=0), np.float64).ravel() for rows in (is_class, ~is_class)
    )
    ratio: Floats = np.log(inside / inside.sum()) - np.log(outside / outside.sum())
    return ratio


def _fit_one(
    x: Any, binary: Any, is_class: npt.NDArray[np.bool_], *, strength: float, smoothing: float, beta: float, seed: int
) -> tuple[Floats, float]:
    """Coefficients for `x`, (width,), and bias of one class versus the rest."""
    from sklearn.linear_model import LogisticRegression

    ratio = log_count_ratio(binary, is_class, smoothing)
    scaled = x.astype(np.float64)
    scaled.data *= ratio[scaled.indices]
    # the dual problem has a variable for each text, not for each of a million words
    solver = LogisticRegression(
        C=strength, solver="liblinear", dual=True, tol=1e-3, max_iter=_ITERATIONS, random_state=seed
    )
    fitted = solver.fit(scaled, is_class)
    weights = fitted.coef_[0]
    mixed = (1 - beta) * np.abs(weights).mean() + beta * weights
    return ratio * mixed, float(fitted.intercept_[0])


def _of_two(weights: Floats, bias: float) -> LinearModel:
    return LinearModel(coef=np.column_stack([-weights, weights]) / 2, bias=np.array([-bias, bias]) / 2, link="softmax")


def _check_labels(labels: Labels, classes: int) -> None:
    found = set(np.unique(labels).tolist())
    if classes < 2 or found != set(range(classes)):
        raise ValueError(f"expected labels of each of 2 or more classes 0 to {classes - 1}, got {sorted(found)}")
