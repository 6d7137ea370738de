"""Live tags: kinds of values that follow events."""

from streams.compiled import use

use(__path__, __name__)
