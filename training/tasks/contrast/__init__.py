"""Learning from videos without labels, by telling them apart: the first stage of Rai et al., WACV 2023."""
