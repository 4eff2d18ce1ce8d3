"""`planner decide`: planner_input documents from a stream, decisions to a stream."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from planner.decision import Caps, Mode, decide, load_bundle


def decide_stream(
    bundle_path: Path,
    source: BinaryIO,
    sink: BinaryIO,
    mode: str,
    caps: tuple[int | None, int | None, int | None],
    lines: bool,
) -> None:
    """Answer one document, or with ``lines`` one JSON line for every line until the source ends.

    An answer is ``{"planner_action": ..., "executed_plan": ...}``. What is not JSON is answered with a fallback too, so
    that answers and questions stay in step.
    """
    bundle = load_bundle(bundle_path)
    for text in source if lines else [source.read()]:
        decision = decide(_parse(text), bundle, mode=cast(Mode, mode), caps=Caps(*caps))
        sink.write(orjson.dumps(asdict(decision), option=orjson.OPT_APPEND_NEWLINE))
        sink.flush()


def _parse(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text.decode(errors="replace")
