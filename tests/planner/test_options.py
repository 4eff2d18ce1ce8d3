"""Options of commands: the command line wins, then the repo's project file, then the defaults; each is checked."""

from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from planner.errors import ConfigError
from planner.options import COMMAND_LINE, COMMANDS, DEFAULT, Options, OptionsModel, option, resolve, with_options


class SailOptions(OptionsModel):
    """Options of a command that only these tests have."""

    n_sails: int = option(2, "How many sails.", flag="--sails", ge=1)
    crew: list[str] = option([], "Who sails along; may be repeated.")
    storm: bool = option(False, "Sail in a storm.")


@pytest.fixture
def sail(monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """An app with one command, which prints its options."""
    monkeypatch.setitem(COMMANDS, "sail", lambda: [SailOptions])
    app = typer.Typer()

    @app.command()
    @with_options("sail", lambda: [SailOptions])
    def sail(repo: Annotated[Path, typer.Argument()] = Path(), *, options: Options) -> None:
        typer.echo(repr(options.of(SailOptions)))

    return app


def project_file(repo: Path, text: str) -> Path:
    path = repo / ".cyntra" / "planner" / "planner.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_the_command_line_wins_over_the_project_file_and_that_over_the_default(
    sail: typer.Typer, tmp_path: Path
) -> None:
    project_file(tmp_path, "sail:\n  sails: 3\n  crew: [ann, bob]\n")
    shown = CliRunner().invoke(sail, [str(tmp_path), "--sails", "5"])
    assert shown.stdout.strip() == "SailOptions(n_sails=5, crew=['ann', 'bob'], storm=False)"
    below = tmp_path / "src" / "deep"
    below.mkdir(parents=True)
    shown = CliRunner().invoke(sail, [str(below), "--storm", "--crew", "cy"])
    assert shown.stdout.strip() == "SailOptions(n_sails=3, crew=['cy'], storm=True)"


def test_a_default_that_is_given_on_the_command_line_counts_as_given(sail: typer.Typer, tmp_path: Path) -> None:
    project_file(tmp_path, "sail: {sails: 3}")
    assert "n_sails=2" in CliRunner().invoke(sail, [str(tmp_path), "--sails", "2"]).stdout


def test_the_help_has_every_field_with_its_sentence(sail: typer.Typer) -> None:
    shown = CliRunner().invoke(sail, ["--help"]).stdout
    assert "--sails" in shown and "How many sails." in shown and "--storm" in shown and "--no-storm" not in shown


def test_every_setting_says_where_it_comes_from(sail: typer.Typer, tmp_path: Path) -> None:
    path = project_file(tmp_path, "sail: {sails: 3}")
    settings = resolve("sail", {"storm": True}, tmp_path).settings
    assert {key: setting.origin for key, setting in settings.items()} == {
        "sails": str(path),
        "crew": DEFAULT,
        "storm": COMMAND_LINE,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sail: {sail: 3}", "sail.sail: no such option"),
        ("sial: {sails: 3}", "sial: no such section"),
        ("sail: [3]", "a mapping of commands"),
        ("- sail", "a mapping of commands"),
        ("sail: {sails: 0}", "sail.sails: Input should be greater than or equal to 1, found 0"),
        ("sail: {crew: ann}", "sail.crew: Input should be a valid list"),
        ("sail: {", "cannot be read as YAML"),
        ("sail: {sails: " + "9" * 5000 + "}", "planner.yaml"),
    ],
)
def test_a_wrong_project_file_is_named_with_what_is_wrong(
    sail: typer.Typer, tmp_path: Path, text: str, message: str
) -> None:
    path = project_file(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        resolve("sail", {}, tmp_path)
    assert message in str(error.value) and str(path) in str(error.value)


def test_config_show_prints_what_a_repo_sets_and_what_is_left_at_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from planner.cli import app

    path = project_file(tmp_path, "bench: {k: 7}\ntrain: {arch: urm_planner}")
    shown: Any = CliRunner().invoke(app, ["config", "show", str(tmp_path)])
    lines = shown.stdout.splitlines()
    assert f"bench.k = 7 ({path})" in lines and f"train.arch = urm_planner ({path})" in lines
    assert "bench.repeats = 1 (default)" in lines and "tune.trials = 8 (default)" in lines
