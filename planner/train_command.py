"""``planner train``: a policy trained, or fitted, on a dataset, or taught by another."""

from pathlib import Path
from typing import Annotated

import typer

from planner.command_options import TrainOptions
from planner.errors import CheckpointError, UsageError
from planner.options import DEFAULT, Options, with_options
from planner.own_places import DATASET, DatasetPlace, new_run, run_to_write
from planner.places import NO_URI, Place, mirrored, place_of


@with_options("train", lambda: [TrainOptions])
def train(
    dataset: DatasetPlace = str(DATASET),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out, or with the latest.")] = False,
    *,
    options: Options,
) -> None:
    """Train a policy on a dataset: one worker in this process, more with Ray Train, DDP over the workers."""
    from planner.config import FITTED_ARCHITECTURES, load_config
    from planner.display.console import EpochBar
    from planner.display.training import print_run
    from planner.training.driver import trainer
    from planner.training.loop import start_run
    from planner.training.trackers import load_tracker

    chosen, source = options.of(TrainOptions), place_of(dataset)
    for path in chosen.track:
        load_tracker(path)
    if chosen.teacher is not None:
        _teach(source, chosen, resume, arch_given=options.settings["arch"].origin != DEFAULT)
        return
    if chosen.arch in FITTED_ARCHITECTURES:
        if chosen.track:
            raise UsageError(f"--track: {chosen.arch} is fitted in one go and has no epochs to follow: leave it out")
        from planner.display.training import print_fitted
        from planner.runs.fitted import fit_run

        out = place_of(chosen.out) if chosen.out else new_run(chosen.arch)
        with mirrored(out, "run.json", existing=None if resume else False) as mirror:
            fitted = fit_run(mirror.path, chosen.arch, source)
        print_fitted(out, fitted)
        return
    settings = load_config(chosen.arch, chosen.config, chosen.settings)
    out = run_to_write(chosen.out, resume, Path(chosen.arch).stem)
    workers, gpu = chosen.workers, chosen.gpu
    with (
        mirrored(out, "run.json", existing=None if resume else False, without=["ray"]) as mirror,
        EpochBar(settings.epochs) as bar,
        trainer(
            workers, min_workers=chosen.min_workers, gpu=gpu, address=chosen.address, track=chosen.track
        ) as train_run,
    ):
        run = mirror.path
        # Not before Ray is there: a run that never began would count as the latest.
        start_run(run, settings, source, init_from=chosen.init_from, workers=workers, resume=resume, gpu=gpu)
        state = train_run(run, mirror.pushing_after(bar.epoch))
    print_run(out, state)


def _teach(dataset: Place, chosen: TrainOptions, resume: bool, *, arch_given: bool) -> None:
    """Train a pupil of --teacher."""
    from planner.config import FITTED_ARCHITECTURES, load_config
    from planner.display.console import EpochBar
    from planner.display.training import print_pupil, print_run
    from planner.training.driver import trainer
    from planner.training.lessons import ARCH, DEFAULTS, report_pupil, write_lessons
    from planner.training.loop import start_run

    assert chosen.teacher is not None
    arch = chosen.arch if arch_given else ARCH
    if arch in FITTED_ARCHITECTURES:
        raise UsageError(f"--arch {arch}: is fitted to trials and has no teacher: take a network, for instance {ARCH}")
    settings = load_config(arch, chosen.config, chosen.settings, defaults=DEFAULTS)
    run = run_to_write(chosen.out, resume, f"{Path(arch).stem}-pupil")
    if not isinstance(run, Path):
        raise UsageError(f"--out {run}: with --teacher {NO_URI}")
    workers, gpu = chosen.workers, chosen.gpu
    if (run / "run.json").exists() and not resume:
        raise CheckpointError(f"{run} holds a run already: pass --resume to go on, or another --out")
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
            resume=resume,
            gpu=gpu,
            teacher=chosen.teacher,
            judged_on=dataset,
        )
        state = train_run(run, bar.epoch)
    print_pupil(report_pupil(run, chosen.teacher))
    print_run(run, state)
