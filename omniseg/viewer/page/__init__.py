"""The viewer as a web page, on viser: the same controller as the window, one for each visitor."""
