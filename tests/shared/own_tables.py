"""Tables of texts with two labels, as people have them."""

import csv

from shared.tiny import text_data


def write_texts(path, letter="a", count=60, seed=0, columns=("text", "label")):
    """A CSV, or a TSV by its name: does the letter occur in the text?"""
    rows = [[row["text"], ("no", "yes")[row["label"]]] for row in text_data(letter, count, seed)]
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",").writerows([columns, *rows])
    return path
