"""Entry point of the command `msnet`.

The packages have plain names (schemas, extractor, training, gebd, jobs). A user's folder with one of these names,
earlier on the module path, would be imported instead. This module, whose name is unique, checks for that before it
imports anything.
"""

import atexit
import importlib.util
import os
import sys
from contextlib import suppress
from pathlib import Path

__all__ = ["PACKAGES", "main", "shadowed_packages"]

_INTERRUPTED = 130
PACKAGES = ("schemas", "extractor", "training", "gebd", "jobs")


def shadowed_packages() -> dict[str, str]:
    """Names of our packages that Python would load from elsewhere, with the places."""
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
    """Run the command line, or exit with a sentence on which package is shadowed."""
    shadowed = shadowed_packages()
    if shadowed:
        found = ", ".join(f"{name} from {place}" for name, place in shadowed.items())
        places = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in found)
        sys.exit(
            f"msnet: expected its own packages; got {places}. "
            "Rename that folder, run from another one, or take it out of PYTHONPATH"
        )
    try:
        from jobs.cli.main import main as run
        from jobs.cli.streams import guard_streams

        guard_streams()  # not only for a block: a traceback is printed last
        run()
    except KeyboardInterrupt:  # while modules are being imported
        print("msnet: interrupted before anything started", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    except SystemExit as ended:
        if not isinstance(ended.code, int):
            raise
        # Skip the interpreter's end: it takes half a second to free what Ray, torch and pandas have made, and parts of
        # Ray that were interrupted while starting would abort there.
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # its reader has gone, it is closed, there is none
                stream.flush()
        os._exit(ended.code)


if __name__ == "__main__":
    main()
