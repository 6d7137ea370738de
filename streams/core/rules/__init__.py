"""Rules: triggers, steps, guards, goals."""

from streams.compiled import use

use(__path__, __name__)
