"""Query to SIDs: trie, model, training, beam search."""
