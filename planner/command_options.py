"""The options of `planner dataset build` and `planner train`, which a project file may set."""

from pathlib import Path

from planner.contracts.dataset import TokenProfile
from planner.options import OptionsModel, option
from planner.places import OR_URI

ADDRESS_HELP = "Address of a running Ray. [default: RAY_ADDRESS, else Ray inside this command]"

TRACK_HELP = "Tracker of training beside TensorBoard; may be repeated."


class BuildOptions(OptionsModel):
    """How a dataset is built."""

    out: str | None = option(
        None, "Directory of the dataset. [default: REPO/.cyntra/planner/dataset]", metavar=f"PATH{OR_URI}"
    )
    kernel_dir: Path | None = option(None, "The kernel's directory. [default: REPO/.cyntra]")
    profile: TokenProfile = option(
        "planner", "Token stream: planner (ours, holds more), or kernel, for a policy that Cyntra itself runs."
    )
    address: str | None = option(None, ADDRESS_HELP)


class TrainOptions(OptionsModel):
    """What is trained, and where."""

    arch: str = option(
        "mlp_planner",
        "Architecture: mlp_planner, transformer_planner, urm_planner; structural, trial_forest, both (fitted to single "
        "launches in one go); or a YAML file.",
    )
    out: str | None = option(
        None, "Directory of the run. [default: .cyntra/planner/runs/ARCH-N]", metavar=f"PATH{OR_URI}"
    )
    config: Path | None = option(None, "YAML of settings, for instance from `planner tune`.")
    settings: list[str] = option(
        [], "Override one setting; the keys are below. May be repeated.", flag="--set", metavar="KEY=VALUE"
    )
    teacher: Path | None = option(
        None, "Run whose decisions are taught: --arch structural, or any that values every action. [default arch: urm]"
    )
    perturbed: int = option(3000, "With --teacher: contexts made of parts of others, beside the dataset's.", ge=0)
    init_from: Path | None = option(None, "Run whose best weights to start from.")
    track: list[str] = option([], TRACK_HELP, metavar="MODULE:CLASS")
    workers: int = option(2, "DDP workers; one trains in this process, without Ray.", ge=1)
    min_workers: int | None = option(
        None, "Go on with as few workers when nodes are lost, with more when some come. [default: --workers]", ge=1
    )
    gpu: bool = option(False, "One GPU per worker, nccl instead of gloo.")
    address: str | None = option(None, ADDRESS_HELP)
