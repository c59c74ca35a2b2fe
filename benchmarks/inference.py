"""Time the scoring of all items, as in evaluation: ``python -m benchmarks.inference``; ratios are to RecBole's SASRec."""

from benchmarks import models

if __name__ == "__main__":
    parser = models.make_parser(__doc__, shapes=["1024x50", "256x200", "1x200"], repetitions=9)
    models.measure("full-sort scoring", "score", parser.parse_args())
