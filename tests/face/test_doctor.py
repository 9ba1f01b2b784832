"""`dilaton doctor`: versions, devices, the cache and what is missing."""

import json

import pytest
from dilaton.face import doctor


def test_the_diagnosis_names_versions_devices_and_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("DILATON_CACHE", str(tmp_path))
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "one.py").write_bytes(b"x" * 1500)
    found = doctor.diagnosis()
    assert json.loads(json.dumps(found)) == found
    assert found["versions"]["sympy"]
    assert any("cpu" in device for device in found["devices"])
    assert found["cache"] == str(tmp_path)
    assert found["cache_bytes"] == 1500
    text = doctor.diagnosis_text(found)
    assert f"cache: {tmp_path} (0.0 MB)" in text


@pytest.mark.parametrize("extra", ["torch", "scikit-learn", "distributed"])
def test_what_is_missing_comes_with_its_remedy(monkeypatch, extra):
    version = doctor.installed
    monkeypatch.setattr(
        doctor, "installed", lambda n: None if n == extra else version(n)
    )
    found = doctor.diagnosis()
    assert any(f"{extra} is not installed: pip install" in x for x in found["missing"])
    assert f"missing: {extra}" in doctor.diagnosis_text(found)


def test_a_cache_that_cannot_be_written_is_missing(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DILATON_CACHE", str(tmp_path / "file"))
    assert any("DILATON_CACHE" in x for x in doctor.diagnosis()["missing"])
