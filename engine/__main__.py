"""`python -m engine`: the command line."""

if __name__ == "__main__":
    try:
        from engine.cli import main  # takes a moment, in which Ctrl-C may come

        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
