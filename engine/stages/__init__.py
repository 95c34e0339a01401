"""The bodies of the pipeline's stages: each reads finished stages, calls one part of the engine, writes artefacts."""
