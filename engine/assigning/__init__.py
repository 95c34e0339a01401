"""New items under a finished run's codebook: no SID that it gave before moves, and nothing is trained."""
