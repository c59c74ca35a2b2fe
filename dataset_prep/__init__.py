"""Convert the raw files of a dataset to RecBole's atomic files. Needs neither torch nor RecBole."""
