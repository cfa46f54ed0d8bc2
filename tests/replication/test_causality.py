"""The certificate: what it finds in the zoo, how it says so, and what it does with programs that cannot be run."""

from __future__ import annotations

import dataclasses
import json

import pytest

from replication.candidate import Candidate
from replication.certificate import CHECKS, Certificate, CertificateSettings
from replication.certify import certify_all, dependency_map, describe, examine, run
from replication.configure import compose
from replication.leaks import ZOO, read_specimen
from replication.lookahead import even_piece
from replication.processes import EngineSettings, WarmWorker
from replication.settings import InputError, typed

SPECIMENS = {specimen.name: specimen for specimen in ZOO}
HEAD = "import torch\nfrom torch import nn\n"
CLEAN = HEAD + (
    "class Mixer(nn.Module):\n"
    "    def __init__(self, hidden_size, num_heads, layer_idx):\n"
    "        super().__init__()\n"
    "        self.proj, self.idx = nn.Linear(hidden_size, hidden_size), layer_idx\n"
    "        self.gate = nn.Parameter(torch.zeros(1))\n"
    "    def forward(self, x):\n"
    "        y = self.proj(x).cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]\n"
    "        {body}\n"
    "        return y\n"
)


@pytest.fixture(scope="module")
def settings():
    return typed(CertificateSettings, compose("replicate", [])["certificate"], "certificate")


@pytest.fixture(scope="module")
def engine():
    return typed(EngineSettings, compose("replicate", [])["engine"], "engine")


@pytest.fixture(scope="module")
def worker(engine):
    worker = WarmWorker(engine)
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def zoo(settings, engine, tmp_path_factory):
    """Certificates of every specimen at full strength, by name; the files that hold them."""
    candidates = {name: read_specimen(name) for name in SPECIMENS}
    store = tmp_path_factory.mktemp("certificates")
    found = certify_all(list(candidates.values()), settings, engine, store)
    return {name: found[candidate.id] for name, candidate in candidates.items()}


def program(body: str = "pass", name: str = "program") -> Candidate:
    return Candidate(
        name=name, label=name, source=CLEAN.format(body=body), role="candidate", origin=f"{name}.py", search=None
    )


def raw(source: str) -> Candidate:
    return dataclasses.replace(program(), source=source)


def violated(certificate: Certificate) -> set[str]:
    return {check for check, outcome in certificate.outcomes.items() if outcome == "violated"}


@pytest.mark.parametrize("name", SPECIMENS)
def test_every_specimen_fires_the_checks_that_it_names_and_no_other(zoo, name):
    assert "not_runnable" not in zoo[name].outcomes.values()
    assert violated(zoo[name]) == SPECIMENS[name].fires


@pytest.mark.parametrize(
    "name", ["next_token", "max_over_time", "closed_gate", "one_channel", "batch_mean", "long_only"]
)
def test_a_leak_of_a_ten_thousandth_is_found(worker, settings, engine, name):
    certificate = examine(worker, read_specimen(name, 1e-4), settings, engine)
    assert violated(certificate) == SPECIMENS[name].fires


def test_a_violation_names_output_input_size_and_how_to_see_it_again(zoo, worker, settings, engine):
    result = zoo["two_ahead"].checks["future"]
    worst = result.violations[0]
    assert worst.position == worst.first_output + 2
    assert worst.gradient == "confirms"
    assert f"output {worst.first_output} depends on input {worst.position}" in result.detail
    assert worst.size > 100 * worst.allowance


def test_a_zero_gradient_is_reported_and_clears_nothing(zoo):
    result = zoo["detached"].checks["future"]
    assert result.outcome == "violated"
    assert {violation.gradient for violation in result.violations} == {"zero"}
    assert "gradient is zero" in result.detail


def test_the_last_position_is_searched_like_every_other(worker, settings, engine):
    certificate = examine(
        worker,
        program(
            "y = torch.cat([y[:, :-2], y[:, -2:-1] + 1e-6 * (x[:, -1:] if x.shape[1] > 140 else 0), y[:, -1:]], 1)"
        ),
        settings,
        engine,
    )
    assert certificate.checks["future"].violations[0].position == 159


