"""The ladder: methods x seeds as ordinary runs, and one table of what they show (`python -m engine ablate`)."""
