"""Videos at addresses: objects of S3-compatible storage, listed, compared and fetched into a folder of the node."""
