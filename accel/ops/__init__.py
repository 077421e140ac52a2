"""The operations of MACE in fast form, one to a file, each with the same meaning as mace-torch's own."""
