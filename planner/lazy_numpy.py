"""numpy, imported when something is first computed with it, for processes that only read a repo.

Its import takes as long as all else of such a process's start together: of an execution on the sandbox it was a tenth.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
else:

    class _Numpy:
        def __getattr__(self, name: str) -> Any:
            import numpy

            value = getattr(numpy, name)
            setattr(self, name, value)
            return value

    np = _Numpy()

__all__ = ["np"]
