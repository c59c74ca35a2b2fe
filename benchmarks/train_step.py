"""Time a training step (forward, backward, Adam): ``python -m benchmarks.train_step``; ratios are to RecBole's SASRec."""

from benchmarks import models

if __name__ == "__main__":
    parser = models.make_parser(__doc__, shapes=["1024x50", "256x200", "4x1600"], repetitions=7)
    models.measure("training step", "train_step", parser.parse_args())
