"""`submit`: what would be sent is shown, missing credentials are said, nothing of them is shown, and the client's words decide."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from main import main
from submission import upload
from submission.package import tar_gz_bytes


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without credentials."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def tarball(tmp_path: Path) -> Path:
    path = tmp_path / "submission.tar.gz"
    path.write_bytes(tar_gz_bytes({"main.py": b"def agent_fn(observation, configuration):\n    return {}\n"}))
    return path


FILES = [".kaggle/access_token", ".kaggle/credentials.json", ".kaggle/kaggle.json", ".config/kaggle/kaggle.json"]


@pytest.mark.parametrize("name", FILES)
def test_credential_files_are_found_and_not_read(name: str, nobody: Path) -> None:
    assert upload.credentials() is None
    path = nobody / name
    path.parent.mkdir(parents=True)
    path.write_text("")
    assert upload.credentials() is None
    path.write_text("secret")
    assert upload.credentials() == str(path)


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({"KAGGLE_API_TOKEN": "secret"}, "KAGGLE_API_TOKEN"),
        ({"KAGGLE_USERNAME": "me", "KAGGLE_KEY": "secret"}, "KAGGLE_USERNAME and KAGGLE_KEY"),
        ({"KAGGLE_USERNAME": "me"}, None),
        ({"KAGGLE_KEY": "secret"}, None),
        ({"KAGGLE_API_TOKEN": ""}, None),
    ],
)
def test_credential_variables_are_found(variables: dict[str, str], found: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert upload.credentials() == found


def test_without_credentials_nothing_is_begun(tarball: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", str(tarball)]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("error: There are no Kaggle credentials: run `kaggle auth login`")


def test_a_dry_run_shows_what_would_be_sent_and_no_secret(
    tarball: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["submit", str(tarball), "--no-verify", "--dry-run", "-m", "a better one", "-c", "lux-ai-season-2-neurips-stage-2"]
    assert main(arguments) == 0
    without = capsys.readouterr().out
    assert "credentials  none: sending would fail" in without
    monkeypatch.setenv("KAGGLE_API_TOKEN", "s3cret")
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    size, digest = tarball.stat().st_size, hashlib.sha256(tarball.read_bytes()).hexdigest()
    for words in (
        f"{tarball} ({size:,} bytes)",
        digest,
        "a better one",
        "lux-ai-season-2-neurips-stage-2",
        f"kaggle competitions submit lux-ai-season-2-neurips-stage-2 -f {tarball} -m 'a better one'",
        "credentials  KAGGLE_API_TOKEN",
        "Nothing was sent",
    ):
        assert words in shown, shown
    assert "s3cret" not in shown


def test_a_package_that_fails_its_verification_is_not_sent(tarball: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", str(tarball), "--dry-run"]) == 2  # it sends no bid
    shown = capsys.readouterr()
    assert "sent no bid" in shown.err and "SHA-256" not in shown.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no.tar.gz"], "no.tar.gz does not exist"),
        (["nowhere"], "nowhere is no folder"),
        (["submission.tar.gz", "-c", "two words"], "it must be a slug"),
        (["submission.tar.gz", "-c", ""], "it must be a slug"),
    ],
)
def test_wrong_arguments_are_sentences(
    arguments: list[str], words: str, tarball: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tarball.parent)
    assert main(["submit", *arguments, "--dry-run", "--no-verify"]) == 2
    assert words in capsys.readouterr().err


def test_an_option_is_no_message(tarball: Path) -> None:
    with pytest.raises(ValueError, match="begins with a dash"):
        upload.plan(tarball, "-q")
    assert upload.plan(tarball).message.startswith("submission.tar.gz ")


def test_the_real_client_is_understood(tarball: Path, nobody: Path) -> None:
    """A file of credentials that holds none: Kaggle's client itself says so, without asking the network."""
    (nobody / ".kaggle").mkdir()
    (nobody / ".kaggle" / "kaggle.json").write_text("{}")
    with pytest.raises(ValueError, match="Kaggle did not take .*exit code 1"):
        upload.send(upload.plan(tarball))


@pytest.mark.parametrize(
    ("said", "code", "accepted"),
    [
        ("Successfully submitted to Lux AI Season 2", 0, True),
        ("Could not submit to competition", 0, False),  # it exits with 0 all the same
        ("403 Client Error: Forbidden", 1, False),
        ("", 0, False),
    ],
)
def test_the_words_of_the_client_decide(
    said: str, code: int, accepted: bool, tarball: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a program in the client's place, since the real one would ask the network."""
    client = tmp_path / "kaggle"
    client.write_text(f"#!{sys.executable} -IS\nimport sys\nprint(sys.argv[1:])\nprint({said!r})\nsys.exit({code})\n")
    client.chmod(0o755)
    monkeypatch.setattr(upload, "client", lambda: str(client))
    monkeypatch.setenv("KAGGLE_API_TOKEN", "s3cret")
    assert main(["submit", str(tarball), "--no-verify", "-m", "one two"]) == (0 if accepted else 2)
    shown = capsys.readouterr()
    assert f"['competitions', 'submit', 'lux-ai-season-2', '-f', '{tarball}', '-m', 'one two']" in shown.out + shown.err
    assert (said in shown.out) if accepted else (f"Kaggle did not take {tarball} (exit code {code})" in shown.err)
    assert "s3cret" not in shown.out + shown.err
