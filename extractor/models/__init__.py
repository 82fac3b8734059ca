"""The networks: temporal shift, MotionSqueeze, backbones, their assembly, checkpoints and streaming."""
