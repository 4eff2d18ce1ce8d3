"""Which settings matter: what explains the trials' values does, and of few trials nothing is said."""

from pathlib import Path

import optuna
import orjson

from tune.importance import FILE, MIN_TRIALS, write_importance


def study_of(trials: int) -> optuna.Study:
    """Trials whose value follows from ``lr`` alone, each beside one that was stopped."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(trials):
        trial = study.ask()
        lr = trial.suggest_float("lr", 0.0, 1.0)
        trial.suggest_int("model.layers", 1, 4)
        study.tell(trial, -((lr - 0.3) ** 2))
        study.tell(study.ask(), state=optuna.trial.TrialState.PRUNED)
    return study


def test_the_setting_that_decides_has_most_of_the_importance(tmp_path: Path) -> None:
    write_importance(study_of(2 * MIN_TRIALS), tmp_path)
    found = orjson.loads((tmp_path / FILE).read_bytes())
    assert found["trials"] == 20 and found["importance"]["lr"] > 0.8
    assert abs(sum(found["importance"].values()) - 1) < 0.001


def test_of_few_complete_trials_nothing_is_said(tmp_path: Path) -> None:
    write_importance(study_of(MIN_TRIALS - 1), tmp_path)
    assert not (tmp_path / FILE).exists()
