"""What a causality certificate says, and its JSON form. `replication/causality.py` makes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from replication.durable import seal
from replication.record import canonical_json, read_document
from replication.settings import require, typed

SCHEMA = "archaudit.certificate/1"

Check = Literal["future", "batch", "length", "repeat", "reload", "mode", "cost"]
Outcome = Literal["certified", "violated", "not_runnable"]
CHECKS: tuple[Check, ...] = get_args(Check)
LEAKS: tuple[Check, ...] = ("future", "batch")  # the others are properties of a program, and no leaks


@dataclass(frozen=True, kw_only=True)
class CertificateSettings:
    """conf/certificate/default.yaml"""

    hidden_size: int
    num_heads: int
    layers: tuple[int, ...]  # the layer_idx of each variant, in turn
    lengths: tuple[int, ...]  # tokens; the longest is searched at every position
    sizes: tuple[float, ...]  # of perturbations, in standard deviations of the input
    seed: int
    coarsest: float  # a certified leak check has no larger effect that rounding might explain
    cost_lengths: tuple[int, ...]  # tokens
    cost_exponent: float  # growth at or above it is a violation
    seconds: float  # a candidate may take this long
    memory_gib: float

    def __post_init__(self) -> None:
        require(
            self.hidden_size % self.num_heads == 0,
            f"certificate.num_heads: {self.num_heads} does not divide hidden_size {self.hidden_size}",
        )
        for name in ("layers", "lengths", "sizes", "cost_lengths"):
            require(len(getattr(self, name)) > 0, f"certificate.{name}: name at least one")
        require(min(self.lengths) >= 1, "certificate.lengths: must be at least 1")
        require(max(self.lengths) >= 2, "certificate.lengths: one of at least 2 is needed to look ahead")
        require(min(self.sizes) > 0, "certificate.sizes: must be above 0")
        enough = len(set(self.cost_lengths)) == len(self.cost_lengths) >= 3 and min(self.cost_lengths) >= 1
        require(enough, "certificate.cost_lengths: at least three different lengths are needed to see a growth")
        for name in ("hidden_size", "num_heads", "coarsest", "cost_exponent", "seconds", "memory_gib"):
            require(getattr(self, name) > 0, f"certificate.{name}: must be above 0")
        require(self.seed >= 0, "certificate.seed: must not be negative")


@dataclass(frozen=True, kw_only=True)
class Violation:
    """One way in which a check failed, with everything that brings it about again (`causality.reproduce`)."""

    variant: int  # state of the program, a place in `states.VARIANTS`
    seed: int
    mode: Literal["train", "eval"]
    dtype: str  # of parameters and inputs
    length: int  # tokens
    rows: int  # of the batch in which it was seen
    draw: int  # which stream of random numbers the program draws from
    kind: str  # what was changed: a "single" position, a "suffix", another "row of the batch", ...
    perturbation: float | None  # in standard deviations of the input
    first_output: int | None  # the first output that changes, counted from 0
    position: int | None  # the input that it depends on
    size: float  # largest change of an output, relative to the outputs' root mean square
    allowance: float  # what rounding may do, in the same unit
    gradient: Literal["confirms", "zero", "not_run"]  # of outputs up to the first with respect to inputs after it

    @property
    def again(self) -> str:
        """All that brings it about again, in one word for a command line; empty where no position was changed."""
        if self.position is None or self.perturbation is None:
            return ""
        change = f"{self.kind}:{self.position}:{self.perturbation:g}"
        return f"{self.variant}:{self.mode}:{self.length}:{self.rows}:{self.draw}:{change}"

    def describe(self) -> str:
        """One line for a reader."""
        where = f"{self.mode} mode, {self.length} tokens"
        if self.first_output is None or self.position is None:
            return f"{self.kind}: outputs change by {self.size:.2g} of their size ({where})"
        told = {"confirms": ", the gradient confirms it", "zero": ", though its gradient is zero", "not_run": ""}
        return (
            f"output {self.first_output} depends on input {self.position}: changes by {self.size:.2g} of the outputs' "
            f"size ({where}){told[self.gradient]}"
        )


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The outcome of one check. `size` is the largest effect seen, `detail` one line for a reader."""

    outcome: Outcome
    detail: str
    size: float | None
    limit: float | None  # the detection limit, in the unit of `size`
    violations: tuple[Violation, ...]


