"""Plain transformer encoder: URM's blocks applied once, in one pass, with gradients everywhere."""

from planner.model_settings import TokenSettings, URMSettings
from planner.models.base import ModelSpec
from planner.models.urm import URMPlanner


class TransformerPlanner(URMPlanner):
    """The rival that differs from URM in nothing but the recurrence."""

    Settings = TokenSettings

    def __init__(self, settings: TokenSettings, spec: ModelSpec) -> None:
        super().__init__(URMSettings(**settings.model_dump(), loops=1, backprop_loops=1), spec)
