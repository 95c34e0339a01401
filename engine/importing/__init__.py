"""Runs from SIDs, beams and scores that another system made: audited like any run, nothing trained."""
