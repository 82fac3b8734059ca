"""What commands print in the end: tables, or with --json one document, as docs/scripting.md describes it."""
