"""Features that video_features saved as npy files: which they are, reading them within bounds, their times."""
