"""Facts with their sources, read as text by whoever asks; `importlib.resources` costs 10 ms to import."""

FOLDER = __file__.rpartition("/")[0]


def read_text(name: str) -> str:
    """The text of one data file, by its path below this folder."""
    with open(f"{FOLDER}/{name}", "rb") as file:  # noqa: PTH123 - pathlib costs every start 4 ms
        return file.read().decode()
