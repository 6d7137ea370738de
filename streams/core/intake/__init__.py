"""One accepted item becomes an event, or a reject with its reason."""

from streams.compiled import use

use(__path__, __name__)
