"""From scripts to pixels, displacement and visibility."""
