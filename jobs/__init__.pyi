from .cluster.options import Options as Options
from .run.extraction import extract as extract, resume as resume
from .run.plan import Plan as Plan, plan as plan
from .run.request import Request as Request

__version__: str
