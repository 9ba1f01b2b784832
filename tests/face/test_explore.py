"""The explorer: its numbers, its manners as a server, and the page in a browser."""

import base64
import http.client
import json
import shutil
import subprocess
import threading
import time
import urllib.request

import dilaton
import numpy as np
import pytest
from dilaton.face import explore
from dilaton.numerics import portrait
from dilaton.numerics.share import several_features
from dilaton.theory.models.spec import parse_spec

from ..cases import PRODUCT, THREE_MODES

POINT = {"p": 0.8, "sigma": 1.0, "kappa": 2.0, "n": "inf", "ridge": 0.1}
POINT |= {"d": 1000, "steps": 24}
PAIR = {"p_1": 0.7, "p_2": 0.9, "rho_1": 1, "rho_2": 2, "sigma": 1, "d": 10_000}
PAIR |= {"kappa_1": 2, "kappa_2": 3, "steps": 16}
COLOURS = ("m", "omega", "b", "c")
SAMPLED = PRODUCT.replace('n = "inf"', "n = 4\nridge_u = 1\nridge_w = 1").replace(
    "exponent = 0.25", "exponent = 0"
)
SAMPLED = SAMPLED.replace("kappa = [2, 3]", "kappa = 2") + (
    'noise_draws = "inf"\ncounts = {"++" = 1, "+-" = 1, "-+" = 1, "--" = 1}\n'
)
SAMPLED_MODES = THREE_MODES.replace('n = "inf"', "n = 9\nridge_u = 1\nridge_w = 1")
SAMPLED_MODES += 'noise_draws = "inf"\ncounts = [4, 3, 2]\n'
BLUR = 1e-3  # the population's law is drawn blurred by a fiftieth
DRAWN = 0.01  # what a picture shows of a law in forty steps; half of it at n = 4
SAME = 1e-8  # of two shares from the same starts; the flow is followed to 1e-8
MOVE = 100.0  # milliseconds from a move to the picture


PAPER = explore.Explorer(dilaton.default_spec().replace(n="inf"))
FEATURES = explore.Explorer(parse_spec(PRODUCT))


def answer(point, explorer=PAPER):
    """What the page is told, the only feature's window beside the rest."""
    found = explorer.answer(point)
    return found | found["features"][0]


def normal(x, mean):
    return np.exp(-((x - mean) ** 2) / 2) / np.sqrt(2 * np.pi)


def test_the_population_s_law_is_the_mixture_s():
    found = answer(POINT)
    nu = np.array(found["nu"])
    wanted = 0.8 * normal(nu, 2) + 0.2 * normal(nu, -2)
    np.testing.assert_allclose(found["density"], wanted, atol=BLUR)
    assert np.abs(np.array(found["density"]) - wanted[::-1]).max() > 20 * BLUR
    assert found["share"] == pytest.approx(0.78634992, abs=1e-6)


def test_the_law_of_samples_agrees_with_solve():
    point = POINT | {"n": 16, "p": 0.8125}
    found = answer(point)
    limit = dilaton.derive(
        dilaton.Model(dilaton.two_modes(), data=dilaton.Data(samples=True))
    )
    given = {"p": 0.8125, "sigma": 1.0, "kappa": 2.0, "n": 16, "n_plus": 13}
    given |= {"ridge_u": 0.1, "ridge_w": 0.1}
    traj = dilaton.solve(limit, s=[0.5, 1], rtol=1e-8, atol=1e-8, **given)
    assert found["share"] == pytest.approx(float(traj.share_plus), abs=1e-6)
    nu, density = np.array(found["nu"]), np.array(found["density"])
    step = nu[1] - nu[0]
    assert density.sum() * step == pytest.approx(1, abs=1e-4)
    right = (
        density[nu > 0].sum() * step + density[np.abs(nu) < step / 2].sum() * step / 2
    )
    assert right == pytest.approx(found["share"], abs=1e-3)
    where = found["overlaps"]["t"].index(0.5)
    assert found["overlaps"]["lines"]["m"][where - 20] == pytest.approx(
        traj.m.values[0], abs=1e-6
    )


