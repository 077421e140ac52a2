"""Other people's accelerations, each applied by its own converter and imported only when it is used."""
