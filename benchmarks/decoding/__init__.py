"""What decoding returns for the files of a folder, against PyAV's full forward decoding."""
