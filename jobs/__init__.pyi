from .cli.display import TerminalWatcher as TerminalWatcher
from .cluster.options import Options as Options
from .run.extraction import Request as Request, extract as extract, resume as resume
from .run.outcome import Outcome as Outcome
from .run.plan import Plan as Plan, plan as plan
from .run.watcher import Watcher as Watcher

__version__: str
