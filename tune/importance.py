"""Which settings a search's outcome depends on: fANOVA over the trials that were trained to their end."""

import warnings
from pathlib import Path

import optuna
import orjson
from optuna.trial import TrialState

MIN_TRIALS = 10
"""Of fewer complete trials, chance would say what matters."""
FILE = "importance.json"


def write_importance(study: optuna.Study, out: Path) -> None:
    """Write ``out/importance.json``: how many trials it rests on, and what share of their differences each explains.

    Nothing where there are too few trials, or all came to the same.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < MIN_TRIALS:
        return
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    except (ValueError, RuntimeError):
        return
    document = {"trials": len(complete), "importance": {name: round(float(share), 4) for name, share in found.items()}}
    (out / FILE).write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
