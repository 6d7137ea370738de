"""The language of conditions: parsed into trees, compiled into functions."""

from streams.compiled import use

use(__path__, __name__)
