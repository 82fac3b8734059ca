from .extraction.features import VideoFeatures as VideoFeatures, VideoPart as VideoPart
from .extraction.one_video import VideoExtractor as VideoExtractor, extract_video as extract_video
from .extraction.request import Request as Request
from .models.loading import load_model as load_model, normalize as normalize
from .models.motion_squeeze import MotionFeatures as MotionFeatures, MotionSqueeze as MotionSqueeze
from .models.msnet import (
    MSNet as MSNet,
    MSNetEnsemble as MSNetEnsemble,
    MSNetOutput as MSNetOutput,
    build_network as build_network,
)
from .models.spec import NetworkSpec as NetworkSpec, describe_network as describe_network
from .models.streaming import DenseStream as DenseStream, StreamOutput as StreamOutput

__version__: str
