"""`dilaton times`: rows of learning times and of exponents, and a flow."""

import json
import sys

import pytest
from dilaton.face import cli

from ..cases import TWO_MODES

DENSITIES = "uniform,shift:sqrt(d),logit-normal:0:1+shift:3,window:0.5:0.9:1"


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Run the command on a spec; return (exit code, stdout, stderr)."""
    spec = tmp_path / "my.toml"
    spec.write_text(TWO_MODES)

    def run(*arguments):
        given = ["dilaton", "times", str(spec), *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", given)
        monkeypatch.setattr("warnings.showwarning", None)  # put back afterwards
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, *capsys.readouterr()

    return run


def test_rows(call):
    options = ("--density", DENSITIES, "--loss", "data,noise", "--exponents", "--json")
    code, out, _ = call("--d", "256,1024", *options)
    rows = json.loads(out)
    assert code == 0
    times = [r for r in rows if "time" in r]
    powers = [r for r in rows if "exponent" in r]
    keys = ["d", "density", "loss", "feature", "time", "within"]
    assert all(list(r) == keys for r in times)
    assert all(list(r) == ["density", "loss", "feature", "exponent"] for r in powers)
    assert (len(times), len(powers)) == (16, 8)
    first = times[0]
    assert first["time"] == pytest.approx(74.63, abs=0.01)
    assert (first["d"], first["density"], first["feature"]) == (256, "uniform", 1)
    assert [r["exponent"] for r in powers][:5] == ["1/2", "3/2", "0", "1", "inf"]


def test_what_never_ends_is_null(call):
    _, out, _ = call("--d", 1e4, "--density", "window:0.5:0.9:1", "--json")
    assert json.loads(out)[0]["time"] is None


def test_a_flow(call):
    about = ("--d", 400, "--density", "dilated", "--init", "m=0.3,q=1,b=0")
    code, out, _ = call(*about, "--times", "3,6", "--rate", 2, "--batch", 4, "--json")
    flow = json.loads(out)
    assert code == 0
    assert list(flow) == ["times", "m", "q", "b"]
    assert flow["q"][1] > 0.01
    _, out, _ = call(*about, "--times", "0,6")
    assert out.split()[:4] == ["times", "m", "q", "b"]
    assert out.split()[4:8] == ["0", "0.3", "1", "0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--density", "uniform"), "`--d` must be given for learning times"),
        (("--density", "uniform,,", "--d", 9), "`--density` must be texts separated"),
        (
            ("--density", "uniform", "--d", 9, "--times", 3),
            "`--times` must be left out",
        ),
        (("--density", "unifrm", "--d", 9), "did you mean `uniform`"),
        (
            ("--density", "uniform,cosine", "--d", 9, "--init", "m=1", "--times", 3),
            "`--density` must be one value for a flow, but has 2",
        ),
    ],
)
def test_what_is_refused(call, arguments, message):
    code, _, err = call(*arguments)
    assert code == 2
    assert message in err
