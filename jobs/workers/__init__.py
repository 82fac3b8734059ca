"""The processes of a run: the driver, extractors and decoders, and the ledger of crashes."""
