"""What is told of a run: held-out metrics, audit tables by SQL over its answers, findings, the map, and the manifest."""
