"""The test that keeps each claim, for the status page and for `dilaton where`."""

from __future__ import annotations

import re

GUARDS: dict[str, tuple[str, ...]] = {
    "weights/learned": (
        "tests/torchcheck/networks/test_train.py::test_overlaps_approach_the_limit_as_one_over_root_d",
        "tests/numerics/minima/test_minimise.py::test_the_published_values",
    ),
    "weights/sampling": (
        "tests/numerics/ode/test_integrate.py::test_the_law_of_the_interpolant_is_reached",
        "tests/torchcheck/networks/test_sample.py::test_the_law_at_the_end_of_the_window_is_the_mixture",
    ),
    "weights/projected": (
        "tests/torchcheck/networks/test_sample.py::test_sixteen_samples_follow_the_flow_of_their_limit",
    ),
    "weights/training": (
        "tests/numerics/ode/test_integrate.py::test_training_flow_reaches_the_known_values",
    ),
    "weights/mse": ("tests/house/test_docs.py::test_errors_agree_with_monte_carlo",),
    "weights/correction": (
        "tests/theory/phases/test_finite_d.py::test_networks_have_the_predicted_correction",
    ),
    "variance/learned": (
        "tests/torchcheck/study/test_converge.py::test_overlaps_are_near_the_limit_with_the_rate_one_half",
    ),
    "variance/sampling": (
        "tests/torchcheck/networks/test_sample.py::test_the_end_of_sampling_is_the_target",
    ),
    "variance/mse": ("tests/house/test_docs.py::test_errors_agree_with_monte_carlo",),
    "exact/sampling": (
        "tests/torchcheck/networks/test_sample.py::test_without_dilation_the_share_is_lost_by_rule",
    ),
    "exact/mse": (
        "tests/torchcheck/real_data/test_windows.py::test_the_measured_error_is_the_exact_mmse",
    ),
    "tied/training": (
        "tests/house/test_docs.py::test_the_tied_flow_follows_its_network",
    ),
}
"""The tests that fail when the equations of a system are wrong, by its name."""

SPECIAL: dict[tuple[str, str], tuple[str, ...]] = {
    ("classes", "weights/learned"): (
        "tests/theory/phases/test_units_samples.py::test_trained_overlaps_approach_the_limit_as_one_over_root_d",
        "tests/theory/phases/test_sampled.py::test_minima_solve_the_printed_equations_and_are_minima",
    ),
    ("classes", "weights/sampling"): (
        "tests/theory/phases/test_sampled.py::test_the_printed_flow_is_the_one_walked",
    ),
    ("classes", "weights/projected"): (
        "tests/theory/phases/test_sampled.py::test_shares_are_those_of_the_whole_flow",
    ),
    ("classes", "variance/learned"): (
        "tests/theory/phases/test_sampled.py::test_the_variance_phase_is_a_regression_on_the_signs",
    ),
    ("classes", "variance/sampling"): (
        "tests/theory/phases/test_sampled.py::test_the_bulk_flow_has_its_closed_solution",
    ),
    ("modes", "weights/learned"): (
        "tests/theory/modes/test_systems.py::test_two_opposite_modes_learn_what_the_tanh_unit_learns",
    ),
    ("modes", "weights/sampling"): (
        "tests/theory/modes/test_systems.py::test_the_flow_of_a_window_is_the_softmax_by_hand",
    ),
    ("modes", "variance/learned"): (
        "tests/theory/modes/test_systems.py::test_one_mode_in_the_bulk_is_one_sign_unit_of_its_samples",
    ),
    ("modes", "variance/sampling"): (
        "tests/theory/modes/test_systems.py::test_the_bulk_solution_satisfies_its_flow",
    ),
    ("modes", "exact/tied"): (
        "tests/numerics/times/test_mode_weights.py::test_the_flow_is_the_slope_of_the_loss",
    ),
    ("modes", "exact/sampling"): (
        "tests/theory/modes/test_systems.py::test_the_window_is_the_limit_of_the_exact_flow",
    ),
    ("frozen", "weights/learned"): (
        "tests/theory/phases/test_sampled.py::test_a_window_of_frozen_noise_is_a_regression_of_much_noise",
        "tests/torchcheck/networks/test_train.py::test_frozen_noise_learns_no_share_in_the_weights_phase",
    ),
    ("frozen", "variance/learned"): (
        "tests/theory/phases/test_variance.py::test_ridge_regression_at_finite_dimension",
    ),
}
"""The same, in the cases that have tests of their own."""


GAUSSIAN = "tests/theory/symbols/test_gaussian.py"
PRICE = (
    f"{GAUSSIAN}::test_slopes_in_mean_and_variance_follow_the_heat_equation",
    f"{GAUSSIAN}::test_slopes_of_the_average_over_two_fields",
)
RULES: dict[str, tuple[str, ...]] = {
    "G1": (f"{GAUSSIAN}::test_averages_of_units_agree_with_quadrature",),
    "G2": PRICE,
    "G3": PRICE,
    "G4": (
        "tests/theory/phases/test_units_samples.py::test_a_saturated_unit_is_the_constant_one",
    ),
    "D1": (
        "tests/theory/phases/test_exact.py::test_the_denoiser_is_the_posterior_mean",
    ),
    "D2": (
        "tests/theory/phases/test_exact.py::test_the_exact_flow_carries_noise_to_the_interpolants_law",
    ),
    "T1": (
        "tests/theory/windows/test_dilation.py::test_the_two_segment_map_of_the_paper_comes_out",
    ),
    "L1": (
        "tests/theory/phases/test_units.py::test_the_loss_is_the_mean_of_the_sampled_one",
        "tests/theory/phases/test_units_samples.py::test_the_loss_is_the_mean_of_the_drawn_one",
    ),
    "G5": (f"{GAUSSIAN}::test_the_gram_rule_is_the_flow_of_explicit_vectors",),
}
"""The tests that keep the rules by which equations are derived, by label."""


def guards_of(case: str, system: str) -> tuple[str, ...]:
    """Return the tests that keep the system called `system` in a case of the model."""
    name = re.sub(r"-\d+/", "/", system).replace("bridge/", "variance/")
    return SPECIAL.get((case, name), GUARDS.get(name, ()))


NUMERICAL = (
    (
        "Averages over Gaussian fields by quadrature, with an error bound",
        "tests/numerics/codegen/test_quadrature.py::test_the_bound_holds_on_coarse_rules",
    ),
    (
        "Flows within 100 times the relative tolerance",
        "tests/numerics/ode/test_integrate.py::test_every_row_keeps_the_promise",
    ),
    (
        "Stationary points are minima, and no lower one is overlooked",
        "tests/numerics/minima/test_minimise.py::test_no_lower_minimum_is_overlooked",
    ),
    (
        "Samples of a class stay alike where nothing tried is lower, or a row says so",
        "tests/numerics/minima/test_alike.py::test_a_sample_that_leaves_its_class_is_found",
    ),
    (
        "A sweep that is killed loses nothing and repeats bit by bit",
        "tests/numerics/sweep/test_job.py::test_kill_9_at_random_moments_loses_nothing",
    ),
    (
        "The verdict of a convergence study rejects a wrong factor",
        "tests/torchcheck/study/test_converge.py::test_a_wrong_factor_is_inconsistent",
    ),
)
"""The same, for what no equation states."""
