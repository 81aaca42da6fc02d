"""What is read from a disk, a Redis or a network is data: nothing of ours lets it become code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("gateway", "embeddings", "kvtier", "backends", "sdk/src", "bench", "deploy")
RUNS_WHAT_IT_READS = {
    "pickle",
    "_pickle",
    "cPickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "jsonpickle",
}
FOREIGN_READERS = {"read_index", "read_index_binary", "deserialize_index", "read_VectorTransform", "load_pickle"}

SUSPECT = re.compile(
    "|".join((*RUNS_WHAT_IT_READS, *FOREIGN_READERS, r"\.load\(", "allow_pickle", "trust_remote_code", "fromregex"))
)


def trees() -> Iterator[tuple[Path, ast.AST]]:
    for folder in OURS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if SUSPECT.search(text := path.read_text("utf-8")):
                yield path, ast.parse(text)


def imported(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def unsafe_calls(tree: ast.AST) -> Iterator[str]:
    """Readers that would unpickle, unless they are told not to; readers of FAISS, whose files nobody signs."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        whose = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
        said = {word.arg: ast.unparse(word.value) for word in node.keywords}
        name = f"{whose}.{node.func.attr}"
        if name == "torch.load" and said.get("weights_only") != "True":
            yield f"{name} without weights_only=True"
        if said.get("allow_pickle", "False") != "False" or said.get("trust_remote_code", "False") != "False":
            yield f"{name} that runs what it reads"
        if node.func.attr in FOREIGN_READERS or name in ("yaml.load", "np.fromregex", "pd.read_pickle"):
            yield name


def test_no_module_of_ours_unpickles_or_reads_what_may_run() -> None:
    for path, tree in trees():
        assert not imported(tree) & RUNS_WHAT_IT_READS, path
        assert list(unsafe_calls(tree)) == [], path


@pytest.mark.parametrize(
    "code",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "faiss.read_index(path)",
        "faiss.deserialize_index(raw)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "yaml.load(text)",
    ],
)
def test_each_of_these_would_be_found(code: str) -> None:
    assert list(unsafe_calls(ast.parse(code)))
