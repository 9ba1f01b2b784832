"""Nothing from outside is run: no pickles, no evaluated text, no open door."""

import ast
import io
import json
import pickle
import re
import socket
import threading
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

import dilaton
import numpy as np
import pytest
from dilaton.face import explore
from dilaton.numerics.sweep.store import Damaged, Store, _signed

ROOT = Path(__file__).parents[2]
PACKAGE = Path(dilaton.__file__).parent
FOLDERS = [PACKAGE, *(ROOT / name for name in ("theory", "numerics", "torchcheck"))]
SOURCES = {path: path.read_text() for f in FOLDERS for path in sorted(f.rglob("*.py"))}

FORBIDDEN = re.compile(
    r"^(pickle|marshal|shelve|dill|joblib|cloudpickle)\.loads?$|^torch\.load$"
    r"|^(eval|exec|compile)$|^os\.(system|popen)$|^(sp\.|sympy\.)?(parse_expr|S)$"
    r"|^yaml\.(load|unsafe_load)$|^subprocess\.\w+$"
)
ALLOWED = {  # (file, call): why it is safe
    ("cache.py", "pickle.loads"): "numba's own files, after their checksum",
    ("kernel.py", "exec"): "source that was printed from a System in this process",
    ("kernel.py", "compile"): "the same",
}


def calls(source):
    """Dotted names of everything that a source calls, with its keywords."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            keywords = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            yield ast.unparse(node.func), keywords


def test_the_sources_are_found():
    names = {path.name for path in SOURCES}
    assert {"store.py", "spec.py", "model.py", "train.py"} <= names


def test_no_source_loads_pickles_or_evaluates_text():
    found = {
        (path.name, name)
        for path, source in SOURCES.items()
        for name, keywords in calls(source)
        if FORBIDDEN.search(name)
        or (name.endswith("np.load") and keywords.get("allow_pickle") is not False)
        or keywords.get("shell") is True
        or keywords.get("allow_pickle") is True
    }
    assert found <= set(ALLOWED)


def test_the_search_above_finds_what_it_looks_for():
    for text in ("pickle.loads(x)", "torch.load(p)", "eval(t)", "os.system(c)"):
        (name, _), *_ = calls(text)
        assert FORBIDDEN.search(name)
    assert not FORBIDDEN.search("kernel.evaluate")


class Payload:
    """Runs `touch` when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.mark.parametrize("kind", ["object array", "raw pickle", "pickled npy"])
def test_a_malicious_chunk_with_a_right_checksum_is_not_run(tmp_path, kind):
    """A checksum tells damage, not malice: what is signed must be harmless too."""
    store = Store(tmp_path / "store", {"sweep": 1}).open()
    store.save(0, {"x": np.zeros(2)})
    trap = tmp_path / "trap"
    buffer = io.BytesIO()
    if kind == "object array":
        np.savez(buffer, x=np.array([Payload(trap)], dtype=object), allow_pickle=True)
    elif kind == "raw pickle":
        buffer.write(pickle.dumps(Payload(trap)) + b"\0\0")
    else:
        np.save(buffer, np.array([Payload(trap)], dtype=object), allow_pickle=True)
        buffer.write(b"\0\0")
    store.path(0).write_bytes(_signed(buffer.getvalue()[:-2]))
    with pytest.raises(Damaged):
        store.load(0)
    assert not trap.exists()


def test_the_payload_is_a_real_one(tmp_path):
    pickle.loads(pickle.dumps(Payload(tmp_path / "trap")))
    assert (tmp_path / "trap").exists()


# --------------------------------------------------------------------- the explore page


@pytest.fixture(scope="module")
def server():
    """The page's server on a free port, with answers that need no solver."""
    patch = pytest.MonkeyPatch()
    mine = explore.Explorer(dilaton.default_spec().replace(n="inf"))
    patch.setattr(mine, "answer", mine.checked_values)
    made = explore.make_server(0, mine)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()
    patch.undo()


def get(server, path, method="GET", **headers):
    port = server.server_address[1]
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", headers=headers, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()


def test_the_page_listens_on_the_loopback_address_alone(server):
    assert server.server_address[0] == "127.0.0.1"
    port = server.server_address[1]
    for address in {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), 0)}:
        if address.startswith("127.") or ":" in address:
            continue
        with socket.socket() as outside:
            outside.settimeout(2)
            assert outside.connect_ex((address, port)) != 0


GOOD = "p=0.8&sigma=1&kappa=2&n=128&ridge=0.1&d=100&steps=9"
QUERIES = {  # query: what the answer names
    "p=0.8": "`sigma` must be a number",
    GOOD.replace("0.8", "1.2"): "`p` must be a number from 0.02 to 0.98",
    GOOD.replace("0.8", "nan"): "`p` must be a number",
    GOOD.replace("0.8", "inf"): "`p` must be a number",
    GOOD.replace("n=128", "n=1e9"): "`n` must be a number from 4 to 4096",
    GOOD.replace("n=128", "n=-inf"): "`n` must be a number",
    GOOD + "&x=1": "`x`",
    GOOD.replace("0.8", "__import__('os')"): "`p` must be a number",
    GOOD.replace("0.8", "%3Cscript%3E"): "`p` must be a number",
    "p=" + "9" * 3000: "must be a number",
    "": "`p` must be a number",
}


@pytest.mark.parametrize("query", QUERIES)
def test_the_page_refuses_values_that_are_not_the_sliders(server, query):
    status, headers, body = get(server, f"/answer?{query}")
    assert status == 400
    assert headers["Content-Type"].startswith("application/json")
    assert QUERIES[query] in json.loads(body)["error"]


def test_a_good_query_is_answered(server):
    status, _, body = get(server, f"/answer?{GOOD}")
    assert status == 200
    assert json.loads(body)["n_plus"] == 102


@pytest.mark.parametrize("path", ["/../explore.py", "/etc/passwd", "/answer/x", "//x"])
def test_there_are_no_other_paths(server, path):
    status, _, body = get(server, path)
    assert status == 404
    assert "import" not in body


def test_a_foreign_page_cannot_reach_it_under_another_name(server):
    assert get(server, f"/answer?{GOOD}", Host="evil.example")[0] == 403
    assert get(server, "/", Host="")[0] in (400, 403)


def test_other_methods_are_refused(server):
    assert get(server, "/answer", method="POST")[0] == 501
    assert get(server, "/answer", method="DELETE")[0] == 501


def test_the_page_may_load_nothing_from_elsewhere(server):
    status, headers, body = get(server, "/")
    assert status == 200
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", body)


# ------------------------------------------------------------------------- dependencies


def pinned():
    lines = (ROOT / "constraints.txt").read_text().split()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    return {normal(line.split("==")[0]) for line in lines}


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(name for extra in extras for name in extra)]
    names = {normal(re.match(r"[\w.-]+", line)[0]) for line in wanted}
    # torch is pinned by its own line; its CUDA parts come with the platform's wheel
    assert names - pinned() == set()


def test_there_is_an_audit_command():
    make = (ROOT / "Makefile").read_text()
    assert "pip_audit" in make.split("\naudit:")[1].split("\n\n")[0]
    assert "-r constraints.txt" in make
