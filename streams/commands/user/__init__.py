"""One user, looked up: by any identifier, at whichever worker holds them."""
