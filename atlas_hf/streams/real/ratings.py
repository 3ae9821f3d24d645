"""Short texts that twenty people each rated from -4 (extremely negative) to 4: Hutto and Gilbert 2014, "VADER".

They come with the source distribution of `vaderSentiment` (MIT license).
"""

from functools import cache

from atlas_hf.streams.real.packages import SourceDistribution, member

PACKAGE = SourceDistribution(
    "vaderSentiment", "3.3.2", "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9", 16 * 2**20
)
INNER = "additional_resources/hutto_ICWSM_2014.tar.gz"
LIMIT = 8 * 2**20  # bytes of a file in it
CLEAR = 0.5  # a mean rating nearer to 0 is neither positive nor negative
LABELS = ("negative", "positive")


@cache
def _archive(package: SourceDistribution) -> bytes:
    return member(package.read(), INNER, LIMIT)


def read(name: str) -> dict[str, int]:
    """The texts of `<name>_GroundTruth.txt` whose mean rating is clear, each once, with the sign as its label."""
    lines = member(_archive(PACKAGE), f"{name}_GroundTruth.txt", LIMIT).decode().splitlines()
    found: dict[str, int] = {}
    for line in lines:
        _, rating, text = line.split("\t")
        if abs(float(rating)) >= CLEAR:
            found.setdefault(text.strip(), int(float(rating) > 0))
    return found