NEXT = "torch.roll(x, -1, 1)"
FFT = "torch.fft.irfft(torch.fft.rfft({0}, n=512, dim=1) * 2, n=512, dim=1)[:, : x.shape[1]]"
ROPE = "x * torch.view_as_real(torch.polar(torch.ones(1), torch.ones(1)).to(torch.complex64)).sum()"


@pytest.mark.parametrize(
    "body",
    [
        f"y = y + 1e-3 * {NEXT} * (self.idx == 1)",
        f"y = y + 1e-3 * {NEXT} * (self.idx == 2)",
        f"y = y + torch.relu(self.gate - 4) * {NEXT}",
        f"y = y + torch.relu(-4 - self.gate) * {NEXT}",
        f"y = y + {NEXT} * (x.dtype == torch.float32)",
        f"y = y + 3e-4 * {NEXT} * (x.dtype == torch.float32)",
        f"y = y + {NEXT} * (x.dtype == torch.float32 and not self.training)",
        f"y = y + {NEXT} * (x.dtype == torch.float32 and x.shape[1] % 64 == 0)",
        f"y = y + 1e-2 * {NEXT} * (x.shape[1] % 32 > 0)",
        f"y = y + 1e-2 * {NEXT} * (x.shape[0] > 16)",
        f"y = y + 1e-2 * {NEXT} * (x.shape[0] == 1)",
        f"y = y + {NEXT} * (x > 5)",
        f"y = y + {NEXT} * (x == {NEXT})",
        f"y = y + torch.relu({NEXT} - 6) * (x.shape[1] == 64)",
        f"y = y + {NEXT} * (torch.arange(x.shape[-1]) > 0) + 1e9 * x[..., :1] * (torch.arange(x.shape[-1]) == 0)",
    ],
)
def test_a_leak_that_hides_is_found(worker, settings, engine, body):
    certificate = examine(worker, program(body), settings, engine)
    assert certificate.checks["future"].outcome == "violated", describe(program(), certificate)


@pytest.mark.parametrize("rows", [2, 8, 16])
def test_a_leak_across_a_batch_of_one_size_is_found(worker, settings, engine, rows):
    certificate = examine(worker, program(f"y = y + (x.flip(0) if x.shape[0] == {rows} else 0)"), settings, engine)
    assert certificate.checks["batch"].outcome == "violated"


@pytest.mark.parametrize(
    "body",
    [
        "self.ema = 0.9 * getattr(self, 'ema', 0.0) + self.training; y = y + min(self.ema, 1.0) * {0}",
        "self.calls = getattr(self, 'calls', 0.0) + 0.1; y = y + (self.calls > 50) * {0}",
        "self.warm = getattr(self, 'warm', 1.0) * (0.99 if self.training else 1); y = y + (self.warm < 0.1) * {0}",
        "self.seen = getattr(self, 'seen', torch.zeros(2)) + 1; y = y + (self.seen.sum() > 500) * {0}",
    ],
)
def test_a_leak_that_training_opens_is_found(worker, settings, engine, body):
    certificate = examine(worker, program(body.format(NEXT)), settings, engine)
    assert certificate.checks["future"].outcome == "violated", describe(program(), certificate)


@pytest.mark.parametrize(
    "body",
    [
        "y = y + x.to(torch.bfloat16).cumsum(1).to(x.dtype)",
        "u = x.to(torch.bfloat16); y = y + (u.sum(1, keepdim=True) - u.flip(1).cumsum(1).flip(1)).to(x.dtype)",
        f"y = y + {FFT.format('x')}",
        f"y = y + {FFT.format('x.float()')}",
        f"y = y + {FFT.format('x.clamp(-20, 20).exp()')}",
        "y = y + (x.sum(1, keepdim=True) - x.flip(1).cumsum(1).flip(1))",
        f"y = y + {ROPE}",
        "self.at = (getattr(self, 'at', 0) + 1) % 4; y = y + [1.0, 1.0, 1.0, 1.0][self.at]",
        "assert self.gate.abs() < 0.05 or not self.training",
        "x.mul_(1.0)",
        "y = y * 0",
        "y = y + torch.nn.functional.dropout(x, 0.5, self.training)",
    ],
)
def test_a_clean_program_that_looks_odd_is_certified(worker, settings, engine, body):
    certificate = examine(worker, program(body), settings, engine)
    assert certificate.causal, describe(program(), certificate)


