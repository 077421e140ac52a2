"""The screens. Each is given values by the app and asks for things with messages."""
