"""Values that the program is about. None of them does any input or output."""
