"""Loss-versus-scale fits: the published laws come back, units do not matter, and refits are full refits."""

import math

import numpy as np
import pytest
from scipy import optimize

from audit.statistics.scaling_descent import Problems, descend, gradient, objective
from audit.statistics.scaling_fit import (
    bootstrap_scaling,
    difference_at,
    expanded_percentiles,
    fit_scaling,
    unidentified,
)
from audit.statistics.scaling_sensitivity import lack_of_fit, sensitivity

DELTA = 1e-3
HOFFMANN = {"E": 1.69, "A": 406.4, "alpha": 0.34, "B": 410.7, "beta": 0.28}  # arXiv 2203.15556, approach 3
BESIROGLU = {"E": 1.82, "A": 482.0, "alpha": 0.35, "B": 2085.0, "beta": 0.37}  # arXiv 2404.10102


def law(values, parameters, tokens):
    return values["E"] + values["A"] / parameters ** values["alpha"] + values["B"] / tokens ** values["beta"]


def runs(values, n, noise, seed):
    """Losses, parameters and tokens [n] over the ranges of the published runs."""
    rng = np.random.default_rng(seed)
    parameters, tokens = np.exp(rng.uniform(np.log(44e6), np.log(16e9), n)), np.exp(rng.uniform(19.1, 26.9, n))
    return law(values, parameters, tokens) * np.exp(noise * rng.standard_normal(n)), parameters, tokens


def toy_runs(seed, noise=0.01, seeds=3, values=(1.3, 300.0, 0.45)):
    """Losses and tokens [5 seeds] of a curve in tokens alone."""
    tokens = np.repeat(2e4 * 2.0 ** np.arange(5), seeds)
    rng = np.random.default_rng(seed)
    return (values[0] + values[1] / tokens ** values[2]) * np.exp(noise * rng.standard_normal(len(tokens))), tokens


@pytest.mark.parametrize("values", [HOFFMANN, BESIROGLU])
def test_the_published_law_comes_back_within_its_intervals(values):
    loss, parameters, tokens = runs(values, 240, 0.003, seed=1)
    rng = np.random.default_rng(7)
    draws = bootstrap_scaling(
        loss, parameters=parameters, tokens=tokens, delta=DELTA, level=0.95, rng=rng, resamples=200
    )
    for name, found in draws.intervals().items():
        assert found.interval[0] < values[name] < found.interval[1], name
        assert found.interval[0] < found.estimate < found.interval[1]
    assert draws.fit.at_bound == ()


def test_without_noise_the_law_comes_back_exactly():
    loss, parameters, tokens = runs(HOFFMANN, 60, 0.0, seed=2)
    fit = fit_scaling(loss, parameters=parameters, tokens=tokens, delta=DELTA)
    assert dict(fit.parameters) == pytest.approx(HOFFMANN, rel=1e-4)
    np.testing.assert_allclose(fit.predict(parameters, tokens), loss, rtol=1e-7)


@pytest.mark.parametrize("size", ["parameters", "tokens"])
def test_the_forms_of_one_size_come_back_exactly(size):
    sizes = 1e4 * 2.0 ** np.arange(7)
    fit = fit_scaling(1.3 + 300.0 / sizes**0.45, **{size: sizes}, delta=DELTA)
    assert list(fit.parameters.values()) == pytest.approx([1.3, 300.0, 0.45], rel=1e-4)


def test_units_and_repeated_points_change_nothing():
    loss, parameters, tokens = runs(HOFFMANN, 40, 0.01, seed=3)
    fit = fit_scaling(loss, parameters=parameters, tokens=tokens, delta=DELTA)
    scaled = fit_scaling(loss / math.log(2), parameters=parameters / 1e9, tokens=tokens / 1e9, delta=DELTA)
    twice = fit_scaling(np.tile(loss, 2), parameters=np.tile(parameters, 2), tokens=np.tile(tokens, 2), delta=DELTA)
    for other in (scaled, twice):
        assert other.objective == pytest.approx(fit.objective, rel=1e-9)
        for name in ("alpha", "beta"):
            assert other.parameters[name] == pytest.approx(fit.parameters[name], rel=1e-5)
    assert scaled.parameters["E"] == pytest.approx(fit.parameters["E"] / math.log(2), rel=1e-5)


def problems(seed, delta=DELTA, n=40, resamples=1):
    rng = np.random.default_rng(seed)
    loss, parameters, tokens = runs(HOFFMANN, n, 0.01, seed)
    x = np.log(np.stack([parameters, tokens]))
    y = np.log(loss)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(float)
    return Problems(x - x.mean(axis=1, keepdims=True), (y - y.mean())[None], weights, delta)


def test_the_gradient_is_that_of_the_objective():
    rng, few = np.random.default_rng(5), problems(5, delta=0.05)
    for theta in rng.normal([-0.5, -1.0, 0.4, -1.0, 0.3], 0.2, size=(5, 5)):
        slope = optimize.approx_fprime(theta, lambda point: float(objective(point[None], few)[0]), 1e-7)
        np.testing.assert_allclose(gradient(theta[None], few)[1][0], slope, rtol=2e-4, atol=1e-5)


def test_refits_reach_the_minimum_that_another_optimiser_finds():
    several = problems(6, resamples=8)
    start = np.array([-0.5, -1.0, 0.4, -1.0, 0.3])
    thetas, values = descend(np.repeat(start[None], 8, axis=0), several)
    for row in range(8):
        one = several.rows(np.array([row]))
        found = optimize.minimize(
            lambda point, one=one: float(objective(point[None], one)[0]),
            thetas[row] + 0.02,
            method="Nelder-Mead",
            options={"maxiter": 20_000, "maxfev": 20_000, "xatol": 1e-10, "fatol": 1e-13, "adaptive": True},
        )
        assert values[row] <= found.fun * (1 + 1e-8)