@pytest.mark.parametrize(
    "body",
    [
        f"y = y + 1e-2 * {NEXT}.to(torch.float8_e4m3fn).to(x.dtype)",
        f"y = y + 0.3 * {NEXT} + torch.from_numpy(__import__('numpy').random.default_rng().normal(size=x.shape))",
        f"y = y + torch.relu({NEXT} - 6) ** 400",
        f"y = y + {NEXT} * torch.is_grad_enabled()",
    ],
)
def test_what_cannot_be_told_is_not_certified(worker, settings, engine, body):
    assert not examine(worker, program(body), settings, engine).causal


def test_parameters_that_a_call_writes_are_put_back_and_told_as_state(worker, settings, engine):
    writes = "self.gate.data.add_(1.0); y = y * (1 + 0.01 * self.gate)"
    certificate = examine(worker, program(writes), settings, engine)
    assert violated(certificate) == {"repeat"}
    assert not any("built anew" in note for note in certificate.notes)


@pytest.mark.parametrize(("changes", "rows"), [(0, 1), (1, 1), (32, 32), (33, 17), (63, 32), (159, 32)])
def test_pieces_of_a_search_are_full_and_none_is_too_large(changes, rows):
    assert even_piece(changes) == rows


def test_the_same_program_gets_the_same_certificate_whatever_it_is_called(worker, settings, engine):
    one, other = (
        program("y = y + x.mean(1, keepdim=True)"),
        program("y = y + x.mean(1, keepdim=True)", "clean_baseline"),
    )
    assert examine(worker, one, settings, engine).to_json() == examine(worker, other, settings, engine).to_json()


def test_an_odd_length_that_does_not_run_narrows_the_answer_and_nothing_else(worker, settings, engine):
    certificate = examine(worker, program("assert x.shape[1] != 63"), settings, engine)
    assert certificate.causal
    assert "does not run at 63 tokens" in certificate.checks["future"].detail


def test_a_program_that_fails_in_one_mode_is_not_certified_by_the_other(worker, settings, engine):
    certificate = examine(worker, program("assert not self.training"), settings, engine)
    assert certificate.checks["future"].outcome == "not_runnable"
    assert "AssertionError" in certificate.checks["future"].detail
    assert not certificate.causal


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (HEAD + "while True: pass", "limit of 3 seconds"),
        (HEAD + "raise OSError('no such thing')", "no such thing"),
        (CLEAN.format(body="y = y[:, :-1]"), "should return a floating-point tensor"),
        (CLEAN.format(body="y = y * float('nan')"), "not finite"),
        (CLEAN.format(body="y = y + torch.zeros(1, device='cuda')"), "CUDA"),
        (CLEAN.format(body="z = [torch.ones(10**8) for _ in range(10**6)]"), "memory"),
        (CLEAN.format(body="import os; os._exit(0)"), "not allowed"),
        (CLEAN.format(body="print('x' * 10**6); raise SystemExit"), "SystemExit"),
        ("def (", "syntax error"),
        (HEAD, "no torch module"),
    ],
)
def test_a_program_that_cannot_be_run_says_why_and_the_next_one_goes_on(worker, settings, engine, source, reason):
    limited = dataclasses.replace(settings, seconds=3.0 if "while" in source else settings.seconds, memory_gib=1.0)
    certificate = examine(worker, raw(source), limited, engine)
    assert set(certificate.outcomes.values()) == {"not_runnable"}
    assert reason in certificate.checks["future"].detail
    assert examine(worker, program(), settings, engine).causal


def test_memory_that_only_long_sequences_need_spoils_no_other_check(worker, settings, engine):
    hungry = program("z = torch.ones(10**9) if x.shape[1] > 200 else 0")
    certificate = examine(worker, hungry, dataclasses.replace(settings, memory_gib=2.0), engine)
    assert certificate.causal
    assert certificate.checks["cost"].outcome == "not_runnable"


