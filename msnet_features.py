"""Entry point of the command `msnet`.

The packages carry plain names (schemas, extractor, training, gebd, jobs). A folder of the user's with one of these
names that comes earlier on the module path would be imported in their stead; this module, whose own name nobody else
has, notices and says so before anything is imported.
"""

import atexit
import importlib.util
import os
import sys
from pathlib import Path

__all__ = ["PACKAGES", "main", "shadowed_packages"]

_INTERRUPTED = 130
PACKAGES = ("schemas", "extractor", "training", "gebd", "jobs")


def shadowed_packages() -> dict[str, str]:
    """Names of our packages that Python would load from elsewhere, and from where."""
    home = Path(__file__).resolve().parent
    found = {}
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        places = list(spec.submodule_search_locations or []) if spec else []
        origin = spec.origin if spec and spec.origin else (places[0] if places else "nowhere")
        if home / name not in (Path(place).resolve() for place in places):
            found[name] = origin
    return found


def main() -> None:
    """Run the command line, or say in one sentence which package is shadowed."""
    shadowed = shadowed_packages()
    if shadowed:
        told = ", ".join(f"{name} from {place}" for name, place in shadowed.items())
        places = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in told)
        sys.exit(
            f"msnet: its own packages were expected, but Python finds {places}: "
            "rename that folder, leave it, or take it out of PYTHONPATH"
        )
    try:
        from jobs.cli.main import main as run
        from jobs.cli.streams import guard_streams

        guard_streams()  # for good: a traceback is printed last
        run()
    except KeyboardInterrupt:  # while modules are being imported
        print("msnet: interrupted before anything was begun", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    except SystemExit as ended:
        if ended.code == _INTERRUPTED:
            _leave()
        raise


def _leave() -> None:
    """End an interrupted process by its own code: parts of Ray that were cut off while starting abort in C++'s end."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
