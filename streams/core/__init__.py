"""The pure engine: no I/O, no clock, no Faust."""

from streams.compiled import use

# Whether the hot modules run as machine code.
COMPILED = use(__path__)