def test_a_certificate_that_ran_out_of_time_is_not_kept(settings, engine, tmp_path):
    endless = program("while x.shape[1] > 100: pass")
    limited = dataclasses.replace(settings, seconds=2.0)
    certificate = certify_all([endless], limited, engine, tmp_path)[endless.id]
    assert not certificate.complete
    assert not certificate.causal
    assert list(tmp_path.iterdir()) == []


def test_a_state_dict_that_does_not_load_is_state_lost_on_reload(worker, settings, engine):
    grown = "self.register_buffer('seen', torch.zeros(3)) if 'seen' not in self._buffers else None"
    certificate = examine(worker, program(grown), settings, engine)
    assert certificate.checks["reload"].outcome == "violated"
    assert "does not load" in certificate.checks["reload"].detail


def test_certificates_are_kept_and_a_damaged_one_is_made_again(settings, engine, tmp_path, monkeypatch):
    candidate = program()
    first = certify_all([candidate], settings, engine, tmp_path)
    (file,) = tmp_path.iterdir()
    monkeypatch.setattr("replication.certify.LocalEngine", None)  # a second examination would need it
    assert certify_all([candidate], settings, engine, tmp_path) == first
    monkeypatch.undo()
    file.write_text(file.read_text()[:-20])
    assert certify_all([candidate], settings, engine, tmp_path) == first
    assert len(certify_all([candidate], dataclasses.replace(settings, seed=1), engine, tmp_path)) == 1
    assert len(list(tmp_path.iterdir())) == 2


def test_a_certificate_survives_json_and_refuses_what_is_none(zoo):
    certificate = zoo["next_token"]
    assert Certificate.from_json(certificate.to_json(), "x") == certificate
    assert tuple(Certificate.from_json(certificate.to_json(), "x").checks) == CHECKS
    broken = json.loads(certificate.to_json())
    broken["checks"]["future"]["outcome"] = "fine"
    with pytest.raises(InputError, match=r"file\.json.*outcome"):
        Certificate.from_json(json.dumps(broken), "file.json")


def test_the_command_prints_a_certificate_and_shows_a_violation_again(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(CLEAN.format(body="y = y + 0.5 * torch.roll(x, -1, 1)"))
    run([str(path), f"paths.results={tmp_path}"])
    printed = capsys.readouterr().out
    assert "LEAKS (future)" in printed
    again = printed.split("again=")[1].split()[0]
    run([str(path), f"again={again}"])
    size = float(capsys.readouterr().out.split(" by ")[1].split()[0])
    assert f"changes by {size:.2g}" in printed


def test_the_command_examines_a_whole_gallery(tmp_path, capsys):
    rows = [{"name": f"p{i}", "index": i, "program": CLEAN.format(body=f"y = y * {i}.5")} for i in (1, 2)]
    (tmp_path / "gallery.json").write_text(json.dumps(rows))
    run([str(tmp_path / "gallery.json"), f"paths.results={tmp_path}"])
    assert capsys.readouterr().out.count(": causal") == 2


@pytest.mark.parametrize("arguments", [[], ["nothing.py"], ["again=1:2"], ["certificate.lengths=[0]", "x.py"]])
def test_bad_input_is_said_in_one_line(arguments, tmp_path):
    with pytest.raises(InputError) as caught:
        run([*arguments, f"paths.results={tmp_path}"])
    assert "\n" not in str(caught.value)


def test_a_dependency_map_is_triangular_for_a_clean_program_only(settings, engine):
    clean, leaky = program(), program("y = y + torch.roll(x, -1, 1)")
    for candidate, above in ((clean, False), (leaky, True)):
        strength = dependency_map(candidate, settings, engine, 8)
        assert strength.shape == (8, 8)
        outputs_before_inputs = [strength[s, t] for s in range(8) for t in range(s)]
        assert bool(max(outputs_before_inputs) > 1e-6) is above
        assert min(strength[s, s] for s in range(8)) > 0
