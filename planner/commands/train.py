"""``planner train``: a policy trained, or fitted, on a dataset, or taught by another."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from planner.checked import dataset_at, room_at, run_at
from planner.command_options import TrainOptions
from planner.errors import UsageError
from planner.options import DEFAULT, Options, with_options
from planner.own_places import DATASET, RUNS, DatasetPlace, Fresh, Resume, latest_run, new_run
from planner.places import NO_URI, Place, mirrored, place_of, recorded
from planner.run_directory import remove_run, trained_by_us, unfinished


@with_options("train", lambda: [TrainOptions])
def train(
    dataset: DatasetPlace = str(DATASET),
    fresh: Fresh = False,
    resume: Resume = False,
    *,
    options: Options,
) -> None:
    """Train a policy on a dataset: one worker in this process, more with Ray Train.

    A run that was interrupted goes on where it stopped when the same command is given again, to the same weights: the
    one in --out, or without --out the newest unfinished one of these settings. The workers share every batch (DDP).
    """
    from planner.config import FITTED_ARCHITECTURES, load_config
    from planner.training.trackers import load_tracker

    chosen, source = options.of(TrainOptions), dataset_at(place_of(dataset))
    for start in (chosen.teacher, chosen.init_from):
        if start is not None:
            run_at(start)
    for path in chosen.track:
        load_tracker(path)
    if chosen.teacher is not None:
        _teach(source, chosen, fresh, resume, arch_given=options.settings["arch"].origin != DEFAULT)
        return
    if chosen.arch in FITTED_ARCHITECTURES:
        if chosen.track:
            raise UsageError(f"--track: {chosen.arch} is fitted in one go and has no epochs to follow: leave it out")
        if chosen.settings:
            raise UsageError(f"--set: {chosen.arch} is fitted in one go and has no settings: leave it out")
        _fit(source, chosen, fresh)
        return
    settings = load_config(chosen.arch, chosen.config, chosen.settings)
    wanted = {"config": settings.model_dump(), "dataset": recorded(source), "init_from": _full(chosen.init_from)}
    out = _run_to_write(chosen, fresh, resume, Path(chosen.arch).stem, wanted)
    from planner.display.console import give
    from planner.display.progress import EpochBar
    from planner.display.training import print_run
    from planner.training.driver import trainer
    from planner.training.loop import start_run

    workers, gpu = chosen.workers, chosen.gpu
    with (
        mirrored(out, "run.json", without=["ray", "train.lock"]) as mirror,
        EpochBar(settings.epochs) as bar,
        trainer(
            workers, min_workers=chosen.min_workers, gpu=gpu, address=chosen.address, track=chosen.track
        ) as train_run,
    ):
        run = mirror.path
        # Not before Ray is there: a run that never began would count as the latest.
        with trained_by_us(run):
            start_run(
                run,
                settings,
                source,
                init_from=chosen.init_from,
                workers=workers,
                resume=True,
                fresh=fresh,
                gpu=gpu,
            )
            state = train_run(run, mirror.pushing_after(bar.epoch))
    print_run(out, state)
    give("train", {"run": str(out), "state": state.model_dump(mode="json")})


def _fit(source: Place, chosen: TrainOptions, fresh: bool) -> None:
    """Fit a policy that has no epochs."""
    out = room_at(place_of(chosen.out) if chosen.out else new_run(chosen.arch))
    from planner.display.console import give
    from planner.display.training import print_fitted
    from planner.runs.checkpoint import read_run
    from planner.runs.fitted import fit_run

    with mirrored(out, "run.json") as mirror:
        fitted = fit_run(mirror.path, chosen.arch, source, fresh=fresh)
        state = read_run(mirror.path)
    print_fitted(out, fitted)
    give("train", {"run": str(out), "state": state.model_dump(mode="json")})


def _teach(dataset: Place, chosen: TrainOptions, fresh: bool, resume: bool, *, arch_given: bool) -> None:
    """Train a pupil of --teacher."""
    from planner.config import FITTED_ARCHITECTURES, PUPIL_ARCH, PUPIL_SETTINGS, load_config

    assert chosen.teacher is not None
    arch = chosen.arch if arch_given else PUPIL_ARCH
    if arch in FITTED_ARCHITECTURES:
        instead = f"take a network, for instance {PUPIL_ARCH}"
        raise UsageError(f"--arch {arch}: is fitted to trials and has no teacher: {instead}")
    settings = load_config(arch, chosen.config, chosen.settings, defaults=PUPIL_SETTINGS)
    wanted = {"config": settings.model_dump(), "judged_on": recorded(dataset), "teacher": _full(chosen.teacher)}
    run = _run_to_write(chosen, fresh, resume, f"{Path(arch).stem}-pupil", wanted)
    if not isinstance(run, Path):
        raise UsageError(f"--out {run}: with --teacher {NO_URI}")
    from planner.display.console import give
    from planner.display.progress import EpochBar
    from planner.display.training import print_pupil, print_run
    from planner.training.driver import trainer
    from planner.training.lessons import report_pupil, write_lessons
    from planner.training.loop import start_run

    with trained_by_us(run):
        if fresh:
            remove_run(run)
        workers, gpu = chosen.workers, chosen.gpu
        lessons = write_lessons(run, chosen.teacher, dataset, perturbed=chosen.perturbed, seed=settings.seed)
        with (
            EpochBar(settings.epochs) as bar,
            trainer(
                workers, min_workers=chosen.min_workers, gpu=gpu, address=chosen.address, track=chosen.track
            ) as train_run,
        ):
            start_run(
                run,
                settings,
                lessons,
                init_from=chosen.init_from,
                workers=workers,
                resume=True,
                gpu=gpu,
                teacher=chosen.teacher,
                judged_on=dataset,
            )
            state = train_run(run, bar.epoch)
    pupil = report_pupil(run, chosen.teacher)
    print_pupil(pupil)
    print_run(run, state)
    give("train", {"run": str(run), "state": state.model_copy(update={"pupil": pupil}).model_dump(mode="json")})


def _run_to_write(chosen: TrainOptions, fresh: bool, resume: bool, stem: str, wanted: Mapping[str, Any]) -> Place:
    """Where the run goes: --out, an unfinished run that ``wanted`` describes, or a new place; checked before the work.

    A run that is to begin from itself is refused where --fresh would remove it first.
    """
    if chosen.out:
        place = place_of(chosen.out)
    elif resume:
        place = latest_run()
    else:
        place = (None if fresh else unfinished(RUNS, stem, wanted)) or new_run(stem)
    if isinstance(place, Path):
        room_at(place)
        sources = [source for source in (chosen.init_from, chosen.teacher) if source is not None]
        if fresh and any(source.resolve().is_relative_to(place.resolve()) for source in sources):
            raise UsageError(f"--fresh: {place} is also what this run starts from: give another --out")
    return place


def _full(path: Path | None) -> str | None:
    return None if path is None else str(path.resolve())