@pytest.mark.parametrize("n", ["inf", 4, 1348])
@pytest.mark.parametrize(("p", "sigma"), [(0.02, 0.1), (0.66, 3.0)])
def test_the_law_integrates_to_one_at_the_sliders_ends(p, sigma, n):
    point = POINT | {"p": p, "sigma": sigma, "kappa": 8.0, "n": n, "ridge": 0.001}
    found = answer(point)
    nu, density = np.array(found["nu"]), np.array(found["density"])
    right = density[nu > 0].sum() + density[np.abs(nu) < 1e-9].sum() / 2
    assert density.min() >= 0
    assert density.sum() * (nu[1] - nu[0]) == pytest.approx(1, abs=DRAWN)
    assert right * (nu[1] - nu[0]) == pytest.approx(found["share"], abs=DRAWN)
    assert (np.diff(found["paths"], axis=0) > 0).all()  # trajectories do not cross


def test_the_law_of_each_feature_is_the_mixture_s():
    """A feature of scale rho has its modes at +-kappa sqrt(rho), in any schedule."""
    found = FEATURES.answer(PAIR)
    modes = {1: (0.7, 2 * np.pi / 2), 2: (0.9, 3 * np.sqrt(2) * np.pi / 2)}
    for window in found["features"]:
        p, mean = modes[window["feature"]]
        nu = np.array(window["nu"])
        wanted = p * normal(nu, mean) + (1 - p) * normal(nu, -mean)
        np.testing.assert_allclose(window["density"], wanted, atol=BLUR)
        assert np.abs(np.array(window["density"]) - wanted[::-1]).max() > 20 * BLUR
    assert {x.partition("_")[0] for x in found["overlaps"]["lines"]} == set(COLOURS)


def test_the_samplers_are_those_of_steps():
    """The dilated one keeps the weights at any d, the undilated one loses them."""
    spec = parse_spec(PRODUCT).replace(**{k: PAIR[k] for k in ("p_1", "p_2")})
    for d in (100, 100_000):
        found = FEATURES.answer(PAIR | {"d": d})["samplers"]
        for kind, made in found.items():
            (row,) = dilaton.steps(spec, d, [16], kind, "left")
            np.testing.assert_allclose(made["share"], row["share_plus"], atol=2e-5)
            ends = np.array(made["paths"])[:, :, -1]
            assert (np.diff(ends, axis=1) > 0).all()  # no two paths change places
    assert np.abs(np.array(found["dilated"]["share"]) - [0.7, 0.9]).max() < 0.05
    assert found["undilated"]["share"][0] > 0.99


def test_a_schedule_of_one_s_own_is_drawn():
    text = dilaton.default_spec().replace(n="inf").text
    text = text.replace('"1 - tau"', '"cos(pi*tau/2)"')
    mine = explore.Explorer(parse_spec(text.replace('"tau"', '"sin(pi*tau/2)"')))
    assert mine._told() == "two modes, alpha = cos(pi*tau/2), beta = sin(pi*tau/2)"
    found = answer(POINT, mine)
    wanted = 0.8 * normal(np.array(found["nu"]), np.pi)
    wanted += 0.2 * normal(np.array(found["nu"]), -np.pi)
    np.testing.assert_allclose(found["density"], wanted, atol=BLUR)


def test_a_slider_reaches_the_number_of_its_spec():
    wide = explore.Explorer(parse_spec(PRODUCT).replace(kappa_1=9.5, sigma=0.05))
    assert wide.ranges["kappa_1"] == (0.1, 9.5)
    assert wide.ranges["sigma"] == (0.05, 3.0)
    assert wide.start["kappa_1"] == 9.5
    assert list(wide.ranges)[:2] == ["p_1", "p_2"]
    samples = explore.Explorer(dilaton.default_spec())
    assert samples.start["n"] == 128
    assert samples.start["ridge"] == 2.0
    assert (
        "ridge_u" in explore.Explorer(dilaton.default_spec().replace(ridge_w=3)).start
    )


MODES = {"p_1": 0.5, "p_2": 0.3, "p_3": 0.2, "sigma": 1, "kappa": 2}
MODES |= {"d": 1000, "steps": 24}
COUNTING = 4 * 0.5 / 2048**0.5  # standard errors of a share that is counted


