"""What if: a listing written otherwise, and a policy tried on the stored rankings."""

from app.components.states import has_run, header

header("What if?", "What would another listing, or another policy, change?")
if has_run():
    pass
