"""The zoo: candidates that leak on purpose, and clean ones that look suspicious, with the checks that must fire.

`leaky/` holds the programs that fire a check which counts as a leak, `suspicious/` all others. Most leaks are mixed
into a clean mixer by the factor STRENGTH of their program: 0 is clean, 1 is strong.

`fires` goes by the definitions of the checks, each on one sequence at a time except for `batch`. A leak of `future`
fires `length` too: cutting the sequence takes away the later inputs it lives on.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from pathlib import Path

from replication.candidate import Candidate, read_candidate
from replication.certificate import LEAKS
from replication.settings import InputError, require

__all__ = ["ZOO", "Specimen", "read_specimen"]

HERE = Path(__file__).parent
STRENGTH_LINE = re.compile(r"^STRENGTH = .*$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Specimen:
    """One program of the zoo."""

    name: str
    fires: frozenset[str]  # exactly the checks that find something; empty for none
    graded: bool  # whether the program has a STRENGTH
    about: str  # one line: what it does, and why a check fires where that can be argued

    @property
    def leaky(self) -> bool:
        """Whether an output depends on a later input or on another row of the batch."""
        return not self.fires.isdisjoint(LEAKS)


def _specimen(name: str, fires: str, about: str, *, graded: bool = True) -> Specimen:
    return Specimen(name=name, fires=frozenset(fires.split()), graded=graded, about=about)


def _clean(name: str, fires: str, about: str) -> Specimen:
    return _specimen(name, fires, about, graded=False)


ZOO: tuple[Specimen, ...] = (
    # From later positions.
    _specimen("next_token", "future length", "adds the next input"),
    _specimen("next_token_projected", "future length", "adds the next input through a learned projection"),
    _specimen("two_ahead", "future length", "adds the input two positions later"),
    _specimen("far_ahead", "future length", "adds the input 64 positions later"),
    _specimen("symmetric_convolution", "future length", "a depthwise convolution padded on both sides"),
    _specimen("circular_convolution", "future length", "an FFT filter without padding: its start wraps to the end"),
    _specimen("minimum_phase", "future length", "a causal-looking filter made from the spectrum of the whole input"),
    _specimen("chunk_summary", "future length", "each position sees the mean of its whole chunk"),
    _specimen("chunk_border", "future length", "the last position of each chunk of 32 sees the next chunk's first"),
    _specimen("pooled_and_upsampled", "future length", "means of blocks of four, repeated to full length"),
    _specimen("bidirectional", "future length", "a second scan from the end"),
    _specimen("reversal", "future length", "adds the sequence in reverse order"),
    # From the whole sequence.
    _specimen("mean_over_time", "future length", "inputs centred by their mean over time"),
    _specimen("variance_over_time", "future length", "outputs scaled by the variance over time"),
    _specimen("max_over_time", "future length", "outputs scaled by the maximum over time: only a new maximum shows"),
    _specimen("pooled_gate", "future length", "a gate from the mean over time"),
    _specimen("softmax_over_time", "future length", "positions weighted by a softmax over time"),
    _specimen("total_denominator", "future length", "a running sum divided by the sum of all weights"),
    _specimen("sort_over_time", "future length", "each channel sorted over time; the work grows like T log T"),
    _specimen("top_k_over_time", "future length", "the mean of the eight largest inputs over time"),
    _specimen("attention_without_mask", "future length cost", "softmax attention to all positions; T x T weights"),
    _specimen("attention_mask_off_by_one", "future length cost", "a mask one diagonal too wide; T x T weights"),
    # Between the rows of a batch.
    _specimen("batch_mean", "batch", "adds the mean over the batch at each position, which is never a later one"),
    _specimen("flattened_scan", "batch", "a scan over [B * T]: no effect of later inputs of the same row"),
    _specimen("flattened_next_row", "batch", "the last position sees the next row; with one row there is none"),
    _specimen("axes_swapped", "batch", "a causal filter over [T * B]: it sees other rows, none of them later"),
    _specimen("tensor_scale", "future batch length", "outputs scaled by the mean square of the whole input tensor"),
    _specimen("expert_choice", "future batch length", "an expert that takes the best quarter of all positions"),
    _specimen(
        "batch_norm",
        "future batch length repeat mode",
        "batch statistics in training; a call in training moves the averages that evaluation uses, hence repeat",
    ),
    # Only under a condition.
    _specimen("train_only", "future length mode", "adds the next input in training"),
    _specimen("eval_only", "future length mode", "adds the next input in evaluation"),
    _specimen("long_only", "future length", "adds the next input in sequences above 128"),
    _specimen("ragged_only", "future length", "adds the next input where the length is no multiple of 32"),
    _specimen("deeper_layer", "future length", "adds the next input in every layer but the first"),
    _specimen("triggered", "future length", "adds the next input where its first channel is above 0.5"),
    _specimen("one_head", "future length", "adds the next input in the channels of one head"),
    _specimen("one_channel", "future length", "adds the next input to one channel, scaled by 1e-4 more"),
    _specimen("closed_gate", "future length", "adds the next input behind a learned gate at sigmoid(-12) = 6e-6"),
    _specimen("zero_projection", "future length", "adds the next input through a projection that starts at zero"),
    _specimen("opening_gate", "future length repeat", "a gate that every call in training opens a little"),
    _specimen(
        "late_switch",
        "future length repeat",
        "adds the next input after 1000 calls in training; repeat sees that only between calls on both sides of it",
    ),
    # Without a gradient, or near the rounding.
    _specimen("detached", "future length", "adds the next input cut off from the gradient"),
    _specimen("next_argmax", "future length", "adds a vector for the largest channel of the next input"),
    _specimen("rounded", "future length", "adds the next input rounded to whole numbers"),
    _specimen("bfloat16_leak", "future length", "a tenth of the next input, within internals rounded to bfloat16"),
    # No leaks, though a property of their own.
    _specimen("memory_between_calls", "repeat", "adds the mean of the last call's inputs: no input of this call"),
    _specimen("relative_position", "length", "a ramp over t / T: it depends on the length and on no later input"),
    _clean("length_temperature", "length", "a gate whose temperature is log(T)"),
    _clean("dropout", "mode", "dropout; that another length draws other numbers is no dependence on the length"),
    _clean("dropout_over_time", "mode", "dropout with one draw for all positions of a row"),
    _clean("stochastic_depth", "mode", "whole rows set to zero in training"),
    _clean("saved_schedule", "repeat", "a scale that grows with calls in training; the counter is in the state"),
    _clean("unsaved_schedule", "repeat reload", "the same with a counter that the state leaves out"),
    _clean("unsaved_constants", "reload", "constants drawn at construction that the state leaves out"),
    _clean("softmax_attention", "cost", "softmax attention with the right mask; T x T weights"),
    _clean("triangular_matmul", "cost", "a running mean by a matrix of T x T"),
    # Clean in every respect.
    _clean("causal_fft", "", "an FFT filter with padding: later inputs reach earlier outputs by rounding alone"),
    _clean("suffix_difference", "", "total less suffix: later inputs reach earlier outputs by rounding alone"),
    _clean("bfloat16_internals", "", "internals rounded to bfloat16"),
    _clean("cumulative_norm", "", "normalisation by the mean and variance so far"),
    _clean("running_max", "", "the largest input so far"),
    _clean("running_argmax", "", "how long ago the largest input so far was"),
    _clean("reversed_twice", "", "a filter that looks ahead over the reversed sequence, reversed again"),
    _clean("previous_token", "", "adds the previous input"),
    _clean("masked_roll", "", "rolled by one, without the position that wraps round"),
    _clean("channel_sort", "", "the channels of each position, sorted"),
    _clean("earlier_chunks", "", "the mean of the chunk before"),
    _clean("silent_counter", "", "counters that no output depends on; one is in the state, one is not"),
    _clean("auxiliary_loss", "", "a loss over the whole batch beside causal outputs"),
)
_BY_NAME = {specimen.name: specimen for specimen in ZOO}


def read_specimen(name: str, strength: float = 1.0) -> Candidate:
    """A specimen of the zoo as a candidate, with the strength of its leak set in its text.

    strength: 0 is clean, 1 the program as it stands. Other strengths become part of the candidate's name.

    Raises:
        InputError: no specimen of this name, a strength that is negative or not finite, or one other than 1 for a
            program without a graded leak.
    """
    require(name in _BY_NAME, f"zoo: unknown specimen {name!r} (known: {', '.join(_BY_NAME)})")
    require(math.isfinite(strength) and strength >= 0, f"zoo: the strength of {name} must be 0 or more, not {strength}")
    specimen = _BY_NAME[name]
    folder = HERE / ("leaky" if specimen.leaky else "suspicious")
    candidate = read_candidate(folder / f"{name}.py", "candidate")
    if strength == 1:
        return candidate
    if not specimen.graded:
        raise InputError(f"zoo: {name} has no strength to set to {strength}")
    source, lines = STRENGTH_LINE.subn(f"STRENGTH = {float(strength)!r}", candidate.source)
    assert lines == 1, f"{name}.py needs exactly one line STRENGTH = ..."
    at = f"{name}-{strength:g}"
    return dataclasses.replace(candidate, name=at, label=at, source=source)