def test_the_law_of_each_direction_is_that_of_the_modes():
    made = explore.Explorer(parse_spec(THREE_MODES))
    found = made.answer(MODES)
    for j, window in enumerate(found["features"]):
        nu, weights = np.array(window["nu"]), [0.5, 0.3, 0.2]
        parts = [normal(nu, 2.0 * (k == j)) for k in range(3)]
        wanted = np.sum([p * x for p, x in zip(weights, parts, strict=True)], axis=0)
        rounding = (
            10.0**-explore.DIGITS
        )  # half of it here, and in nu, whose slope is < 1
        np.testing.assert_allclose(window["density"], wanted, rtol=0, atol=rounding)
        assert np.abs(wanted - parts[j]).max() > 0.1
    whole = dilaton.solve(parse_spec(THREE_MODES)).shares.values
    assert [x["limit"] for x in found["shares"]] == pytest.approx(whole.tolist())
    (row,) = dilaton.steps(parse_spec(THREE_MODES), 1000, [24], "dilated", "left")
    ends = [x["dilated"] for x in found["shares"]]
    np.testing.assert_allclose(ends, row["shares"], atol=COUNTING)
    assert "omega_3_1" in found["overlaps"]["lines"]
    assert not found["missing"]


def test_the_paths_of_a_direction_carry_the_law():
    """Trajectories of the learned flow end with the moments of the mixture."""
    made = explore.Explorer(parse_spec(THREE_MODES)).population
    sight = made.solved(MODES).sights[1]
    assert sight.paths.shape == (17, 41)
    start, end = sight.paths[:, 0], sight.paths[:, -1]
    assert abs(start.mean()) < 0.2  # few points, evenly scattered
    assert abs((end - start).mean() - 0.5 * 2.0) < 0.35  # the mean of the mixture


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (dilaton.default_spec().replace(noise_draws=1).text, "Frozen noise"),
        (SAMPLED_MODES, "no quadrature"),
    ],
)
def test_a_limit_without_shares_says_why(text, why):
    made = explore.Explorer(parse_spec(text))
    found = made.answer(made.start)
    assert why in found["missing"]
    assert {x["limit"] for x in found["shares"]} == {None}
    assert all(0 < x["dilated"] < 1 for x in found["shares"])
    assert "m" in {x.partition("_")[0] for x in found["overlaps"]["lines"]}


@pytest.mark.slow
def test_features_with_samples_are_drawn(monkeypatch):
    made = explore.Explorer(parse_spec(SAMPLED))
    made.warm_up()
    assert made.slow > explore.AT_ONCE  # the page waits until a slider rests
    found = made.answer(made.start)
    shares = dilaton.solve(parse_spec(SAMPLED))
    monkeypatch.setattr(several_features, "POINTS", portrait.CLASS_POINTS)
    from_few = dilaton.solve(parse_spec(SAMPLED))
    for window, row in zip(found["features"], found["shares"], strict=True):
        nu, density = np.array(window["nu"]), np.array(window["density"])
        step, place = nu[1] - nu[0], row["name"][-1]
        assert density.sum() * step == pytest.approx(1, abs=1e-3)
        right = density[nu > step / 2].sum() * step + density[len(nu) // 2] * step / 2
        assert right == pytest.approx(window["share"], abs=DRAWN)
        fine, few = (x.sel(feature=int(place)) for x in (shares, from_few))
        assert window["share"] == pytest.approx(float(few.share_plus), abs=SAME)
        error = 5 * float(few.share_plus_error)  # of eight scramblings
        assert window["share"] == pytest.approx(float(fine.share_plus), abs=error)


def test_windows_that_would_overlap_are_named():
    with pytest.raises(dilaton.ModelError, match="Raise d or lower kappa"):
        PAPER.answer(POINT | {"d": 16, "kappa": 8})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"p": 1.2}, r"`p` must be a number from 0.02 to 0.98, but is '1.2'"),
        ({"kappa": "nan"}, "`kappa` must be a number"),
        ({"n": "0"}, 'or "inf", but is'),
        ({"sigma": "__import__('os')"}, "`sigma` must be a number"),
        ({"ridge": None}, "`ridge` must be a number"),
        ({"sigmaa": 1}, "did you mean `sigma`"),
    ],
)
def test_values_are_checked(change, match):
    with pytest.raises(dilaton.ModelError, match=match):
        PAPER.answer(POINT | change)


@pytest.fixture(scope="module")
def server():
    PAPER.warm_up()
    found = explore.make_server(0, PAPER)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


def ask(server, path, host=None):
    port = server.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"Host": host or f"127.0.0.1:{port}"})
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    return reply, text


