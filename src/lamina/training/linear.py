"""Linear classifiers on sparse matrices: logistic regression and NB-SVM, strong and honest baselines for texts."""

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.integer[Any]]
Link = Literal["softmax", "sigmoid"]

_ITERATIONS: Final = 2_000  # of the solvers, at most; tens to hundreds are usual


@dataclass(frozen=True, kw_only=True)
class LinearClassifier:
    """Coefficients of a linear classifier.

    Attributes:
        coef: (width, classes).
        bias: (classes,).
        link: How `x @ coef + bias` becomes probabilities: `softmax`, or `sigmoid` of each class, divided by their sum.
    """

    coef: Floats
    bias: Floats
    link: Link

    def probabilities(self, x: Any) -> Floats:
        """Compute the probabilities of the classes for a matrix (n, width), sparse or not.

        Returns:
            (n, classes), rows that sum to 1.
        """
        logits = np.asarray(x @ self.coef + self.bias, np.float64)
        if self.link == "softmax":
            shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        else:
            shares = np.exp(-np.logaddexp(0, -logits))
        total: Floats = shares / shares.sum(axis=1, keepdims=True)
        return total


def fit_logistic(x: Any, labels: Labels, classes: int, *, strength: float = 0.03) -> LinearClassifier:
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
    return LinearClassifier(coef=fitted.coef_.T.copy(), bias=fitted.intercept_.copy(), link="softmax")


def fit_nbsvm(
    x: Any,
    labels: Labels,
    classes: int,
    *,
    strength: float = 0.3,
    smoothing: float = 1.0,
    interpolation: float = 1.0,
    seed: int = 0,
) -> LinearClassifier:
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
    return LinearClassifier(coef=coef, bias=np.array([bias for _, bias in fits]), link="sigmoid")


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


def _of_two(weights: Floats, bias: float) -> LinearClassifier:
    return LinearClassifier(
        coef=np.column_stack([-weights, weights]) / 2, bias=np.array([-bias, bias]) / 2, link="softmax"
    )


def _check_labels(labels: Labels, classes: int) -> None:
    found = set(np.unique(labels).tolist())
    if classes < 2 or found != set(range(classes)):
        raise ValueError(f"expected labels of each of 2 or more classes 0 to {classes - 1}, got {sorted(found)}")
