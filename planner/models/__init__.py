"""The neural networks that choose actions. Importing this loads torch."""

from planner.models.load import get_model_source_path, load_model_class

__all__ = ["get_model_source_path", "load_model_class"]
