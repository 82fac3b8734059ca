"""The networks: temporal shift, MotionSqueeze, backbones, MSNet, checkpoints and streaming."""