@dataclass
class Tally:
    """What one check has seen so far. errors: what kept it from an answer. limits: what narrows its answer."""

    violations: list[Violation] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    size: float = 0.0
    limit: float | None = None
    detail: str = ""

    def saw(self, size: float, limit: float) -> None:
        """Note an effect of `size` where `limit` was allowed."""
        self.size, self.limit = max(self.size, size), max(self.limit or 0.0, limit)

    def result(self, coarsest: float | None) -> CheckResult:
        """What it comes to. coarsest: effects above it that rounding may explain leave the check without an answer."""
        outcome: Literal["certified", "violated", "not_runnable"]
        # The state nearest to the program's initial one tells most about it.
        kept = tuple(sorted(self.violations, key=lambda violation: (violation.variant, -violation.size))[:4])
        if kept:
            outcome, text, size = "violated", self.detail or kept[0].describe(), kept[0].size
        elif self.errors or self.limit is None:
            outcome, text, size = "not_runnable", [*self.errors, *self.limits, "not examined"][0], None
        elif coarsest is not None and min(self.size, self.limit) > coarsest:
            outcome, size = "not_runnable", None
            text = f"rounding hides what is to be seen: outputs move by {self.size:.2g} of their size, within its bound"
        else:
            seen = (
                self.detail or f"largest effect {self.size:.2g} of the outputs' size (detection limit {self.limit:.2g})"
            )
            outcome, text, size = "certified", "; ".join([seen, *dict.fromkeys(self.limits)]), self.size
        return CheckResult(outcome=outcome, detail=text[:400], size=size, limit=self.limit, violations=kept)


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """All checks of one program. Nothing here depends on its name, its labels or its file."""

    candidate: str  # sha256 of the source
    checks: dict[str, CheckResult]
    settings: CertificateSettings
    device: str
    torch: str  # version
    code: str  # sha256 of the sources of kernels/ and replication/ that take part
    complete: bool  # False: it ran out of time or processes, so another try may say more
    parameters: int | None
    notes: tuple[str, ...]

    def __post_init__(self) -> None:
        require(tuple(self.checks) == CHECKS, f"certificate: expected the checks {', '.join(CHECKS)}")

    @property
    def causal(self) -> bool:
        """Whether it is certified that no output depends on a later input or on another row of the batch."""
        return all(self.checks[check].outcome == "certified" for check in LEAKS)

    @property
    def leaks(self) -> tuple[str, ...]:
        """The leaks that were found."""
        return tuple(check for check in LEAKS if self.checks[check].outcome == "violated")

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """Check -> outcome."""
        return {check: result.outcome for check, result in self.checks.items()}

    def to_json(self) -> str:
        """The certificate as canonical JSON text."""
        document = {"schema": SCHEMA, **dataclasses.asdict(self)}
        return canonical_json({**document, "seal": seal(document)}) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> Certificate:
        """Read a certificate. Raises InputError naming `where`, and the field that is wrong or the seal."""
        data = read_document(text, SCHEMA, "certificate", where)
        intact = data.pop("seal", None) == seal({"schema": SCHEMA, **data})
        checks = data.get("checks")
        if isinstance(checks, Mapping):  # canonical JSON sorts the keys
            data["checks"] = {check: checks[check] for check in CHECKS if check in checks} | dict(checks)
        certificate = typed(cls, data, where)
        require(intact, f"{where}: altered since it was written")
        return certificate