def test_equal_generators_give_equal_refits_and_others_do_not():
    loss, tokens = toy_runs(1)

    def drawn(seed):
        rng = np.random.default_rng(seed)
        return bootstrap_scaling(loss, tokens=tokens, delta=DELTA, level=0.95, rng=rng, resamples=50).values

    np.testing.assert_array_equal(drawn(1), drawn(1))
    assert (drawn(1) != drawn(2)).any()


def test_a_group_is_drawn_whole():
    loss, tokens = toy_runs(1)
    copies = {"delta": DELTA, "level": 0.95, "resamples": 60}
    groups = [f"run {place % 15}" for place in range(45)]
    whole = bootstrap_scaling(
        np.tile(loss, 3), tokens=np.tile(tokens, 3), groups=groups, rng=np.random.default_rng(3), **copies
    )
    once = bootstrap_scaling(loss, tokens=tokens, rng=np.random.default_rng(3), **copies)
    np.testing.assert_allclose(whole.values[:, 2], once.values[:, 2], atol=1e-4)


def test_a_curve_that_never_bends_is_at_its_bound_and_has_no_interval():
    tokens = 2e4 * 2.0 ** np.arange(8)
    rising = 2.0 + 0.01 * np.arange(8)
    fit = bootstrap_scaling(rising, tokens=tokens, delta=DELTA, level=0.95, rng=np.random.default_rng(1), resamples=50)
    assert fit.fit.at_bound
    stuck = fit.fit.at_bound[0]
    assert all(map(math.isnan, fit.intervals()[stuck].interval))


def test_the_interval_of_a_difference_widens_with_the_distance_extrapolated():
    arms = [
        bootstrap_scaling(
            *toy_runs(seed)[:1], tokens=toy_runs(seed)[1], delta=DELTA, level=0.95, rng=np.random.default_rng(seed),
            resamples=300,
        )
        for seed in (1, 2)
    ]  # fmt: skip
    near, far = (difference_at(*arms, tokens=tokens) for tokens in (3.2e5, 1e8))
    assert near.interval[0] < 0 < near.interval[1]
    assert far.interval[1] - far.interval[0] > 3 * (near.interval[1] - near.interval[0])
    same = difference_at(arms[0], arms[0], tokens=1e8)
    assert same.estimate == 0.0
    assert same.interval == (0.0, 0.0)


def test_few_points_widen_percentiles_and_many_do_not():
    drawn = np.random.default_rng(1).standard_normal(20_000)
    wide, narrow = expanded_percentiles(drawn, 4, 0.95), expanded_percentiles(drawn, 5000, 0.95)
    assert wide[1] == pytest.approx(2.776, abs=0.15)
    assert narrow[1] == pytest.approx(1.96, abs=0.05)
    assert all(map(math.isnan, expanded_percentiles(drawn, 0, 0.95)))


def test_too_few_sizes_are_said_to_identify_nothing():
    tokens = np.repeat([1e4, 2e4, 4e4], 5)
    assert "3 different sizes for 3 parameters" in unidentified(tokens=tokens)
    assert "2 different values of parameters" in unidentified(
        parameters=np.repeat([1e5, 2e5], 8), tokens=np.arange(16) + 1
    )
    assert unidentified(tokens=[1e4, 2e4, 4e4, 8e4]) == ""


def test_sensitivity_refits_without_the_point_that_is_wrong():
    loss, tokens = toy_runs(4, noise=0.001)
    loss[14] *= 1.3
    table = sensitivity(loss, tokens=tokens, delta=0.1).set_index("left_out")
    assert len(table) == 1 + 2 + 15
    assert abs(table.loc["point 15", "beta"] - 0.45) < 0.05 < abs(table.loc["nothing", "beta"] - 0.45)
    kept = fit_scaling(np.delete(loss, 14), tokens=np.delete(tokens, 14), delta=0.1)
    assert table.loc["point 15", "beta"] == pytest.approx(kept.parameters["beta"], rel=1e-4)


def test_lack_of_fit_sees_a_curve_of_another_form():
    loss, tokens = toy_runs(5, noise=0.002, seeds=4)
    assert lack_of_fit(loss, tokens=tokens).p_value > 0.05
    bent = loss * np.where(tokens > 1e5, 0.97, 1.0)
    assert lack_of_fit(bent, tokens=tokens).p_value < 1e-4
    alone = lack_of_fit(loss[::4], tokens=tokens[::4])
    assert math.isnan(alone.p_value)
    assert alone.degrees == (2, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": [1.0, 2.0, -1.0, 1.0], "tokens": [1, 2, 3, 4]}, "loss must be positive"),
        ({"loss": [1.0, 2.0, 3.0, 4.0], "tokens": [0, 2, 3, 4]}, "tokens must be positive"),
        ({"loss": [1.0, 2.0, 3.0, 4.0], "tokens": [1, 2, 3]}, "4 losses and 3 sizes"),
        ({"loss": [1.0, 2.0], "tokens": [1, 2]}, "3 parameters need as many points"),
        ({"loss": [1.0, 2.0, 3.0]}, "parameters or tokens"),
        ({"loss": [1.0, math.nan, 3.0], "tokens": [1, 2, 3]}, "finite"),
    ],
)
def test_data_that_cannot_be_fitted_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_scaling(**arguments, delta=DELTA)
