from .containers.preflight import Inspection as Inspection, inspect_video as inspect_video
from .decoders.random_access import FrameReader as FrameReader
from .decoding import decode as decode, inspect_job as inspect_job, plan_items as plan_items
from .listing import Listing as Listing, list_videos as list_videos
from .sampling import (
    item_frames as item_frames,
    plan_item as plan_item,
    suggested_deadline_seconds as suggested_deadline_seconds,
)
from .transforms import Resizer as Resizer, pixel_grid as pixel_grid
