from .run.extraction import extract as extract, resume as resume
from .run.options import Options as Options, Request as Request
from .run.plan import Plan as Plan, plan as plan

__version__: str
