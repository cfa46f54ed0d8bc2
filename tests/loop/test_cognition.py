"""The knowledge base: what is in it, what a symptom finds, what is refused."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from loop.cognition import (
    BUILT_IN,
    Cognition,
    CognitionSettings,
    Entry,
    Neighbours,
    TfidfEmbedder,
    open_cognition,
    parse_entries,
    read_entries,
    run,
)
from loop.llm import LLMSettings
from replication.configure import compose
from replication.settings import InputError, typed
from tests.loop.protocol_server import ProtocolServer

GRAMMAR = BUILT_IN.parent / "grammar" / "components.yaml"
PAPER = {
    "title": "Counting Sheep with Linear Attention",
    "year": 2031,
    "arxiv": None,
    "entries": [
        {
            "id": "counted_sheep",
            "scenario": "Falls asleep halfway through long lists of sheep.",
            "algorithm": "Counts twice.",
            "context": "Meadows.",
            "hint": "Use a fence.",
            "components": ["delta_rule"],
        }
    ],
}


def settings(tmp_path: Path, *folders: Path) -> CognitionSettings:
    group = compose("cognition", [f"paths.results={tmp_path}"])["cognition"]
    return typed(CognitionSettings, group | {"folders": [str(folder) for folder in folders]}, "cognition")


@pytest.fixture(scope="module")
def built_in(tmp_path_factory: pytest.TempPathFactory) -> list[Entry]:
    return read_entries(settings(tmp_path_factory.mktemp("none")))


@pytest.fixture(scope="module")
def knowledge(tmp_path_factory: pytest.TempPathFactory) -> Cognition:
    return open_cognition(settings(tmp_path_factory.mktemp("none")), llm())


def llm() -> LLMSettings:
    return typed(LLMSettings, compose("cognition", [])["llm"], "llm")


def changed(**changes: Any) -> dict[str, Any]:
    """The paper with other fields of its entry."""
    return PAPER | {"entries": [PAPER["entries"][0] | changes]}  # type: ignore[index, operator]


def test_at_least_64_papers_have_one_to_three_entries_each(built_in: list[Entry]) -> None:
    counts = Counter(entry.paper for entry in built_in)
    assert len(counts) >= 64
    assert max(counts.values()) <= 3


def test_a_paper_has_one_source_and_an_arxiv_number_of_its_year(built_in: list[Entry]) -> None:
    sources = {(entry.paper, entry.year, entry.arxiv) for entry in built_in}
    assert len(sources) == len({paper for paper, _, _ in sources})
    numbers = [arxiv for _, _, arxiv in sources if arxiv]
    assert len(set(numbers)) == len(numbers) >= 60
    assert all(2000 + int(arxiv[:2]) == year for _, year, arxiv in sources if arxiv)


def test_entries_say_different_things_in_full_sentences(built_in: list[Entry]) -> None:
    for name in ("scenario", "algorithm", "hint"):
        assert len({getattr(entry, name) for entry in built_in}) == len(built_in), name
    for entry in built_in:
        assert re.match(r"[A-Z(].{25,}\.$", entry.scenario, re.DOTALL), entry.id
        assert len(entry.algorithm) > 40, entry.id


def test_components_are_words_of_the_grammar_and_each_is_suggested_by_something(built_in: list[Entry]) -> None:
    grammar = set(yaml.safe_load(GRAMMAR.read_text())["components"])
    schema = json.loads((BUILT_IN / "paper.schema.json").read_text())
    entry = schema["properties"]["entries"]["items"]["properties"]
    assert set(entry["components"]["items"]["enum"]) == grammar
    assert {component for entry in built_in for component in entry.components} == grammar


# Written without looking at the scenarios; any of the entries named is a sensible answer.
@pytest.mark.parametrize(
    ("weakness", "sensible"),
    [
        ("writing a new value for a known key leaves the old value in memory", {"delta_rule_fast_weights"}),
        ("training is unstable: gradients explode", {"normalise_instead_of_divide", "stable_diagonal_recurrence"}),
        ("adjacent tokens are not combined into bigrams", {"token_shift_mixing", "convolution_then_gated_pooling"}),
        ("one branch gets all of the routing weight", {"noisy_top_k", "balance_by_bias", "stable_routing"}),
        ("noise tokens are stored as if they mattered", {"selective_state_space", "gated_linear_attention"}),
        ("cannot count modulo two or follow parity", {"beta_up_to_two"}),
        ("fails at copying long strings", {"copy_needs_memory"}),
        ("weights are nearly uniform, attention is not sharp enough", {"spiky_monotone_features"}),
        ("the memory never forgets and fills up with old content", {"retention_fixed_decay_per_head"}),
        ("a loop over all positions makes training slow", {"parallel_scan", "intra_and_inter_chunks"}),
        ("all heads look at the same range", {"multi_scale_heads"}),
        ("it forgets too fast for long-range dependencies", {"lower_bound_on_forgetting", "chrono_initialisation"}),
        ("keys collide when there are more associations than dimensions", {"capacity_of_orthogonal_keys"}),
        ("quality falls apart on inputs longer than in training", {"linear_distance_bias"}),
    ],
)
def test_a_symptom_finds_a_cure_among_the_first_three(knowledge: Cognition, weakness: str, sensible: set[str]) -> None:
    found = knowledge.retrieve(weakness)
    assert len(found) == 3
    assert sensible & {entry.id for entry in found}, [entry.id for entry in found]


def test_a_scenario_finds_its_own_entry_first(knowledge: Cognition) -> None:
    assert all(knowledge.retrieve(entry.scenario)[0] == entry for entry in knowledge.entries)


def test_an_empty_or_meaningless_weakness_finds_nothing(knowledge: Cognition) -> None:
    assert knowledge.retrieve("") == knowledge.retrieve("  \n") == knowledge.retrieve("of the and") == []


def test_equal_similarities_go_by_id() -> None:
    entries = [e for name in ("b", "c", "a") for e in parse_entries([changed(id=name)], "here")]
    found = Cognition(entries, TfidfEmbedder(["sheep", "goats"]), top=2).retrieve("sheep")
    assert [entry.id for entry in found] == ["a", "b"]


def test_what_is_found_does_not_depend_on_the_order_of_the_entries(knowledge: Cognition) -> None:
    mixed = [knowledge.entries[i] for i in np.random.default_rng(0).permutation(len(knowledge.entries))]
    other = Cognition(mixed, TfidfEmbedder([entry.scenario for entry in mixed]), top=3)
    for weakness in ("the loss flattens", "forgets what came long ago", "one path gets all the weight"):
        assert other.retrieve(weakness) == knowledge.retrieve(weakness)


def test_the_payload_of_an_entry_is_json_and_has_what_prompts_show(knowledge: Cognition) -> None:
    for entry in knowledge.entries:
        shown = entry.to_dict()
        assert json.loads(json.dumps(shown)) == shown
        assert {"id", "paper", "year", "scenario", "algorithm", "context", "hint", "components"} <= set(shown)


def test_own_folders_are_read_besides_the_built_in_knowledge(tmp_path: Path, built_in: list[Entry]) -> None:
    (tmp_path / "own.yaml").write_text(yaml.safe_dump([PAPER]))
    entries = read_entries(settings(tmp_path, tmp_path))
    assert {entry.id for entry in entries} - {entry.id for entry in built_in} == {"counted_sheep"}
    assert [entry.id for entry in entries] == sorted(entry.id for entry in entries)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([changed(scenario=" ")], r"own\.yaml: Counting Sheep.*entries\[0\]\.scenario"),
        ([changed(scenario="Low on HellaSwag and elsewhere.")], r"own\.yaml: Counting Sheep.*scenario"),
        ([changed(components=["warp_drive"])], r"own\.yaml: .*components\[0\]: 'warp_drive' is not one of"),
        ([changed(id="Two Words")], r"own\.yaml: .*entries\[0\]\.id"),
        ([{**PAPER, "entries": []}], r"own\.yaml: Counting Sheep.*entries"),
        ([{**PAPER, "year": "2031"}], r"own\.yaml: Counting Sheep.*year: '2031' is not of type"),
        ([{**PAPER, "pages": 9}], r"own\.yaml: Counting Sheep.*pages"),
        ([{k: v for k, v in PAPER.items() if k != "arxiv"}], r"own\.yaml: .*'arxiv' is a required property"),
        ([PAPER, "a paper"], r"own\.yaml: paper 2: .*not of type 'object'"),
        ({"papers": []}, r"own\.yaml: paper 1: "),
        ([PAPER, PAPER], r"own\.yaml: entry counted_sheep: another entry has this id"),
    ],
)
def test_a_malformed_file_is_refused_by_name(tmp_path: Path, document: object, message: str) -> None:
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(InputError, match=message):
        read_entries(settings(tmp_path, tmp_path))


def test_a_file_that_is_no_yaml_and_a_missing_folder_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cognition\.folders: .*missing: there is no such folder"):
        read_entries(settings(tmp_path, tmp_path / "missing"))
    (tmp_path / "own.yaml").write_text("- title: [")
    with pytest.raises(InputError, match=r"^[^\n]*own\.yaml: cannot be read[^\n]*$"):
        read_entries(settings(tmp_path, tmp_path))


WORDS = ["delta", "decay", "gate", "branch", "kernel", "router", "key", "value", "state", "window", "floor", "norm"]


def texts(count: int, seed: int) -> list[str]:
    draws = np.random.default_rng(seed)
    return [" ".join(draws.choice(WORDS, size=6)) + f" number{i % 7}" for i in range(count)]


def test_an_index_that_grew_answers_as_one_made_at_once() -> None:
    embedder, motivations = TfidfEmbedder(WORDS), texts(120, 0)
    grown, whole = Neighbours(embedder), Neighbours(embedder)
    for i, text in enumerate(motivations):
        whole.add(i, text)
    for i, text in enumerate(motivations):
        grown.add(i, text)
        assert grown.nearest(text, 5, upto=i) == whole.nearest(text, 5, upto=i)


def test_neighbours_are_the_most_similar_up_to_a_number_with_ties_by_number() -> None:
    embedder, motivations = TfidfEmbedder(WORDS), texts(60, 1)
    index = Neighbours(embedder)
    for i, text in enumerate(motivations):
        index.add(i + 100, text)
    rows = embedder.embed(motivations).toarray()
    for query in texts(8, 2):
        cosines = rows @ embedder.embed([query]).toarray()[0]
        expected = sorted(((-round(c, 12), i + 100) for i, c in enumerate(cosines) if i + 100 <= 140))[:5]
        assert [number for number, _ in index.nearest(query, 5, upto=140)] == [number for _, number in expected]
    (number, similarity), *_ = index.nearest(motivations[7], 1, upto=999)
    assert motivations[number - 100] == motivations[7]
    assert similarity == pytest.approx(1.0)
    assert Neighbours(embedder).nearest("delta", 5, upto=9) == []


def test_words_that_the_knowledge_base_lacks_still_tell_motivations_apart() -> None:
    rows = TfidfEmbedder(["gates forget"]).embed(["zebra quagga", "zebra okapi", "gates forgetting"]).toarray()
    assert rows[0] @ rows[0] == pytest.approx(1.0)
    assert 0.1 < rows[0] @ rows[1] < 0.9
    assert rows[0] @ rows[2] == 0.0


def test_vectors_of_an_endpoint_serve_as_well() -> None:
    class Axes:
        def embed(self, texts: list[str]) -> np.ndarray:
            rows = np.array([[text.count("a"), text.count("b")] for text in texts], dtype=float)
            return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    index = Neighbours(Axes())
    for i, text in enumerate(["aab", "b", "a"]):
        index.add(i, text)
    assert [number for number, _ in index.nearest("aaaa", 3, upto=9)] == [2, 0, 1]


Answers = Callable[[str, list[dict[str, str]]], str]


def extraction(**changes: Any) -> Answers:
    """A model that finds the paper's entries."""
    parts = {name: text for name, text in PAPER["entries"][0].items() if name not in ("id", "components")}  # type: ignore[index]
    reply = {"title": PAPER["title"], "year": 2031, "entries": [parts | changes]}
    return lambda purpose, messages: json.dumps(reply)