def test_only_this_machine_is_answered(server):
    assert server.server_address[0] == "127.0.0.1"
    assert ask(server, "/")[0].status == 200
    reply, text = ask(server, "/", host="evil.example:80")
    assert reply.status == 403
    assert "this machine alone" in text


def test_the_server_answers_and_refuses(server):
    query = "p=0.8&sigma=1&kappa=2&n=16&ridge=0.1&d=100&steps=9"
    reply, text = ask(server, f"/answer?{query}")
    assert reply.status == 200
    assert json.loads(text)["features"][0]["share"] == pytest.approx(0.8073, abs=1e-3)
    reply, text = ask(
        server, "/answer?p=2&sigma=1&kappa=2&n=16&ridge=0.1&d=100&steps=9"
    )
    assert reply.status == 400
    assert "`p` must be" in json.loads(text)["error"]
    assert ask(server, "/../../etc/passwd")[0].status == 404
    policy = ask(server, "/")[0].headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy


def test_a_taken_port_is_named(server):
    port = server.server_address[1]
    with pytest.raises(dilaton.StoreError, match=f"but {port} is not"):
        explore.make_server(port, PAPER)


# ------------------------------------------------------------------ in a real browser

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,760",
]


class Browser:
    """Chromium, driven by the WebDriver protocol."""

    def __init__(self, driver, chromium, profile):
        self.port = free_port()
        self.process = subprocess.Popen(
            [driver, f"--port={self.port}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        options = {"binary": chromium, "args": [*FLAGS, f"--user-data-dir={profile}"]}
        wanted = {"alwaysMatch": {"goog:chromeOptions": options}}
        for _ in range(100):
            try:
                self.call("GET", "/status")
                break
            except OSError:
                time.sleep(0.1)
        self.session = self.call("POST", "/session", {"capabilities": wanted})
        self.root = f"/session/{self.session['sessionId']}"

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data, method=method
        )
        with urllib.request.urlopen(request, timeout=90) as reply:
            return json.load(reply)["value"]

    def go(self, address):
        self.call("POST", f"{self.root}/url", {"url": address})

    def run(self, script):
        body = {"script": script, "args": []}
        return self.call("POST", f"{self.root}/execute/sync", body)

    def wait(self, script):
        for _ in range(300):
            found = self.run(script)
            if found:
                return found
            time.sleep(0.1)
        raise AssertionError(f"never true in the page: {script}")

    def close(self):
        self.call("DELETE", self.root)
        self.process.terminate()
        self.process.wait()


def free_port():
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
def browser(tmp_path):
    driver = shutil.which("chromedriver")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not driver or not chromium:
        pytest.skip("needs chromium and chromedriver: apt-get install chromium-driver")
    found = Browser(driver, chromium, tmp_path / "profile")
    yield found
    found.close()


def test_moving_a_slider_redraws(server, browser, tmp_path):
    browser.go(f"http://127.0.0.1:{server.server_address[1]}/")
    browser.wait("return (window.moves || 0) >= 1")
    assert float(browser.run("return document.body.dataset.share")) == pytest.approx(
        0.78635, abs=1e-3
    )
    before = browser.run("return document.querySelector('#law path').outerHTML")
    latencies = []
    for i in range(12):
        moves = browser.run("return window.moves")
        browser.run(
            f"const x = document.getElementById('kappa'); x.value = {0.3 + 0.02 * i};"
            "document.getElementById('n').value = 0.3;"
            "x.dispatchEvent(new Event('input'));"
        )
        browser.wait(f"return window.moves > {moves}")
        latencies.append(browser.run("return window.latency"))
    after = browser.run("return document.querySelector('#law path').outerHTML")
    assert after != before
    assert browser.run("return document.getElementById('say').textContent") == ""
    assert browser.run("return document.querySelectorAll('#paths path').length") == 17
    # a busy machine may be late now and then; the median may be late by its load
    load = max(1.0, explore_load())
    assert np.median(latencies) < MOVE * load, latencies
    print(f"median of a move: {np.median(latencies):.0f} ms, load {load:.1f}")
    picture = base64.b64decode(browser.call("GET", f"{browser.root}/screenshot"))
    (tmp_path / "explore.png").write_bytes(picture)
    assert picture.startswith(b"\x89PNG")


def explore_load():
    """Processes that compete for each core."""
    import os

    return os.getloadavg()[0] / (os.cpu_count() or 1)
