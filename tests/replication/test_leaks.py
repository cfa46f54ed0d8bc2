"""The zoo does what its registry says, by a brute-force look that shares nothing with the certificate."""

from __future__ import annotations

import ast
import copy
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from replication import leaks
from replication.candidate import CandidateError, build_mixer, mix
from replication.leaks import ZOO, read_specimen
from replication.settings import InputError

FOLDER = Path(leaks.__file__).parent
HIDDEN, HEADS = 16, 2
every_specimen = pytest.mark.parametrize("specimen", ZOO, ids=lambda specimen: specimen.name)
every_graded = pytest.mark.parametrize("specimen", [s for s in ZOO if s.graded], ids=lambda specimen: specimen.name)


def build(name, strength=1.0, seed=0):
    torch.manual_seed(seed)
    source = read_specimen(name, strength).source
    return build_mixer(source, hidden_size=HIDDEN, num_heads=HEADS, layer_idx=1).double()


def moved(module, seed=1):
    """Parameters off their initial values, since a zero can hide a path."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return module


def later(module, calls=5000):
    """The module with the counters of its state moved on."""
    module = copy.deepcopy(module)
    for buffer in module.buffers():
        if not buffer.is_floating_point():
            buffer.fill_(calls)
    return module


def tokens(length, rows=1, seed=0):
    return torch.randn(rows, length, HIDDEN, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def run(module, x, seed=3):
    """Outputs of a copy, so that a call leaves no trace."""
    torch.manual_seed(seed)
    with torch.no_grad():
        return mix(copy.deepcopy(module), x)[0]


def differ(first, second):
    return bool((first - second).abs().max() > 1e-11 * first.abs().max())


def from_the_future(module):
    return any(
        differ(run(module, x)[:, :cut], run(module, torch.cat([x[:, :cut], 9 - 20 * x[:, cut:]], 1))[:, :cut])
        for x in (tokens(33), tokens(160))
        for cut in (x.shape[1] // 2, x.shape[1] - 1)
    )


def from_other_rows(module):
    x = tokens(33, rows=2)
    return any(
        differ(run(module, x)[row], run(module, torch.where(torch.arange(2)[:, None, None] == row, x, 9 - 20 * x))[row])
        for row in (0, 1)
    )


def from_the_length(module):
    x = tokens(160)
    if differ(run(module, x), run(module, x, seed=4)):  # random: another length draws other numbers
        return False
    return any(differ(run(module, x)[:, :cut], run(module, x[:, :cut])) for cut in (32, 64, 99, 128, 129))


def from_earlier_calls(module):
    used = copy.deepcopy(module)
    for training in (True, False):
        mix(used.train(training), tokens(40, rows=2, seed=5))
    return differ(run(module, tokens(33)), run(used.train(module.training), tokens(33)))


def after_reloading(module, name):
    used = copy.deepcopy(module).train()
    for _ in range(3):
        mix(used, tokens(40, rows=2))
    fresh = build(name, seed=2).train(module.training)
    fresh.load_state_dict(used.state_dict())
    return differ(run(used.train(module.training), tokens(33)), run(fresh, tokens(33)))


def between_modes(module):
    x = tokens(160, rows=2)
    return differ(run(module.train(), x), run(module.eval(), x))


def observed(name):
    """The checks, except `cost`, that a brute-force look finds violated."""
    module, found = moved(build(name)), set()
    counts = any(not buffer.is_floating_point() for buffer in module.buffers())
    for state in (module, later(module)) if counts else (module,):
        for training in (True, False):
            state.train(training)
            found |= {"future"} if from_the_future(state) else set()
            found |= {"batch"} if from_other_rows(state) else set()
            found |= {"length"} if from_the_length(state) else set()
            found |= {"repeat"} if from_earlier_calls(state) else set()
            found |= {"reload"} if after_reloading(state, name) else set()
        found |= {"mode"} if between_modes(state) else set()
    x = tokens(33, rows=2)
    if counts and differ(run(module.eval(), x), run(later(module).eval(), x)):
        found |= {"repeat"}
    return found


@every_specimen
def test_a_specimen_does_what_its_checks_say_and_nothing_else(specimen):
    assert observed(specimen.name) == specimen.fires - {"cost"}


@every_specimen
def test_products_grow_with_the_square_of_the_length_where_cost_is_named(specimen):
    module, products = build(specimen.name), []
    for length in (512, 1024):
        with FlopCounterMode(display=False) as counter:
            run(module, tokens(length))
        products.append(counter.get_total_flops())
    assert (products[1] / products[0] > 2**1.8) == ("cost" in specimen.fires)


@every_specimen
@pytest.mark.parametrize("training", [True, False])
def test_outputs_and_gradients_are_finite_at_any_length(specimen, training):
    module = build(specimen.name).float().train(training)
    for length, rows in ((1, 1), (1, 2), (33, 1), (160, 2)):
        x = tokens(length, rows).float().requires_grad_()
        out, auxiliary = mix(module, x)
        (out.square().sum() + (0 if auxiliary is None else auxiliary)).backward()
        gradients = [x.grad, *(parameter.grad for parameter in module.parameters() if parameter.grad is not None)]
        assert len(gradients) > 1
        assert all(tensor.isfinite().all() for tensor in (out, *gradients))


@every_graded
def test_strength_0_is_exactly_the_program_without_its_leak(specimen):
    twins = {
        "attention_without_mask": "softmax_attention",
        "attention_mask_off_by_one": "softmax_attention",
        "bfloat16_leak": "bfloat16_internals",
    }
    clean, grey = build(twins.get(specimen.name, "silent_counter")), build(specimen.name, 0.0)
    missing = clean.load_state_dict(grey.state_dict(), strict=False).missing_keys
    assert set(missing) <= {"calls"}
    for module in (grey, later(grey)):
        assert torch.equal(run(clean, tokens(160, rows=2)), run(module, tokens(160, rows=2)))


@every_graded
def test_a_weaker_leak_changes_outputs_less(specimen):
    x, sizes = tokens(161, rows=2), []
    for strength in (0.0, 1e-2, 1.0):
        module = later(moved(build(specimen.name, strength)))
        mix(module.eval() if specimen.name == "eval_only" else module, tokens(9))
        sizes.append(run(module, x))
    weak, strong = ((out - sizes[0]).abs().mean() for out in sizes[1:])
    assert 0 < weak < 0.2 * strong


@pytest.mark.parametrize("strength", [1.0, 1e-4])
@pytest.mark.parametrize("name", ["next_token", "mean_over_time", "minimum_phase", "attention_without_mask"])
def test_strong_and_weak_leaks_reach_earlier_outputs(name, strength):
    assert from_the_future(moved(build(name, strength)))


def test_the_zoo_is_large_and_its_folders_tell_leaks_from_clean_programs():
    leaky = {specimen.name for specimen in ZOO if specimen.leaky}
    assert len(leaky) >= 26
    assert len([specimen for specimen in ZOO if not specimen.leaky]) >= 14
    assert {path.stem for path in FOLDER.glob("leaky/*.py")} == leaky
    assert {path.stem for path in FOLDER.glob("suspicious/*.py")} == {specimen.name for specimen in ZOO} - leaky
    assert len({read_specimen(specimen.name).id for specimen in ZOO}) == len(ZOO)


@every_specimen
def test_only_graded_programs_have_a_strength_and_none_is_long(specimen):
    source = read_specimen(specimen.name).source
    assert ("\nSTRENGTH = 1.0\n" in source) == specimen.graded
    assert len(source.splitlines()) <= 35
    assert ast.get_docstring(ast.parse(source))


def test_a_strength_is_written_into_the_program_and_its_name():
    strong, weak = read_specimen("next_token"), read_specimen("next_token", 1e-4)
    assert (strong.name, weak.name) == ("next_token", "next_token-0.0001")
    assert "\nSTRENGTH = 0.0001\n" in weak.source
    assert weak.id != strong.id == read_specimen("next_token", 1).id
    assert strong.role == weak.role == "candidate"


@pytest.mark.parametrize(
    ("name", "strength", "message"),
    [
        ("next_tokens", 1.0, "unknown specimen 'next_tokens' .known: next_token, "),
        ("../clean", 1.0, "unknown specimen"),
        ("next_token", -0.1, "strength of next_token must be 0 or more, not -0.1"),
        ("next_token", float("nan"), "strength of next_token must be 0 or more"),
        ("next_token", float("inf"), "strength of next_token must be 0 or more"),
        ("dropout", 0.5, "dropout has no strength to set to 0.5"),
    ],
)
def test_odd_names_and_strengths_are_refused_in_one_line(name, strength, message):
    with pytest.raises(InputError, match=message):
        read_specimen(name, strength)


@pytest.mark.parametrize(
    "line",
    [
        "from replication.leaks import clean",
        "import replication",
        "from replication import ledger",
        "import replication.leaks.cleaner",
        "from replication.leaks.leaky.reversal import Mixer",
    ],
)
def test_a_candidate_may_import_the_clean_mixers_and_nothing_else_of_the_bench(line):
    allowed = "from replication.leaks.clean import CleanMixer\nclass Mixer(CleanMixer): pass\n"
    assert build_mixer(allowed, hidden_size=HIDDEN, num_heads=HEADS, layer_idx=0)
    with pytest.raises(CandidateError, match=r"line 1 imports 'replication[a-z.]*', which is not allowed"):
        build_mixer(f"{line}\n{allowed}", hidden_size=HIDDEN, num_heads=HEADS, layer_idx=0)