def add(tmp_path: Path, paper: Path, answer: Answers) -> list[dict[str, Any]]:
    """Run the command against a server; the requests that it saw."""
    with ProtocolServer(answer) as server:
        where = [f"llm.base_url={server.base_url}", "llm.key_variable=null", f"paths.results={tmp_path}"]
        run(["add", str(paper), "llm=openai", "llm.model=m", "llm.retries=0", *where])
        return server.requests


def pdf(text: str) -> bytes:
    """A PDF of one page with one line."""
    drawn = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(drawn), drawn),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    body, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj%s endobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return body + b"xref\n0 6\n0000000000 65535 f \n%strailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (
        table,
        len(body),
    )


@pytest.mark.parametrize(("name", "form"), [("paper.txt", str.encode), ("paper.pdf", pdf)])
def test_a_paper_is_extracted_once_and_found_from_then_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, form: Callable[[str], bytes]
) -> None:
    paper = tmp_path / name
    paper.write_bytes(form("We count sheep with linear attention."))
    requests = add(tmp_path, paper, extraction())
    assert "We count sheep with linear attention." in requests[0]["messages"][-1]["content"]
    assert "counting_sheep_with_linear_attention_1: Counting Sheep" in capsys.readouterr().out
    run(["search", "long lists of sheep", f"paths.results={tmp_path}"])
    assert capsys.readouterr().out.startswith("counting_sheep_with_linear_attention_1: ")
    with pytest.raises(InputError, match="'Counting Sheep with Linear Attention' is already known"):
        add(tmp_path, paper, extraction(hint="Another."))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (extraction(scenario="Low accuracy on MMLU."), r"from the language model: Counting Sheep.*scenario"),
        (extraction(hint=""), r"from the language model: Counting Sheep.*hint"),
        (lambda purpose, messages: "I would rather not.", r"the language model gave no entries: "),
    ],
)
def test_a_bad_extraction_leaves_nothing_behind(tmp_path: Path, answer: Answers, message: str) -> None:
    paper = tmp_path / "paper.txt"
    paper.write_text("We count sheep.")
    with pytest.raises(InputError, match=message):
        add(tmp_path, paper, answer)
    assert [path for path in tmp_path.rglob("*") if path != paper and path.is_file()] == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("paper.txt", None, r"paper\.txt: cannot be read as UTF-8 text: .*No such file"),
        ("paper.txt", b"\xff\xfe\x00", r"paper\.txt: cannot be read as UTF-8 text"),
        ("paper.txt", b" \n", r"paper\.txt: holds no text"),
        ("paper.pdf", b"no pdf", r"paper\.pdf: cannot be read as a PDF"),
        ("paper.pdf", pdf(""), r"paper\.pdf: holds no text"),
    ],
)
def test_an_unreadable_paper_is_refused_before_the_model_is_asked(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        add(tmp_path, tmp_path / name, lambda purpose, messages: pytest.fail("was asked"))


def test_adding_without_a_language_model_and_wrong_commands_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="set llm=openai"):
        run(["add", "paper.txt", f"paths.results={tmp_path}"])
    for arguments in ([], ["add"], ["find", "sheep"]):
        with pytest.raises(InputError, match="expected `add PAPER"):
            run(arguments)
