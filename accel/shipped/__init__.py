"""The data set and the two models that travel with the program, and the scripts that made them."""
