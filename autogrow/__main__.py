"""``python -m autogrow`` is the ``autogrow`` command."""

from autogrow.cli.main import main

if __name__ == "__main__":
    main()
