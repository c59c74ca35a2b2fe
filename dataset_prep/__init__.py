"""From a data set's raw distribution to RecBole's atomic files. Needs neither torch nor RecBole."""
