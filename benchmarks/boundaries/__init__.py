"""The detector without labels, on real video beside another program's cuts and on procedural video beside clocks."""
