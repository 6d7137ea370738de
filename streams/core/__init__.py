"""The pure engine: no file, no clock, no I/O, no Faust."""

from streams.compiled import use

# Whether the core runs as machine code.
COMPILED = use(__path__, __name__)
