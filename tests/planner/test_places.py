"""Datasets, runs and bundles by URI: file://, and s3:// with a server that runs here."""

import io
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from planner.cli import _refuse_addresses, app
from planner.dataset.storage import load_dataset
from planner.errors import CheckpointError, ConfigError, PathError, UsageError
from planner.options import PROJECT_FILE, resolve
from planner.places import fetched, mirrored, place_of, recorded, within, written
from planner.runs.checkpoint import read_run
from planner.serve import decide_stream
from tests.planner.s3_server import s3_server

MARKER = "dataset.json"
FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server() as pattern:
        yield pattern


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("PLANNER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(params=["file", "s3"])
def uri(request: pytest.FixtureRequest, tmp_path: Path, s3: str) -> str:
    """An empty place of either kind."""
    return f"file://{tmp_path}/there" if request.param == "file" else s3.format(tmp_path.name)


def write(place: str, **files: str) -> None:
    with written(place, MARKER) as local:
        for name, text in {MARKER.replace(".", "_"): "{}", **files}.items():
            path = local / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def test_what_was_written_to_a_uri_is_read_from_it_once(uri: str) -> None:
    write(uri, train__a_npy="1" * 3_000_000, b_txt="b")
    copy = fetched(uri, MARKER)
    assert {path.name for path in copy.rglob("*.*")} == {MARKER, "a.npy", "b.txt"}
    assert (copy / "train" / "a.npy").read_text() == "1" * 3_000_000
    inode = (copy / MARKER).stat().st_ino
    assert fetched(uri, MARKER) == copy and (copy / MARKER).stat().st_ino == inode
    write(uri, b_txt="bb")
    assert {path.name for path in fetched(uri, MARKER).iterdir()} == {MARKER, "b.txt"}
    assert (fetched(uri, MARKER) / "b.txt").read_text() == "bb"


def test_files_of_another_kind_are_not_written_over_but_an_upload_that_died_is(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "thesis.tex").write_text("years of work")
    with pytest.raises(PathError, match=r"thesis\.tex.*name an empty place"):
        write(f"file://{there}")
    (there / ".uploading").touch()
    write(f"file://{there}", b_txt="b")
    assert {path.name for path in there.iterdir()} == {MARKER, "b.txt"}


def test_a_block_that_fails_uploads_nothing_and_keeps_nothing(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(ZeroDivisionError), written(f"file://{tmp_path}/there", MARKER) as local:
        local.mkdir()
        (local / MARKER).write_text("{}")
        raise ZeroDivisionError
    assert list((tmp_path / "there").iterdir()) == [] == list((cache / "made").iterdir())


def test_an_upload_that_fails_says_where_the_work_is_kept(tmp_path: Path) -> None:
    there = tmp_path / "there"
    with (
        pytest.raises(PathError, match="what was made is kept in") as raised,
        written(f"file://{there}", MARKER) as local,
    ):
        local.mkdir()
        (local / MARKER).write_text("{}")
        shutil.rmtree(there)
        there.write_text("in the way")
    assert Path(str(raised.value).rpartition("kept in ")[2], MARKER).read_text() == "{}"


def test_an_upload_that_stops_half_way_leaves_nothing_to_find(tmp_path: Path) -> None:
    place = f"file://{tmp_path}/there"
    write(place, a_txt="old", b_txt="old")
    (tmp_path / "there" / "c.txt").mkdir()  # so that the file of that name cannot be written
    with pytest.raises(PathError, match="what was made is kept in"):
        write(place, a_txt="new", b_txt="new", c_txt="new")
    with pytest.raises(PathError, match=rf"no {MARKER} there"):
        fetched(place, MARKER)


def test_a_reader_meets_the_old_or_the_new_and_never_a_half(tmp_path: Path) -> None:
    place, stop = f"file://{tmp_path}/there", threading.Event()
    names = [f"f{number}_txt" for number in range(12)]

    def keep_writing() -> None:
        for generation in range(25):
            write(place, **dict.fromkeys(names, str(generation)))
            time.sleep(0.02)  # so that a reader on a busy machine meets whole ones too
        stop.set()

    writer = threading.Thread(target=keep_writing)
    writer.start()
    seen: list[set[str]] = []
    while not stop.is_set():
        try:
            copy = fetched(place, MARKER)
        except PathError:
            continue  # between two generations there is none
        seen.append({path.read_text() for path in copy.glob("f*.txt")})
        assert len(list(copy.glob("f*.txt"))) == len(names)
    writer.join()
    assert {path.read_text() for path in fetched(place, MARKER).glob("f*.txt")} == {"24"}
    assert all(len(generations) == 1 for generations in seen)


def test_a_mirror_uploads_what_is_new_and_goes_on_from_there(uri: str) -> None:
    with mirrored(uri, "run.json", existing=False, without=["ray"]) as mirror:
        for name in ("checkpoints/epoch-000/w", "ray/state", "log"):
            (mirror.path / name).parent.mkdir(parents=True, exist_ok=True)
            (mirror.path / name).write_text("0")
        mirror.push()
        with pytest.raises(PathError, match=r"no run\.json there"):
            fetched(uri, "run.json")
        (mirror.path / "run.json").write_text("epoch 0")
        mirror.push()
        assert (fetched(uri, "run.json") / "checkpoints/epoch-000/w").exists()
    assert not {".uploading"} & {path.name for path in fetched(uri, "run.json").iterdir()}
    with pytest.raises(PathError, match="--fresh"), mirrored(uri, "run.json", existing=False):
        pass
    with mirrored(uri, "run.json") as mirror:
        assert (mirror.path / "run.json").read_text() == "epoch 0"
        assert not (mirror.path / "ray").exists()
        shutil.rmtree(mirror.path / "checkpoints/epoch-000")
        (mirror.path / "run.json").write_text("epoch 1")
    copy = fetched(uri, "run.json")
    assert (copy / "run.json").read_text() == "epoch 1"
    assert not (copy / "checkpoints/epoch-000").exists()


def test_a_first_upload_of_a_run_that_died_half_way_does_not_stand_in_the_way(tmp_path: Path) -> None:
    there = tmp_path / "there"
    (there / "log").mkdir(parents=True)  # so that the file of that name cannot be written
    with pytest.raises(PathError), mirrored(f"file://{there}", "run.json") as mirror:
        mirror.path.mkdir()
        for name in ("a", "log", "run.json"):
            (mirror.path / name).write_text("0")
    (there / "log").rmdir()
    with mirrored(f"file://{there}", "run.json", existing=False) as mirror:
        mirror.path.mkdir()
        (mirror.path / "run.json").write_text("1")
    assert [path.name for path in there.iterdir()] == ["run.json"]


def test_a_place_that_does_not_answer_or_is_none_is_one_sentence(s3: str, tmp_path: Path) -> None:
    for place in (s3.replace("bucket", "nobucket").format("a"), "foo://a/b", "s3://key:secret@bucket/a"):
        with pytest.raises(PathError) as raised:
            fetched(place, MARKER)
        assert "\n" not in str(raised.value) and "secret" not in str(raised.value)


def test_the_options_of_a_uri_stay_at_its_end() -> None:
    assert within("s3://b/run/?region=x", "evaluation.json") == "s3://b/run/evaluation.json?region=x"
    assert recorded(place_of("data")) == str(Path.cwd() / "data")


def run(*words: str) -> str:
    _refuse_addresses(list(words))
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_whole_way_from_artifacts_to_a_decision_without_a_directory_of_ones_own(
    ray_cluster: object, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dataset, trained, bundle = (s3.format(f"way/{name}") for name in ("dataset", "run", "bundle"))
    run("dataset", "build", str(FIXTURES / "corpus"), "--out", dataset)
    run("train", dataset, "--workers", "1", "--set", "epochs=1", "--out", trained)
    with pytest.raises(CheckpointError, match="epochs is 1 there, 2 now: --fresh starts anew"):
        run("train", dataset, "--workers", "1", "--set", "epochs=2", "--out", trained)
    run("train", dataset, "--workers", "1", "--set", "epochs=1", "--out", trained)
    run("calibrate", trained)
    run("evaluate", trained)
    run("export", trained, "--out", bundle)
    copy = fetched(trained, "run.json")
    assert read_run(copy).dataset == dataset
    assert orjson.loads((copy / "evaluation.json").read_bytes())["dataset"] == dataset
    context = load_dataset(dataset).splits["train"].contexts()[0]
    sink = io.BytesIO()
    decide_stream(bundle, io.BytesIO(orjson.dumps(context)), sink, "enforce", (None, None, None), False)
    assert orjson.loads(sink.getvalue())["executed_plan"]["fallback_reason"] in (None, "low_confidence")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_a_bundle_at_a_uri_that_is_not_there_is_answered_by_the_default(tmp_path: Path) -> None:
    sink = io.BytesIO()
    decide_stream(f"file://{tmp_path}/none", io.BytesIO(b"{}"), sink, "enforce", (None, None, None), False)
    assert orjson.loads(sink.getvalue())["executed_plan"]["fallback_reason"]


@pytest.mark.parametrize(
    "words",
    [
        "bench REPO --ledger s3://b/ledger.sqlite",
        "bench REPO --ledger=s3://b/ledger.sqlite",
        "bench s3://b/repo",
        "tune s3://b/dataset --out s3://b/tune",
        "train s3://b/dataset --config s3://b/best.yaml",
        "train s3://b/dataset --teacher=file:///run",
        "compare s3://b/dataset --out s3://b/compare",
        "dataset build --kernel-dir s3://b/kernel",
        "relabel file:///ledger.sqlite",
    ],
)
def test_a_uri_where_only_a_path_will_do_is_refused(words: str) -> None:
    with pytest.raises(UsageError, match="places are paths of this machine"):
        _refuse_addresses(words.split())


@pytest.mark.parametrize(
    "words",
    [
        "train s3://b/dataset --out s3://b/run",
        "train --gpu s3://b/dataset --out=s3://b/run",
        "compare s3://b/dataset --address ray://head:10001",
        "decide s3://b/bundle",
        "tune s3://b/dataset",
        "dataset check s3://b/dataset",
        "submit -- planner tune s3://b/dataset",
    ],
)
def test_a_uri_where_it_is_taken_is_not(words: str) -> None:
    _refuse_addresses(words.split())


def test_a_uri_in_a_project_file_is_refused_where_only_a_path_will_do(tmp_path: Path) -> None:
    (tmp_path / PROJECT_FILE).parent.mkdir(parents=True)
    (tmp_path / PROJECT_FILE).write_text("train: {out: 's3://b/run'}\nbench: {ledger: 's3://b/ledger'}\n")
    assert resolve("train", {}, tmp_path).settings["out"].value == "s3://b/run"
    with pytest.raises(ConfigError, match=r"bench\.ledger: s3://b/ledger: places are paths"):
        resolve("bench", {}, tmp_path)
