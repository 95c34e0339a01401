"""Input: the contract, its validation, adapters and the generated marketplace."""
