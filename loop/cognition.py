"""Cognition: what papers know, found by the symptom that a technique cures.

    python -m loop.cognition search "SYMPTOM" [setting=value ...]
    python -m loop.cognition add PAPER.txt|PAPER.pdf [setting=value ...]

The knowledge lies in YAML files, each a list of papers as loop/cognition/paper.schema.json describes them.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, HashingVectorizer, TfidfTransformer

from loop.llm import LLMSettings, OpenAIMind, endpoint_embedder
from loop.records import Mind, Request
from replication.candidate import slug
from replication.configure import compose, main
from replication.durable import write_new
from replication.settings import InputError, require, typed

BUILT_IN = Path(__file__).with_name("cognition")
Vectors: TypeAlias = NDArray[np.float64] | csr_matrix


@dataclass(frozen=True, kw_only=True)
class CognitionSettings:
    """The settings `cognition.*`; conf/cognition/default.yaml explains each."""

    folders: tuple[str, ...]
    added: str
    top: int
    embedding: Literal["tfidf", "endpoint"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One technique and the paper that it is from."""

    id: str
    paper: str
    year: int  # of the first public version
    arxiv: str | None
    scenario: str  # the symptom that it cures; never a benchmark
    algorithm: str
    context: str  # where it applies, what it costs
    hint: str  # for the implementation
    components: Sequence[str]  # of the offline proposer's grammar, that it suggests

    def to_dict(self) -> dict[str, Any]:
        """As the payloads of requests show it."""
        return dataclasses.asdict(self)


def read_entries(settings: CognitionSettings) -> list[Entry]:
    """The built-in entries and the user's, by id. Raises InputError naming file and entry."""
    found: dict[str, Entry] = {}
    added = Path(settings.added)
    for folder in (BUILT_IN, *map(Path, settings.folders), added):
        require(folder.is_dir() or folder == added, f"cognition.folders: {folder}: there is no such folder")
        for path in sorted(folder.glob("*.yaml")):
            try:
                document = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            except (OSError, yaml.YAMLError) as error:
                raise InputError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
            for entry in parse_entries(document, str(path)):
                require(entry.id not in found, f"{path}: entry {entry.id}: another entry has this id")
                found[entry.id] = entry
    return [found[name] for name in sorted(found)]


def parse_entries(document: object, where: str) -> list[Entry]:
    """The entries of one file's content, checked. Raises InputError that begins with `where`."""
    validator = Draft202012Validator(json.loads((BUILT_IN / "paper.schema.json").read_text("utf-8")))
    entries = []
    for i, paper in enumerate(document if isinstance(document, list) else [document], 1):
        if (error := best_match(validator.iter_errors(paper))) is not None:
            name = paper.get("title") if isinstance(paper, dict) else None
            raise InputError(f"{where}: {name or f'paper {i}'}: {error.json_path[2:]}: {error.message[:200]}")
        source = {"paper": paper["title"], "year": paper["year"], "arxiv": paper["arxiv"]}
        entries += [Entry(**draft, **source) for draft in paper["entries"]]
    return entries


class Embedder(Protocol):
    """Texts to vectors: TfidfEmbedder or loop.llm.endpoint_embedder."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """[texts, dimensions], rows of length 1 (0 where a text says nothing); the same text gives the same row."""


class TfidfEmbedder:
    """TF-IDF with the weights of the texts that it is made with; hashed, so that a new term has a place too."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._counts = HashingVectorizer(analyzer=_terms, norm=None, alternate_sign=False, n_features=2**18)
        self._weights = TfidfTransformer(sublinear_tf=True).fit(self._counts.transform(texts))

    def embed(self, texts: Sequence[str]) -> csr_matrix:
        """float64 [texts, 2**18]."""
        return self._weights.transform(self._counts.transform(texts))


class Neighbours:
    """A growing index of numbered texts. Not for several threads at once."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder, self._rows = embedder, csr_matrix((0, 0))
        self._numbers: list[int] = []
        self._waiting: list[str] = []  # added, to be embedded together

    def add(self, number: int, text: str) -> None:
        """Put a text into the index."""
        self._numbers.append(number)
        self._waiting.append(text)

    def nearest(self, text: str, k: int, upto: int) -> list[tuple[int, float]]:
        """(number, cosine) of the `k` most similar texts, of those numbered up to `upto`; ties by number."""
        if self._waiting:
            rows, self._waiting = csr_matrix(self._embedder.embed(self._waiting)), []
            self._rows = vstack([self._rows, rows], "csr") if self._rows.shape[0] else rows
        if not self._numbers:
            return []
        cosines, numbers = _cosines(self._rows, self._embedder.embed([text])), np.array(self._numbers)
        order = np.lexsort((numbers, -cosines))
        return [(int(numbers[i]), float(cosines[i])) for i in order[numbers[order] <= upto][:k]]


class Cognition:
    """The knowledge base, searched by symptom."""

    def __init__(self, entries: Sequence[Entry], embedder: Embedder, top: int) -> None:
        self.entries, self.embedder, self._top = sorted(entries, key=lambda entry: entry.id), embedder, top
        self._rows = csr_matrix(embedder.embed([entry.scenario for entry in self.entries]))

    def retrieve(self, weakness: str) -> list[Entry]:
        """The `top` entries whose scenario is most like a statement of weakness, ties by id; none for an empty one."""
        if not weakness.strip():
            return []
        cosines = _cosines(self._rows, self.embedder.embed([weakness]))
        return [self.entries[i] for i in np.argsort(-cosines, kind="stable")[: self._top] if cosines[i] > 0.0]


def open_cognition(settings: CognitionSettings, llm: LLMSettings) -> Cognition:
    """The built-in knowledge and the user's, embedded as configured. Raises InputError."""
    require(settings.top >= 1, f"cognition.top: at least 1 is needed, got {settings.top}")
    entries = read_entries(settings)
    local = settings.embedding == "tfidf"
    embedder = TfidfEmbedder([entry.scenario for entry in entries]) if local else endpoint_embedder(llm)
    return Cognition(entries, embedder, settings.top)


def add(paper: Path, settings: CognitionSettings, mind: Mind) -> list[Entry]:
    """Extract a paper's entries into a file in `added` that is written whole or not at all. Raises InputError."""
    reply = mind.reply(Request(purpose="extract", payload={"text": _paper_text(paper)}))
    if reply.content is None:
        raise InputError(f"{paper}: the language model gave no entries: {reply.error}")
    title = reply.content["title"]
    name = slug(title)[:200]
    drafts = [{**draft, "id": f"{name}_{i}", "components": []} for i, draft in enumerate(reply.content["entries"], 1)]
    document = [{"title": title, "year": reply.content["year"], "arxiv": None, "entries": drafts}]
    entries = parse_entries(document, f"{paper}: from the language model")
    known = {slug(entry.paper) for entry in read_entries(settings)}
    require(slug(title) not in known, f"{paper}: {title!r} is already known")
    try:
        Path(settings.added).mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
        write_new(Path(settings.added) / f"{name}.yaml", text.encode())
    except OSError as error:
        raise InputError(f"{settings.added}: cannot be written: {error.strerror}") from error
    return entries


def run(arguments: Sequence[str]) -> None:
    """The command line."""
    usage = 'expected `add PAPER [setting=value ...]` or `search "SYMPTOM" [setting=value ...]`'
    require(len(arguments) >= 2 and arguments[0] in ("add", "search"), usage)
    resolved = compose("cognition", arguments[2:])
    settings = typed(CognitionSettings, resolved["cognition"], "cognition")
    llm = typed(LLMSettings, resolved["llm"], "llm")
    if arguments[0] == "add":
        require(llm.provider == "openai", "adding a paper needs a language model: set llm=openai")
        entries = add(Path(arguments[1]), settings, OpenAIMind(llm))
        print(f"added to {settings.added}:")
    else:
        entries = open_cognition(settings, llm).retrieve(arguments[1])
    for entry in entries:
        parts = (f"  {name}: {getattr(entry, name)}" for name in ("scenario", "algorithm", "context", "hint"))
        print(f"{entry.id}: {entry.paper} ({entry.year}, arXiv {entry.arxiv})", *parts, sep="\n")


def _terms(text: str) -> list[str]:
    """Stemmed words and pairs of neighbouring words."""
    words = [word for word in re.findall(r"[a-z0-9]+", text.lower()) if word not in ENGLISH_STOP_WORDS]
    stems = [re.sub(r"(?<=\w\w\w)(?:ies|ing|ed|es|e|s|y|ly)$", "", word) for word in words]
    return stems + [f"{first} {second}" for first, second in itertools.pairwise(stems)]


def _cosines(rows: csr_matrix, query: Vectors) -> NDArray[np.float64]:
    return np.asarray(rows @ csr_matrix(query).toarray()[0]).round(9)  # what differs in the last digits only is a tie


def _paper_text(path: Path) -> str:
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    pdf = path.suffix.lower() == ".pdf"
    try:
        text = "\n".join(page.extract_text() for page in PdfReader(path).pages) if pdf else path.read_text("utf-8")
    except (OSError, UnicodeDecodeError, PyPdfError) as error:
        raise InputError(f"{path}: cannot be read as {'a PDF' if pdf else 'UTF-8 text'}: {error}") from error
    require(bool(text.strip()), f"{path}: holds no text")
    return text


if __name__ == "__main__":
    main("loop.cognition", run)
